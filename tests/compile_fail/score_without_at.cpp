// SPDX-License-Identifier: Apache-2.0
// expect: heed::score: the functor must be callable as batch = f.batch, at.
#include <heed/attention/softmax_attention.hpp>

int main() {
  const auto half = heed::score([](auto s) { return s; });
  return sizeof(half);
}

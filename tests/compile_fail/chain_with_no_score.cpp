// SPDX-License-Identifier: Apache-2.0
// expect: heed: each side of . must be a score modifier, callable as batch = f.batch, at.
#include <heed/attention/softmax_attention.hpp>

int main() {
  return sizeof(heed::softcap(3) | [](auto s) { return s; });
}

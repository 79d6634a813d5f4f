// SPDX-License-Identifier: Apache-2.0
// expect: heed::visible: the functor must be callable as condition = f.at.
#include <heed/attention/softmax_attention.hpp>

int main() {
  const auto rule = heed::visible([](const auto& at) { (void)at; });
  return sizeof(rule);
}

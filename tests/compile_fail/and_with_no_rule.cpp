// SPDX-License-Identifier: Apache-2.0
// expect: heed: each side of && must be a visibility rule, callable as condition = rule.at.
#include <heed/attention/softmax_attention.hpp>

int main() {
  return sizeof(heed::causal() && [](int) { return true; });
}

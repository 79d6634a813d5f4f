// SPDX-License-Identifier: Apache-2.0
// expect: heed::softmax_attention: the argument must be a score modifier, callable as batch = f.batch, at., or a
// visibility rule
#include <heed/attention/softmax_attention.hpp>

int main() {
  return sizeof(heed::softmax_attention([](int, int, int) { return 0; }));
}

// SPDX-License-Identifier: Apache-2.0
// expect: heed::softmax_attention: the first argument must be a score modifier
#include <heed/attention/softmax_attention.hpp>

int main() { return sizeof(heed::softmax_attention(heed::causal(), heed::softcap(3))); }

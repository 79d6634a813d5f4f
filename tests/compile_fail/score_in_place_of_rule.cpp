// SPDX-License-Identifier: Apache-2.0
// expect: heed::softmax_attention: the second argument must be a visibility rule
#include <heed/attention/softmax_attention.hpp>

int main() { return sizeof(heed::softmax_attention(heed::softcap(3), heed::softcap(3))); }

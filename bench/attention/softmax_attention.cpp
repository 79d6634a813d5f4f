// SPDX-License-Identifier: Apache-2.0
// The fused kernel: dense, causal, ViT, cross, windows, sliding window, user score. GFLOP/s and share of the FMA peak.
//   softmax_attention --benchmark_filter='N=2048.*D=64'
#include "run.hpp"

int main(int argc, char** argv) { return bench::run_workloads(argc, argv, bench::kSoftmaxAttentionWorkloads); }

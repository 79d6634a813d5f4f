// SPDX-License-Identifier: Apache-2.0
// Gradients of the fused attention, dense and causal. GFLOP/s and share of the FMA peak.
#include "run.hpp"

int main(int argc, char** argv) { return bench::run_workloads(argc, argv, bench::kBackwardWorkloads); }

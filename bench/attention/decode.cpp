// SPDX-License-Identifier: Apache-2.0
// One query against a cache of float, bfloat16 or half. GB/s of k and v, and the share of the read bandwidth over them.
//   decode --benchmark_filter='M=8192'
#include "run.hpp"

int main(int argc, char** argv) { return bench::run_workloads(argc, argv, bench::kDecodeWorkloads); }

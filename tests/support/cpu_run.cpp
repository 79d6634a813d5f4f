// SPDX-License-Identifier: Apache-2.0
// cpu_run ARCH PROGRAM ARGS...: runs the program where this CPU has the instruction set that it was compiled for, else
// returns 77, which ctest counts as skipped. The program cannot check by itself: its static initialisers run first.
// cpu_run ARCH: 0 where this CPU has it, else 77.
#include <unistd.h>

#include <cstdio>
#include <cstring>

namespace {

bool supports(const char* arch) {
  if (std::strcmp(arch, "sse2") == 0) return true;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (std::strcmp(arch, "avx2") == 0) return avx2;
  if (std::strcmp(arch, "avx512") == 0)
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
#endif
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: cpu_run ARCH [PROGRAM ARGS...]\n");
    return 2;
  }
  if (!supports(argv[1])) {
    std::printf("this CPU has no %s\n", argv[1]);
    return 77;
  }
  if (argc == 2) return 0;
  execv(argv[2], argv + 2);
  std::perror(argv[2]);
  return 2;
}

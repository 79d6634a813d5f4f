// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <string>

std::string first(const float* values);
std::string second(const float* values);

int main() {
  const float values[] = {1, 2, 3, 4, 5, 6};
#if defined(__x86_64__)
  if (first(values) != "isa_sse2(2)6") return 1;
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 77;
  if (second(values) != "isa_avx2(2)6") return 2;
#else
  if (first(values) != second(values)) return 1;
#endif
  return 0;
}

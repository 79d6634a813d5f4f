// SPDX-License-Identifier: Apache-2.0
// The attention workloads, each named by the line of text that defines it:
//
//   sdpa B=1 H=8 N=512 M=512 D=64 causal=1
//
// B H Hkv N M D as everywhere in heed; Hkv=H, causal=0, window=0, bias=0, score=0, backward=0, dtype=f32, threads=1
// when left out.
//   causal=1    query i sees keys up to i + M - N
//   window=256  of those the last 256, itself included
//   bias=1      a bias (1, H, N, M) read from memory
//   score=1     a score function written by the user, of a few multiply-adds
//   backward=1  the gradients of q, k and v from the forward's results; N = M, Hkv = H
//   dtype       what k and v are stored in: f32, bf16 or f16; q and the output are float
//   wall=1      one thread is timed by the wall too, to be set against several
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace bench {

struct Workload {
  std::string name;
  std::int64_t B = 1, H = 1, Hkv = 0, N = 1, M = 1, D = 64, window = 0;
  bool causal = false, bias = false, score = false, backward = false, wall = false;
  int threads = 1;
  std::string dtype = "f32";

  explicit Workload(std::string_view line) : name(line) {
    std::istringstream words(name);
    std::string word;
    words >> word;
    bool good = word == "sdpa";
    while (good && words >> word) {
      const std::size_t equals = word.find('=');
      good = equals != std::string::npos && set(word.substr(0, equals), word.substr(equals + 1));
    }
    if (Hkv == 0) Hkv = H;
    if (!good || B < 1 || H < 1 || N < 1 || M < 1 || D < 1 || threads < 1 || window < 0 || H % Hkv != 0 ||
        (window > 0 && !causal) || (backward && (N != M || H != Hkv || dtype != "f32")))
      throw std::invalid_argument("not a workload: " + name);
  }

  std::int64_t cache_item() const { return dtype == "f32" ? 4 : 2; }

  /// Bytes of k and v: what a decode step has to read.
  double cache_bytes() const { return 2.0 * double(B * Hkv * M * D * cache_item()); }

  /// Few queries: the time goes into reading k and v, not into arithmetic.
  bool bound_by_memory() const { return N == 1; }

  /// 4 B H N M D, half of it when causal; of a window, only what is visible. Backward: 2.5 times that.
  double flops() const {
    double pairs = double(N) * double(M);
    if (window > 0) {
      pairs = 0;
      for (std::int64_t i = 0; i < N; ++i) pairs += double(std::clamp<std::int64_t>(i + 1 + M - N, 0, window));
    } else if (causal) {
      pairs *= 0.5;
    }
    return (backward ? 10.0 : 4.0) * double(B * H * D) * pairs;
  }

 private:
  bool set(const std::string& key, const std::string& value) {
    if (key == "dtype") {
      dtype = value;
      return value == "f32" || value == "bf16" || value == "f16";
    }
    std::int64_t number = 0;
    std::istringstream text(value);
    if (!(text >> number)) return false;
    using Number = std::pair<const char*, std::int64_t*>;
    for (const auto& [known, field] : {Number{"B", &B}, Number{"H", &H}, Number{"Hkv", &Hkv}, Number{"N", &N},
                                       Number{"M", &M}, Number{"D", &D}, Number{"window", &window}})
      if (key == known) {
        *field = number;
        return true;
      }
    using Switch = std::pair<const char*, bool*>;
    for (const auto& [known, field] : {Switch{"causal", &causal}, Switch{"bias", &bias}, Switch{"score", &score},
                                       Switch{"backward", &backward}, Switch{"wall", &wall}})
      if (key == known) {
        *field = number != 0;
        return true;
      }
    if (key != "threads") return false;
    threads = int(number);
    return true;
  }
};

inline constexpr const char* kSoftmaxAttentionWorkloads[] = {
    "sdpa B=1 H=8 N=512 M=512 D=64",
    "sdpa B=1 H=8 N=512 M=512 D=64 causal=1",
    "sdpa B=1 H=8 N=1024 M=1024 D=64",
    "sdpa B=1 H=8 N=1024 M=1024 D=64 causal=1",
    "sdpa B=1 H=8 N=2048 M=2048 D=64",
    "sdpa B=1 H=8 N=2048 M=2048 D=64 causal=1",
    "sdpa B=1 H=8 N=4096 M=4096 D=64",
    "sdpa B=1 H=8 N=4096 M=4096 D=64 causal=1",
    "sdpa B=1 H=8 N=512 M=512 D=128",
    "sdpa B=1 H=8 N=512 M=512 D=128 causal=1",
    "sdpa B=1 H=8 N=1024 M=1024 D=128",
    "sdpa B=1 H=8 N=1024 M=1024 D=128 causal=1",
    "sdpa B=1 H=8 N=2048 M=2048 D=128",
    "sdpa B=1 H=8 N=2048 M=2048 D=128 causal=1",
    "sdpa B=1 H=8 N=4096 M=4096 D=128",
    "sdpa B=1 H=8 N=4096 M=4096 D=128 causal=1",
    "sdpa B=8 H=12 N=197 M=197 D=64",
    "sdpa B=1 H=8 N=77 M=4096 D=64",
    "sdpa B=1 H=8 N=256 M=4096 D=64",
    "sdpa B=1 H=8 N=1024 M=4096 D=64",
    "sdpa B=64 H=3 N=49 M=49 D=32",
    "sdpa B=64 H=3 N=49 M=49 D=32 bias=1",
    "sdpa B=1 H=8 N=4096 M=4096 D=64 causal=1 window=256",
    "sdpa B=1 H=8 N=2048 M=2048 D=64 score=1",
    "sdpa B=1 H=8 N=1024 M=1024 D=64 dtype=bf16",
    "sdpa B=1 H=8 N=1024 M=1024 D=64 dtype=f16",
};

inline constexpr const char* kBackwardWorkloads[] = {
    "sdpa B=1 H=8 N=1024 M=1024 D=64 backward=1",  "sdpa B=1 H=8 N=1024 M=1024 D=64 causal=1 backward=1",
    "sdpa B=1 H=8 N=2048 M=2048 D=64 backward=1",  "sdpa B=1 H=8 N=2048 M=2048 D=64 causal=1 backward=1",
    "sdpa B=1 H=8 N=4096 M=4096 D=64 backward=1",  "sdpa B=1 H=8 N=4096 M=4096 D=64 causal=1 backward=1",
    "sdpa B=1 H=8 N=1024 M=1024 D=128 backward=1", "sdpa B=1 H=8 N=1024 M=1024 D=128 causal=1 backward=1",
    "sdpa B=1 H=8 N=2048 M=2048 D=128 backward=1", "sdpa B=1 H=8 N=2048 M=2048 D=128 causal=1 backward=1",
    "sdpa B=1 H=8 N=4096 M=4096 D=128 backward=1", "sdpa B=1 H=8 N=4096 M=4096 D=128 causal=1 backward=1",
};

inline constexpr const char* kDecodeWorkloads[] = {
    "sdpa B=1 H=32 Hkv=8 N=1 M=1024 D=128",
    "sdpa B=1 H=32 Hkv=32 N=1 M=1024 D=128",
    "sdpa B=1 H=32 Hkv=8 N=1 M=8192 D=128",
    "sdpa B=1 H=32 Hkv=32 N=1 M=8192 D=128",
    "sdpa B=1 H=32 Hkv=4 N=1 M=8192 D=128",
    "sdpa B=1 H=32 Hkv=2 N=1 M=8192 D=128",
    "sdpa B=1 H=32 Hkv=8 N=1 M=8192 D=64",
    "sdpa B=1 H=32 Hkv=4 N=1 M=8192 D=64",
    "sdpa B=1 H=32 Hkv=2 N=1 M=8192 D=64",
    "sdpa B=1 H=32 Hkv=8 N=1 M=32768 D=128",
    "sdpa B=1 H=32 Hkv=32 N=1 M=32768 D=128",
    "sdpa B=8 H=32 Hkv=8 N=1 M=1024 D=128",
    "sdpa B=8 H=32 Hkv=32 N=1 M=1024 D=128",
    "sdpa B=8 H=32 Hkv=8 N=1 M=8192 D=128",
    "sdpa B=1 H=32 Hkv=8 N=1 M=1024 D=128 dtype=f16",
    "sdpa B=1 H=32 Hkv=8 N=1 M=8192 D=128 dtype=f16",
    "sdpa B=1 H=32 Hkv=8 N=1 M=8192 D=128 dtype=bf16",
    "sdpa B=1 H=32 Hkv=32 N=1 M=8192 D=128 dtype=f16",
    "sdpa B=1 H=32 Hkv=8 N=1 M=32768 D=128 dtype=f16",
    "sdpa B=1 H=32 Hkv=8 N=1 M=32768 D=128 dtype=bf16",
    "sdpa B=8 H=32 Hkv=8 N=1 M=1024 D=128 dtype=f16",
};

}  // namespace bench

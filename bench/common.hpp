// SPDX-License-Identifier: Apache-2.0
// What every benchmark shares: this machine's limits, measured in the same run, random tensors, and medians of
// interleaved repetitions. A figure of a shared or virtual machine means little alone; the ratio to a limit or to a
// peer that was measured in turn with it holds.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <functional>
#include <span>
#include <string>
#include <vector>

#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))
#include <immintrin.h>
#endif

namespace bench {

/// One thread is timed by its own CPU time, which other processes disturb least; several by the wall.
enum class Clock { thread, wall };

inline Clock clock_for(int threads) { return threads == 1 ? Clock::thread : Clock::wall; }

inline double now(Clock clock) {
  timespec t;
  clock_gettime(clock == Clock::thread ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 != 0 ? values[half] : 0.5 * (values[half - 1] + values[half]);
}

/// A call repeated often enough to be timed. Whatever ran before has taken the caches to itself, so a repetition starts
/// with an untimed call, unless a call is so long that it does not matter.
class Timed {
 public:
  Timed(std::function<void()> call, Clock clock, double at_least = 0.01) : call_(std::move(call)), clock_(clock) {
    call_();  // first call: scratch memory, page faults
    const double start = now(clock_);
    call_();
    const double once = std::max(now(clock_) - start, 1e-7);
    count_ = std::max(1, int(at_least / once));
    warm_ = once < 0.2;
  }

  /// Seconds of one call.
  double repetition() const {
    if (warm_) call_();
    const double start = now(clock_);
    for (int i = 0; i < count_; ++i) call_();
    return (now(clock_) - start) / count_;
  }

 private:
  std::function<void()> call_;
  Clock clock_;
  int count_ = 1;
  bool warm_ = true;
};

/// Measures all in turn, `rounds` times; result[i] holds the figures of measure i, round by round.
inline std::vector<std::vector<double>> interleave(const std::vector<std::function<double()>>& measures, int rounds) {
  std::vector<std::vector<double>> figures(measures.size());
  for (int round = 0; round < rounds; ++round)
    for (std::size_t i = 0; i < measures.size(); ++i) figures[i].push_back(measures[i]());
  return figures;
}

/// Median over the rounds of a[i] / b[i].
inline double median_ratio(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) ratios.push_back(a[i] / b[i]);
  return median(std::move(ratios));
}

/// Makes the compiler believe that the memory is read and written here.
inline void keep(const void* memory) { asm volatile("" : : "r"(memory) : "memory"); }

namespace detail {

// The widest vectors of the instruction set that this file is compiled for, and enough independent chains to hide the
// latency of the multiply-add and leave registers for its two other operands. Intrinsics where there are any: not every
// compiler contracts x * y + z.
#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64, kChains = 24;
inline __m512 multiply_add(__m512 a, __m512 x, __m512 y) { return _mm512_fmadd_ps(a, x, y); }
inline __m512d multiply_add(__m512d a, __m512d x, __m512d y) { return _mm512_fmadd_pd(a, x, y); }
#elif defined(__AVX2__) && defined(__FMA__)
inline constexpr int kVectorBytes = 32, kChains = 12;
inline __m256 multiply_add(__m256 a, __m256 x, __m256 y) { return _mm256_fmadd_ps(a, x, y); }
inline __m256d multiply_add(__m256d a, __m256d x, __m256d y) { return _mm256_fmadd_pd(a, x, y); }
#else
#if defined(__aarch64__)
inline constexpr int kVectorBytes = 16, kChains = 24;
#elif defined(__AVX__)
inline constexpr int kVectorBytes = 32, kChains = 12;
#else
inline constexpr int kVectorBytes = 16, kChains = 12;
#endif
template <class V>
V multiply_add(V a, V x, V y) {
  return a * x + y;
}
#endif

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vector = typename VectorOf<T>::type;

template <class T>
[[gnu::noinline]] void multiply_add_chains(std::int64_t steps) {
  constexpr int lanes = kVectorBytes / int(sizeof(T));
  Vector<T> chain[kChains], x = {}, y = {};
  for (int lane = 0; lane < lanes; ++lane) {
    x[lane] = T(0.999);
    y[lane] = T(0.001);
  }
  keep(&x);
  keep(&y);
  const Vector<T> factor = x, summand = y;
  // Every chain starts elsewhere: equal chains would be computed once.
#pragma GCC unroll 24
  for (int i = 0; i < kChains; ++i) chain[i] = summand * T(i + 1);
  for (std::int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) chain[i] = multiply_add(chain[i], factor, summand);
  }
  Vector<T> sum = chain[0];
#pragma GCC unroll 24
  for (int i = 1; i < kChains; ++i) sum += chain[i];
  keep(&sum);
}

}  // namespace detail

/// FLOP/s of fused multiply-adds on registers, one core: one repetition of some 5 ms. Being a limit, it is the best of
/// five parts.
template <class T>
double multiply_add_peak() {
  constexpr std::int64_t steps = 80'000;
  constexpr double flops = 2.0 * double(steps) * detail::kChains * (double(detail::kVectorBytes) / sizeof(T));
  double best = 0;
  for (int part = 0; part < 5; ++part) {
    const double start = now(Clock::thread);
    detail::multiply_add_chains<T>(steps);
    best = std::max(best, flops / (now(Clock::thread) - start));
  }
  return best;
}

using Bytes = std::span<const std::byte>;

namespace detail {

// Reads `memory` in several streams at once, each prefetched some cache lines ahead (0: by the hardware alone).
template <int Streams, int LinesAhead>
[[gnu::noinline]] void read_streams(Bytes memory) {
  constexpr std::size_t line = 64, vectors = line / kVectorBytes;
  typedef float V __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
  const std::size_t part = memory.size() / Streams / line * line;
  constexpr int unroll = 8 / Streams;
  Vector<float> sum[8] = {};
  const auto add_line = [&](int slot, const std::byte* p) {
    if constexpr (LinesAhead > 0) __builtin_prefetch(p + LinesAhead * line);
#pragma GCC unroll 4
    for (std::size_t v = 0; v < vectors; ++v) sum[slot] += *reinterpret_cast<const V*>(p + v * kVectorBytes);
  };
  std::size_t at = 0;
  for (; at + unroll * line <= part; at += unroll * line) {
#pragma GCC unroll 8
    for (int slot = 0; slot < 8; ++slot)
      add_line(slot, memory.data() + std::size_t(slot / unroll) * part + at + std::size_t(slot % unroll) * line);
  }
  for (; at < part; at += line)
    for (int stream = 0; stream < Streams; ++stream) add_line(0, memory.data() + std::size_t(stream) * part + at);
#pragma GCC unroll 8
  for (int slot = 1; slot < 8; ++slot) sum[0] += sum[slot];
  keep(&sum[0]);
}

}  // namespace detail

/// The read bandwidth of one core over given memory. No single loop is best on every machine and size: the constructor
/// tries stream counts and prefetch distances and keeps the fastest.
class ReadBandwidth {
 public:
  explicit ReadBandwidth(std::vector<Bytes> memory) : memory_(std::move(memory)) {
    for (const Bytes& part : memory_) bytes_ += double(part.size());
    count_ = std::max(1, int(32e6 / std::max(bytes_, 1.0)));
    using namespace detail;
    double best = 0;
    for (const Reader reader :
         {read_streams<1, 0>, read_streams<1, 16>, read_streams<1, 64>, read_streams<2, 0>, read_streams<2, 16>,
          read_streams<4, 0>, read_streams<4, 8>, read_streams<4, 16>, read_streams<8, 0>, read_streams<8, 8>}) {
      double figure = 0;
      for (int i = 0; i < 3; ++i) figure = std::max(figure, measure(reader));
      if (figure > best) {
        best = figure;
        reader_ = reader;
      }
    }
  }

  double bytes() const { return bytes_; }

  /// Bytes/s of one repetition.
  double repetition() const { return measure(reader_); }

 private:
  using Reader = void (*)(Bytes);

  double measure(Reader reader) const {
    for (const Bytes& part : memory_) reader(part);
    const double start = now(Clock::thread);
    for (int i = 0; i < count_; ++i)
      for (const Bytes& part : memory_) reader(part);
    return bytes_ * count_ / (now(Clock::thread) - start);
  }

  std::vector<Bytes> memory_;
  double bytes_ = 0;
  int count_ = 1;
  Reader reader_ = nullptr;
};

/// Uniform numbers of mean 0 and variance 1, the same in every run. A plain congruential generator, because a cache of
/// a gigabyte is to be filled in a second.
template <class Tensor>
void fill_random(Tensor& tensor, std::uint64_t seed) {
  using T = typename Tensor::Scalar;
  std::uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  for (auto i = tensor.size(); i-- > 0;) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    tensor.data()[i] = T((float(state >> 40) * 0x1p-23f - 1.0f) * 1.7320508f);
  }
}

/// The instruction set that this file is compiled for.
inline const char* instruction_set() {
#if defined(__AVX512F__)
  return "AVX-512";
#elif defined(__AVX2__) && defined(__FMA__)
  return "AVX2";
#elif defined(__AVX__)
  return "AVX";
#elif defined(__SSE2__)
  return "SSE2";
#elif defined(__aarch64__)
  return "NEON";
#else
  return "generic";
#endif
}

inline std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const std::size_t colon = line.find(':');
    if (line.starts_with("model name") && colon + 2 < line.size()) return line.substr(colon + 2);
  }
  return "unknown CPU";
}

}  // namespace bench

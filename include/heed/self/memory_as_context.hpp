// SPDX-License-Identifier: Apache-2.0
// memory_as_context: attention within segments, which also sees what a neural memory recalls.
#pragma once

#include "heed/self/titans.hpp"

namespace heed::inline HEED_ISA {

/// Which weights a segment's own memory is read with: those behind each token, or behind the segment.
enum class MemoryRead { kToken, kSegment };

/// For one segment S of x after the other: h = what the memory holds on S; y = causal attention of [persistent ; h ;
/// S], rows of S; the memory takes y in; out = gate(y, m), with m what it then holds on y.
///
///   heed::MemoryAsContext<float> titan{{.num_heads = 8, .num_memory_heads = 2, .segment_len = 256}};
///   auto y = titan(x);                                      // or titan(device, x)
///
/// x and out (B, N, C); persistent (P, C) learned tokens; attn: see TitansAttention; mem: see TitansMemory; gate: see
/// TitansGate. The last segment may be short; minibatches start with each segment. With kToken, m of a token is read
/// behind that token; kSegment reads with the weights at the segment's end, the paper's eq. 25 to the letter. Either
/// way a token sees what the memory holds on all of its segment, later tokens included, since h stands before S; later
/// segments are never seen. Time O(N segment_len C) for the attention, and that of NeuralMemory. Throws heed::Error,
/// before anything is written, for shapes and options that do not fit. The same bits for any number of threads.
/// Source: Behrouz et al. 2024, Titans, eq. 21-25; transcription, the gate is our reading.
template <Real T>
struct MemoryAsContext {
  struct Options {
    Index num_heads = 1;  ///< of the attention
    Index num_memory_heads = 1;
    Index segment_len = 256;
    MemoryRead segment_read = MemoryRead::kToken;
    Index minibatch_size = 1;  ///< tokens whose inner gradients are taken at the same weights; 0: all
    double max_step = 1;       ///< the largest inner step size
  };

  Options options = {};
  Tensor<T, 2> persistent = {};  ///< (P, C) or empty
  TitansAttention<T> attn = {};
  TitansMemory<T> mem = {};
  TitansGate<T> gate = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("persistent", persistent, heed::optional);
    visit_parts(f, "attn.", attn, "mem.", mem, "gate.", gate);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3 && std::same_as<OperandScalar<X>, T>,
                  "heed::MemoryAsContext<T>: x is (B, N, C), of T");
    const auto sizes = sizes_of(x);
    check(sizes);
    auto out = make_output<T, 3>(kName, sizes, x);
    MemoryState<decltype(make_output<T, 4>(kName, {}, x))> state;
    for (Index start = 0; start < sizes[1]; start += options.segment_len) {
      const Index length = std::min(options.segment_len, sizes[1] - start);
      const auto segment = contiguous(device, view(x).slice(1, start, length));
      const auto recalled = mem.read(device, segment, state);
      const auto z = detail::behind_persistent(device, persistent, recalled, segment);
      const auto y = attn(device, z, options.num_heads, sizes_of(z)[1] - length, 0, 0);
      auto m = mem(device, y, options.minibatch_size, options.max_step, state);
      if (options.segment_read == MemoryRead::kSegment) m = mem.read(device, y, state);
      concat_into<0>(device, view(out).slice(1, start, length), gate(device, y, m));
    }
    return out;
  }

 private:
  static constexpr std::string_view kName = "memory_as_context";

  void check(const std::array<Index, 3>& x) const {
    attn.check(kName, options.num_heads, x[2]);
    mem.check(kName, x[2], options.num_memory_heads, options.minibatch_size, options.max_step);
    gate.check(kName, x[2]);
    detail::check_persistent(kName, persistent, x);
    require(options.segment_len > 0, kName, "segment_len must be 1 or more, got ", options.segment_len);
  }
};

}  // namespace heed::inline HEED_ISA

// SPDX-License-Identifier: Apache-2.0
// memory_as_layer: a neural memory, and attention in a window to what it gives.
#pragma once

#include "heed/self/titans.hpp"

namespace heed::inline HEED_ISA {

/// out = windowed attention of y, with y a neural memory of the rows [persistent ; x].
///
///   heed::MemoryAsLayer<float> titan{{.num_heads = 8, .num_memory_heads = 2, .window_size = 256}};
///   auto y = titan(x);                                      // or titan(device, x)
///
/// x and out (B, N, C); persistent (P, C) learned tokens; attn: see TitansAttention; mem: see TitansMemory.
/// A row sees itself and the window_size - 1 rows before it, persistent or not. The rows of x are returned. Time
/// O(N window_size C) for the attention, and that of NeuralMemory. Throws heed::Error, before
/// anything is written, for shapes and options that do not fit. The same bits for any number of threads.
/// Source: Behrouz et al. 2024, Titans, eq. 29-31; transcription.
template <Real T>
struct MemoryAsLayer {
  struct Options {
    Index num_heads = 1;  ///< of the attention
    Index num_memory_heads = 1;
    Index window_size = 256;   ///< rows that a row sees, itself included
    Index minibatch_size = 1;  ///< tokens whose inner gradients are taken at the same weights; 0: all
    double max_step = 1;       ///< the largest inner step size
  };

  Options options = {};
  Tensor<T, 2> persistent = {};  ///< (P, C) or empty
  TitansAttention<T> attn = {};
  TitansMemory<T> mem = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("persistent", persistent, heed::optional);
    visit_parts(f, "attn.", attn, "mem.", mem);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3 && std::same_as<OperandScalar<X>, T>,
                  "heed::MemoryAsLayer<T>: x is (B, N, C), of T");
    check(sizes_of(x));
    const Index first = persistent.dimension(0);
    const auto z = detail::behind_persistent(device, persistent, x);
    MemoryState<decltype(make_output<T, 4>(kName, {}, x))> state;
    const auto y = mem(device, z, options.minibatch_size, options.max_step, state);
    return attn(device, y, options.num_heads, first, options.window_size, 0);
  }

 private:
  static constexpr std::string_view kName = "memory_as_layer";

  void check(const std::array<Index, 3>& x) const {
    attn.check(kName, options.num_heads, x[2]);
    mem.check(kName, x[2], options.num_memory_heads, options.minibatch_size, options.max_step);
    detail::check_persistent(kName, persistent, x);
    require(options.window_size > 0, kName, "window_size must be 1 or more, got ", options.window_size);
  }
};

}  // namespace heed::inline HEED_ISA

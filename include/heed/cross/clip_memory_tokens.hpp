// SPDX-License-Identifier: Apache-2.0
// clip_memory_tokens: the tokens of a video clip for a memory model: frames, pooled slots, one of the whole clip.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/mlp.hpp"
#include "heed/block/reduce.hpp"

namespace heed::inline HEED_ISA {

/// out = mlp([frame tokens ; slots ; mean of all tokens]) with the slots the means of the (h / g) x (h / g) cells of
/// each frame, ordered by frame, cell row and cell column, and the erf GELU.
///
///   heed::ClipMemoryTokens<float> tokens{{.grid = 4}};
///   auto y = tokens(x);                                     // or tokens(device, x)
///
/// x (B, T, h, h, C), out (B, T h h + T g g + 1, O); mlp.fc1 C to F, mlp.fc2 F to O, biases optional. grid divides h.
/// Throws heed::Error for shapes and options that do not fit. Time linear in the tokens. The same bits for any number
/// of threads. Source: Zhang et al. 2024 (InternLM-XComposer2.5-OmniLive), the authors' PoolProjector.
template <Real T>
struct ClipMemoryTokens {
  struct Options {
    Index grid = 1;  ///< g, cells along a side of a frame
  };

  Options options = {};
  Mlp<T> mlp = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_part("mlp.", mlp, f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x_like) const {
    static_assert(kOperandRank<X> == 5, "heed::ClipMemoryTokens: x is (B, T, h, h, C)");
    const auto s = sizes_of(x_like);
    const Index grid = options.grid, tokens = s[1] * s[2] * s[3];
    require(s[2] == s[3] && s[1] > 0 && s[2] > 0, kName, "x must have shape (B, T, h, h, C), got ", shape_text(s));
    require(grid > 0 && s[2] % grid == 0, kName, "grid = ", grid, " must divide h = ", s[2]);
    check_mlp(kName, "mlp", mlp, s[4], mlp.fc2.weight.dimension(0));
    const auto x = contiguous(device, x_like);
    const Index side = s[2] / grid;
    const auto cells = view(x).template reshape<6>({s[0] * s[1], grid, side, grid, side, s[4]});
    const auto slots = mean(device, cells, {2, 4});
    const auto frames = view(x).template reshape<3>({s[0], tokens, s[4]});
    const auto global = mean(device, frames, {1});
    const auto all =
        concat<1>(device, frames, view(slots).template reshape<3>({s[0], s[1] * grid * grid, s[4]}), global);
    return mlp(device, Gelu(), all);
  }

 private:
  static constexpr std::string_view kName = "clip_memory_tokens";
};

}  // namespace heed::inline HEED_ISA

// SPDX-License-Identifier: Apache-2.0
// axial_attention: full attention along one axis of a grid at a time.
#pragma once

#include <vector>

#include "heed/attention/softmax_attention.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"

namespace heed::inline HEED_ISA {

/// The sum over the axes a of A_a(x), or A_(d-1)(.. A_1(A_0(x))), where A_a is multi-head self-attention along axis a,
/// every line of the grid a sequence of its own.
///
///   heed::AxialAttention<float> attend{{.num_heads = 8}, 2};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x and out (B, S_0, .., S_(d-1), C), d from 1; for each axis axis0, axis1, ..: q.weight, k.weight, v.weight (H D, C)
/// with H = num_heads, out.weight (C, H D), out.bias (C); the scale is 1 / sqrt(D). Biases of q, k and v may be given
/// too. d = 1 is plain attention. Throws heed::Error, before anything is written, for shapes and options that do not
/// fit. Time O(N sum(S_a) H D) beside the projections, which are attended in place; the same bits for any number of
/// threads.
/// Source: Ho et al. 2019; lucidrains' AxialAttention, a re-implementation.
template <Real T>
struct AxialAttention {
  struct Options {
    Index num_heads = 8;
    bool sum_outputs = true;  ///< false: one axis after the other, without residuals
  };
  struct Axis {
    Linear<T> q = {}, k = {}, v = {}, out = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out);
    }
  };

  Options options = {};
  std::vector<Axis> axis = {};  ///< one for each axis of the grid

  AxialAttention() = default;
  AxialAttention(const Options& options, Index axes) : options(options), axis(std::size_t(axes)) {}

  template <class F>
  void for_each_parameter(F&& f) {
    for (std::size_t a = 0; a < axis.size(); ++a) visit_part("axis" + std::to_string(a) + ".", axis[a], f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> >= 3, "heed::AxialAttention: x is (B, S_0, .., S_(d-1), C)");
    check(sizes_of(x));
    auto out = along(device, x, 0);
    for (std::size_t a = 1; a < axis.size(); ++a) {
      if (options.sum_outputs) {
        out = add(device, out, along(device, x, a));
      } else {
        out = along(device, out, a);
      }
    }
    return out;
  }

 private:
  static constexpr std::string_view kName = "axial_attention";

  template <class D, Operand X>
  auto along(const D& device, const X& x, std::size_t a) const {
    constexpr int rank = kOperandRank<X>;
    const Axis& layer = axis[a];
    const auto sizes = sizes_of(x);
    Index before = 1, behind = options.num_heads;
    for (std::size_t s = 0; s < sizes.size() - 1; ++s) {
      if (s < a + 1) before *= sizes[s];
      if (s > a + 1) behind *= sizes[s];
    }
    // Lines of one axis as heads and batches: what is before the axis and what is behind it lie as one each.
    const auto lines = [&](auto&& projected) {
      const Index width = sizes_of(projected)[std::size_t(rank) - 1] / options.num_heads;
      return view(projected).template reshape<4>({before, sizes[a + 1], behind, width}).permute({0, 2, 1, 3});
    };
    const auto q = layer.q(device, x), k = layer.k(device, x), v = layer.v(device, x);
    auto mixed_sizes = sizes;
    mixed_sizes[std::size_t(rank) - 1] = layer.v.weight.dimension(0);
    auto mixed = make_output<T, rank>(kName, mixed_sizes, x);
    softmax_attention()(device, lines(q), lines(k), lines(v), into(lines(mixed)));
    return layer.out(device, mixed);
  }

  template <std::size_t Rank>
  void check(const std::array<Index, Rank>& x) const {
    require(axis.size() + 2 == Rank, kName, "x must have ", axis.size() + 2, " axes, one for each of ", axis.size(),
            " and two more, got shape ", shape_text(x));
    require(options.num_heads > 0, kName, "num_heads must be 1 or more, got ", options.num_heads);
    for (std::size_t a = 0; a < axis.size(); ++a) {
      const std::string prefix = "axis" + std::to_string(a) + ".";
      const Index width = axis[a].q.weight.dimension(0), value_width = axis[a].v.weight.dimension(0);
      require(width > 0 && width % options.num_heads == 0 && value_width > 0 && value_width % options.num_heads == 0,
              kName, prefix, "q.weight and v.weight must have a multiple of ", options.num_heads, " rows, got ", width,
              " and ", value_width);
      check_linear(kName, prefix + "q", axis[a].q, x[Rank - 1], width);
      check_linear(kName, prefix + "k", axis[a].k, x[Rank - 1], width);
      check_linear(kName, prefix + "v", axis[a].v, x[Rank - 1], value_width);
      check_linear(kName, prefix + "out", axis[a].out, value_width, x[Rank - 1]);
    }
  }
};

}  // namespace heed::inline HEED_ISA

// SPDX-License-Identifier: Apache-2.0
// height_self_attention: attention along the vertical axis of a volume, one column for each ground cell.
#pragma once

#include <optional>

#include "heed/attention/heads.hpp"
#include "heed/attention/mask/boolean.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"

namespace heed::inline HEED_ISA {

/// out = x + attention of u over the Z voxels of every column, u_z = x_z + height_pos_z. The residual is of x, not of
/// u.
///
///   heed::HeightSelfAttention<float> attend{{.num_heads = 4}};
///   auto y = attend(x);                                     // or attend(device, x, {.mask = occupied})
///
/// x (B, C, Z, h, w); mask (B, Z, h, w) of std::uint8_t, 1 where a voxel is occupied and seen as a key; out as x. q, k,
/// v and out: weight (C, C), bias (C) or empty; height_pos (Z, C) or empty; C is a multiple of num_heads, scale 1 /
/// sqrt(C / num_heads). A column without an occupied voxel gives out.bias on top of x. Hidden voxels still are queries.
/// Throws heed::Error for shapes and options that do not fit. Time of four products and O(B h w Z^2 C). Source: our
/// reading of Yang et al. 2025 (MetaOcc), whose code and equations were not available.
template <Real T>
struct HeightSelfAttention {
  struct Options {
    Index num_heads = 1;
  };
  /// Inputs that a call may have: a view, whose tensor must outlive the call.
  struct Inputs {
    std::optional<View<const std::uint8_t, 4>> mask = std::nullopt;  ///< (B, Z, h, w)
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {};
  Tensor<T, 2> height_pos = {};  ///< (Z, C) or empty

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out);
    f("height_pos", height_pos, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x, const Inputs& inputs = {}) const {
    return (*this)(DeviceRef(), x, inputs);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x, const Inputs& inputs = {}) const {
    static_assert(kOperandRank<X> == 5, "heed::HeightSelfAttention: x is (B, C, Z, h, w)");
    check(sizes_of(x), inputs);
    const auto columns = view(x).permute({0, 3, 4, 2, 1});  // (B, h, w, Z, C)
    const auto attended = height_pos.size() > 0
                              ? attend(device, add(device, columns, view(height_pos)), sizes_of(columns), x, inputs)
                              : attend(device, contiguous(device, columns), sizes_of(columns), x, inputs);
    return add(device, x, view(attended).template reshape<5>(sizes_of(columns)).permute({0, 4, 3, 1, 2}));
  }

 private:
  static constexpr std::string_view kName = "height_self_attention";

  // (B h w, Z, C).
  template <class D, class U, class X>
  auto attend(const D& device, const U& columns, const std::array<Index, 5>& sizes, const X& x,
              const Inputs& in) const {
    const Index cells = sizes[0] * sizes[1] * sizes[2], heads = options.num_heads;
    const auto u = view(columns).template reshape<3>({cells, sizes[3], sizes[4]});
    const auto queries = q(device, u);
    const auto keys = k(device, u);
    const auto values = v(device, u);
    const View<const std::uint8_t, 4> none;
    const auto mask = packed_with(in.mask.value_or(none).permute({0, 2, 3, 1}), x);
    const View<const std::uint8_t, 2> visible(const_view(mask).data, {in.mask ? cells : 0, sizes[3]});
    const auto attend_column = softmax_attention(when(in.mask.has_value(), key_mask(visible)));
    return out(device, attend_heads(device, attend_column, split_heads(queries, heads), split_heads(keys, heads),
                                    split_heads(values, heads)));
  }

  void check(const std::array<Index, 5>& x, const Inputs& in) const {
    const Index channels = x[1];
    require(options.num_heads > 0 && channels > 0 && channels % options.num_heads == 0, kName, "C = ", channels,
            " must be a multiple of num_heads = ", options.num_heads);
    check_linears(kName, channels, channels, "q", q, "k", k, "v", v, "out", out);
    if (height_pos.size() > 0)
      require_shape(kName, "height_pos", const_view(height_pos).sizes, std::array<Index, 2>{x[2], channels});
    if (in.mask) require_shape(kName, "mask", in.mask->sizes, std::array<Index, 4>{x[0], x[2], x[3], x[4]});
  }
};

}  // namespace heed::inline HEED_ISA

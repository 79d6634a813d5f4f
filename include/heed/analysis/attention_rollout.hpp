// SPDX-License-Identifier: Apache-2.0
// attention_rollout: attention through all layers, as a product of maps.
#pragma once

#include "heed/block/concat.hpp"
#include "heed/block/copy_as.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/reduce.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// (1, n, n), ones on the diagonal, to be used beside x.
template <Operand X>
auto identity_with(Index n, const X& x) {
  Tensor<OperandScalar<X>, 3> identity(1, n, n);
  identity.setZero();
  for (Index i = 0; i < n; ++i) identity(0, i, i) = OperandScalar<X>(1);
  return constant_with(std::move(identity), x);
}

/// (L, N, N): the mean over heads of x (L, H, N, N), and with `residual` that plus the identity, rows divided by their
/// sums.
template <Device D, Operand X>
auto layer_maps(std::string_view where, const D& device, const X& x, bool residual) {
  static_assert(kOperandRank<X> == 4, "heed: attention maps are (L, H, N, N)");
  const auto sizes = sizes_of(x);
  const Index n = sizes[2];
  require(sizes[1] > 0 && sizes[3] == n, where, "x must have shape (L, H, N, N), got ", shape_text(sizes));
  auto maps = copy_as<3>(device, mean(device, x, {1}), {sizes[0], n, n});
  if (!residual) return maps;
  const auto with_self = add(device, maps, identity_with(n, x));
  return divide(device, with_self, sum(device, with_self, {2}));
}

}  // namespace detail

/// out(0) = A_0 and out(l) = A_l out(l - 1): what each token of layer l has of each input token. A_l is the mean over
/// heads of x(l), with add_residual that plus the identity, rows divided by their sums.
///
///   heed::AttentionRollout rollout;
///   auto maps = rollout(weights);                           // weights from heed::attention_weights, layer by layer
///
/// x (L, H, N, N), attention weights; out (L, N, N), whose rows sum to 1 as those of x do. Throws heed::Error for
/// shapes that do not fit. Time O(L N^3). The same bits for any number of threads. Source: Abnar and Zuidema 2020.
struct AttentionRollout {
  struct Options {
    bool add_residual = true;
  };

  Options options = {};

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    constexpr std::string_view name = "attention_rollout";
    const auto maps = detail::layer_maps(name, device, x, options.add_residual);
    const auto sizes = sizes_of(maps);
    auto out = make_output<OperandScalar<X>, 3>(name, sizes, x);
    if (sizes[0] == 0) return out;
    auto so_far = contiguous(device, view(maps).slice(0, 0, 1));  // (1, N, N)
    concat_into<0>(device, view(out).slice(0, 0, 1), so_far);
    for (Index l = 1; l < sizes[0]; ++l) {
      so_far = matmul(device, view(maps).slice(0, l, 1), so_far);
      concat_into<0>(device, view(out).slice(0, l, 1), so_far);
    }
    return out;
  }
};

}  // namespace heed::inline HEED_ISA

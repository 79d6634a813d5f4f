// SPDX-License-Identifier: Apache-2.0
// lightning_attention: causal linear attention with a fixed decay for each head, and the decays of its models.
#pragma once

#include "heed/core/parameters.hpp"
#include "heed/scan/linear_scan.hpp"
#include "heed/self/alibi_slopes.hpp"

namespace heed::inline HEED_ISA {

/// The slopes (H) of lightning attention in one layer of a model: alibi_slopes times 1 - layer / (num_layers - 1) +
/// 1e-5, so that later layers forget less. Computed in double, then rounded. Throws heed::Error unless num_heads is 1
/// or more, num_layers 2 or more and layer in 0 .. num_layers - 1.
/// Source: Qin et al. 2024, Lightning Attention, and the authors' models.
template <Real T>
Tensor<T, 1> lightning_slopes(Index num_heads, Index layer, Index num_layers) {
  require(num_layers >= 2 && layer >= 0 && layer < num_layers, "lightning_slopes",
          "layer must be in 0 .. num_layers - 1, of 2 layers or more, got layer ", layer, " of ", num_layers);
  const Tensor<double, 1> base = alibi_slopes<double>(num_heads);
  const double factor = 1 - double(layer) / double(num_layers - 1) + 1e-5;
  Tensor<T, 1> slopes(num_heads);
  for (Index h = 0; h < num_heads; ++h) slopes(h) = T(base(h) * factor);
  return slopes;
}

/// out_i = sum over j <= i of e^(-s_h (i - j)) (q_i . k_j) v_j + e^(-s_h (i + 1)) state^T q_i for each head h, i from
/// 0; the state after is e^(-s_h N) state + sum_j e^(-s_h (N - 1 - j)) k_j v_j^T. No scale, no normaliser.
///
///   heed::LightningAttention<float> attend{.slope = heed::lightning_slopes<float>(8, 0, 12)};
///   auto [out, state] = attend(q, k, v);                    // and attend(q2, k2, v2, state) goes on
///
/// q and k (B, H, N, D), v (B, H, N, Dv), out (B, H, N, Dv), state (B, H, D, Dv), zeros if not given. slope (H), 0 or
/// more: constants, without a gradient; 0 is plain causal linear attention. block_size does not change the result.
/// Throws heed::Error for shapes and options that do not fit. Time O(N block_size (D + Dv) + N D Dv), memory linear in
/// N. The same bits for any number of threads.
/// Source: Qin et al. 2024, Various Lengths, Constant Speed, algorithms 1 and 2.
template <Real T>
struct LightningAttention {
  struct Options {
    Index block_size = 64;                ///< tokens, 1 or more
    LinearForm form = LinearForm::kAuto;  ///< all give the same to rounding
  };

  Options options = {};
  Tensor<T, 1> slope = {};  ///< (H)

  template <class F>
  void for_each_parameter(F&& f) {
    f("slope", slope);
  }

  template <Operand Q, Operand K, Operand V, Operand S = View<const T, 4>>
  auto operator()(const Q& q, const K& k, const V& v, const S& state = {}) const {
    return (*this)(DeviceRef(), q, k, v, state);
  }
  template <Device D, Operand Q, Operand K, Operand V, Operand S = View<const T, 4>>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const S& state = {}) const {
    const View<const T, 4> none;
    const Index heads = sizes_of(k)[1];
    require_shape(kName, "q", sizes_of(q), sizes_of(k));
    require(slope.size() == heads, kName, "slope must have shape (H) = (", heads, "), got (", slope.size(), ")");
    require(options.block_size > 0, kName, "block_size must be 1 or more, got ", options.block_size);
    Tensor<T, 4> decay(1, heads, 1, 1);
    for (Index h = 0; h < heads; ++h) {
      require(slope(h) >= 0, kName, "slope must be 0 or more, got ", slope(h));
      decay(0, h, 0, 0) = -slope(h);
    }
    return linear_scan(device, q, k, v, constant_with(std::move(decay), q, k, v, state), none, state,
                       {.form = options.form, .chunk = options.block_size});
  }

 private:
  static constexpr std::string_view kName = "lightning_attention";
};

}  // namespace heed::inline HEED_ISA

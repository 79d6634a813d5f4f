// SPDX-License-Identifier: Apache-2.0
// cross_covariance_attention: attention among the channels of each head, over all tokens.
#pragma once

#include "heed/block/cross_covariance.hpp"
#include "heed/block/heads.hpp"
#include "heed/block/linear.hpp"

namespace heed::inline HEED_ISA {

/// out = concat_h(softmax(temperature_h q_h^T k_h) v_h^T) out.weight^T + out.bias, of the projections q, k and v, with
/// every channel of q and k divided by its norm over the tokens, or by eps where that is larger.
///
///   heed::CrossCovarianceAttention<float> attend{{.num_heads = 8}};
///   auto y = attend(x);                                     // or attend(device, x)
///
/// x (B, N, C), out as x; all weights (C, C), all biases (C) or empty; temperature (H). Head h has the channels h d ..
/// h d + d - 1, d = C / H. A channel that is 0 on all tokens has the score 0 with every other. Throws heed::Error for
/// shapes and options that do not fit and for no tokens. Time O(B N C^2), linear in N; no N x N memory. The same bits
/// for any number of threads. Source: El-Nouby et al. 2021 (XCiT); the transpose attention of DAE-Former and TransDAE.
template <Real T>
struct CrossCovarianceAttention {
  struct Options {
    Index num_heads = 8;
    double eps = 1e-12;  ///< positive
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {};
  Tensor<T, 1> temperature = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v);
    f("temperature", temperature);
    visit_part("out.", out, f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::CrossCovarianceAttention: x is (B, N, C)");
    const auto sizes = sizes_of(x);
    require(sizes[1] > 0, kName, "x must have tokens, got shape ", shape_text(sizes));
    for (const auto& [name, layer] :
         {std::pair("q", &q), std::pair("k", &k), std::pair("v", &v), std::pair("out", &out)})
      check_linear(kName, name, *layer, sizes[2], sizes[2]);
    auto&& space = intermediates<T>(kName, x);
    const auto make = [&] { return space.template make<3>(sizes); };
    const auto queries = make(), keys = make(), values = make(), mixed = make();
    q(device, x, queries);
    k(device, x, keys);
    v(device, x, values);
    const auto channels = [&](const auto& y) { return split_heads(y, options.num_heads).permute({0, 1, 3, 2}); };
    cross_covariance(device, channels(queries), channels(keys), channels(values), temperature, options.eps,
                     channels(mixed));
    return out(device, mixed);
  }

 private:
  static constexpr std::string_view kName = "cross_covariance_attention";
};

}  // namespace heed::inline HEED_ISA

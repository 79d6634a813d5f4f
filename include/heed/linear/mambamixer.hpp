// SPDX-License-Identifier: Apache-2.0
// mambamixer: selective token and channel mixers, each of a weighted sum of all that came before.
#pragma once

#include <vector>

#include "heed/block/normalize.hpp"
#include "heed/block/residual.hpp"
#include "heed/linear/selective_channel_mixer.hpp"

namespace heed::inline HEED_ISA {

/// T_0 = K_0 = x; for l = 1 .. num_layers, with layer l's weights,
///
///   T_l = token(norm(sum over i < l of alpha_i T_i + beta_i K_i)),
///   K_l = channel(norm(sum over i <= l of theta_i T_i + sum over i < l of phi_i K_i)),
///
/// where token is a SelectiveTokenMixer, channel a SelectiveChannelMixer and norm, if `pre_norm`, a layer norm of its
/// own (token_norm, channel_norm), else nothing. out = K of the last layer, token = T of it.
///
///   heed::MambaMixer<float> mix({.num_layers = 4, .pre_norm = true});
///   auto [out, token] = mix(x);                             // or mix(device, x)
///
/// x, out and token (B, L, C); layer{l}.alpha, layer{l}.beta and layer{l}.phi (l), layer{l}.theta (l + 1), used as they
/// are; layer{l}.token. and layer{l}.channel., the mixers' parameters, which fix L; layer{l}.token_norm.{weight,bias}
/// and layer{l}.channel_norm.{weight,bias} (C). There is no other residual.
///
/// Throws heed::Error for shapes and options that do not fit. Time of 2 num_layers mixers, memory of as many outputs.
/// The same bits for any number of threads. Source: Behrouz, Santacatterina and Zabih 2024; transcription: no code was
/// released, and public re-implementations normalise the weights in ways of their own.
template <Real T>
struct MambaMixer {
  struct Options {
    Index num_layers = 1;        ///< 1 or more
    bool bidirectional = false;  ///< of the token mixers; the channel mixers always are
    bool pre_norm = false;
  };
  struct Layer {
    Tensor<T, 1> alpha = {}, beta = {}, theta = {}, phi = {};
    SelectiveTokenMixer<T> token = {};
    SelectiveChannelMixer<T> channel = {};
    LayerNorm<T> token_norm = {}, channel_norm = {};
  };
  template <class X>
  struct Result {
    X out;
    X token;
  };

  Options options;
  std::vector<Layer> layer;  ///< layer[l - 1] is layer{l}.

  explicit MambaMixer(const Options& o = {}) : options(o) {
    require(o.num_layers > 0, kName, "num_layers must be 1 or more, got ", o.num_layers);
    layer.resize(std::size_t(o.num_layers));
    for (Layer& one : layer) one.token.options.bidirectional = o.bidirectional;
  }

  template <class F>
  void for_each_parameter(F&& f) {
    for (std::size_t l = 0; l < layer.size(); ++l) {
      const std::string prefix = "layer" + std::to_string(l + 1) + ".";
      f(prefix + "alpha", layer[l].alpha);
      f(prefix + "beta", layer[l].beta);
      f(prefix + "theta", layer[l].theta);
      f(prefix + "phi", layer[l].phi);
      visit_part(prefix + "token.", layer[l].token, f);
      visit_part(prefix + "channel.", layer[l].channel, f);
      if (!options.pre_norm) continue;
      visit_part(prefix + "token_norm.", layer[l].token_norm, f);
      visit_part(prefix + "channel_norm.", layer[l].channel_norm, f);
    }
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::MambaMixer: x is (B, L, C)");
    check();
    using Out = decltype(layer[0].token(device, x));
    std::vector<Out> tokens, channels;  // T_1, T_2, .. and K_1, K_2, ..
    for (const Layer& one : layer) {
      const Out a = weighted(device, x, tokens, one.alpha, channels, one.beta);
      tokens.push_back(options.pre_norm ? one.token(device, one.token_norm(device, a)) : one.token(device, a));
      const Out b = weighted(device, x, tokens, one.theta, channels, one.phi);
      channels.push_back(options.pre_norm ? one.channel(device, one.channel_norm(device, b)) : one.channel(device, b));
    }
    return Result<Out>{std::move(channels.back()), std::move(tokens.back())};
  }

 private:
  static constexpr std::string_view kName = "mambamixer";

  // Both sums begin with x, which is T_0 and K_0.
  template <class D, class X, class Out>
  static Out weighted(const D& device, const X& x, const std::vector<Out>& tokens, const Tensor<T, 1>& of_tokens,
                      const std::vector<Out>& channels, const Tensor<T, 1>& of_channels) {
    const auto factor = [&](const Tensor<T, 1>& weights, std::size_t i) {
      return parameter_with(weights, x).slice(0, Index(i), 1);
    };
    Out sum = multiply(device, x, factor(of_tokens, 0));
    sum = add_product(device, sum, x, factor(of_channels, 0));
    for (std::size_t i = 0; i < tokens.size(); ++i) sum = add_product(device, sum, tokens[i], factor(of_tokens, i + 1));
    for (std::size_t i = 0; i < channels.size(); ++i)
      sum = add_product(device, sum, channels[i], factor(of_channels, i + 1));
    return sum;
  }

  void check() const {
    require(Index(layer.size()) == options.num_layers, kName, "there must be num_layers = ", options.num_layers,
            " layers, got ", layer.size());
    for (std::size_t l = 0; l < layer.size(); ++l) {
      const auto has = [&](std::string_view name, const Tensor<T, 1>& weights, Index count) {
        require(weights.size() == count, kName, "layer", l + 1, ".", name, " must have shape (", count, "), got (",
                weights.size(), ")");
      };
      has("alpha", layer[l].alpha, Index(l) + 1);
      has("beta", layer[l].beta, Index(l) + 1);
      has("theta", layer[l].theta, Index(l) + 2);
      has("phi", layer[l].phi, Index(l) + 1);
    }
  }
};

}  // namespace heed::inline HEED_ISA

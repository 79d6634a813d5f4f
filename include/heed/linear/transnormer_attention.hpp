// SPDX-License-Identifier: Apache-2.0
// transnormer_attention: the token mixer of TransNormerLLM.
#pragma once

#include <cstdint>
#include <optional>

#include "heed/block/activation.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/heads.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/masked_fill.hpp"
#include "heed/block/normalize.hpp"
#include "heed/block/phase_features.hpp"
#include "heed/linear/lightning_attention.hpp"

namespace heed::inline HEED_ISA {

/// out = (u * rms_norm(o)) out.weight^T + out.bias, where o is the lightning attention of silu(q), silu(k) and v, and
/// q, k, v, u are the four blocks of x qkvu.weight^T + qkvu.bias.
///
///   heed::TransnormerAttention<float> mix{{.num_heads = 8}};
///   auto [out, state] = mix(x);
///   auto next = mix(token, {.position = x.dimension(1)}, state);             // decoding
///
/// x and out (B, N, C); qkvu.weight (4E, C), out.weight (C, E), biases (4E) and (C) or empty; slope (H), constants:
/// lightning_slopes. theta (H, D), D = E / H, learned, or empty: with it silu(q) and silu(k) become
/// phase_features(.., theta, position), of width D_k = 2D, else D_k = D. state (B, H, D_k, D), zeros if not given. The
/// norm is over all of E, without a weight. key_mask (B, N), 1 for a real token: others have the value 0, and still
/// decay the state and give a row. Throws heed::Error for shapes and options that do not fit. Time linear in N, O(E D)
/// for one token more. The same bits for any number of threads.
/// Source: Qin et al. 2024, Various Lengths, Constant Speed, section 4; the authors' models use theta in the first
/// layer. The place of eps in the norm is that of their kernel repository.
template <Real T>
struct TransnormerAttention {
  struct Options {
    Index num_heads = 1;
    double eps = 1e-6;
  };
  struct Inputs {
    std::optional<View<const std::uint8_t, 2>> key_mask = std::nullopt;  ///< (B, N)
    Index position = 0;                                                  ///< of the first token of x
  };

  Options options = {};
  Linear<T> qkvu = {}, out = {};
  Tensor<T, 1> slope = {};  ///< (H)
  Tensor<T, 2> theta = {};  ///< (H, D) or empty

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "qkvu.", qkvu, "out.", out);
    f("slope", slope);
    f("theta", theta, heed::optional);
  }

  template <Operand X, Operand S = View<const T, 4>>
  auto operator()(const X& x, const Inputs& inputs = {}, const S& state = {}) const {
    return (*this)(DeviceRef(), x, inputs, state);
  }
  template <Device D, Operand X, Operand S = View<const T, 4>>
  auto operator()(const D& device, const X& x, const Inputs& in = {}, const S& state = {}) const {
    check(sizes_of(x), in);
    const Index heads = options.num_heads, width = out.weight.dimension(1);
    const auto packed = qkvu(device, parameter_with(x, x, state));
    const auto block = [&](Index i) { return view(packed).slice(2, i * width, width); };
    const auto queries = activate(device, Silu(), block(0)), keys = activate(device, Silu(), block(1));
    const auto attend = [&](const auto& values) {
      const LightningAttention<T> lightning{{}, slope};
      if (theta.size() == 0)
        return lightning(device, split_heads(queries, heads), split_heads(keys, heads), split_heads(values, heads),
                         state);
      return lightning(device, phase_features(device, split_heads(queries, heads), theta, in.position),
                       phase_features(device, split_heads(keys, heads), theta, in.position), split_heads(values, heads),
                       state);
    };
    auto mixed = in.key_mask ? attend(masked_fill(device, block(2), in.key_mask->split(1, 1), 0)) : attend(block(2));
    const auto tokens = contiguous(device, view(mixed.out).permute({0, 2, 1, 3}));
    const auto normed = rms_norm(device, view(tokens).merge(2), Tensor<T, 1>(), options.eps);
    auto result = out(device, multiply(device, block(3), normed));
    return Result<decltype(result), decltype(mixed.state)>{std::move(result), std::move(mixed.state)};
  }

  /// Tensors, or variables where x is one.
  template <class Out, class State>
  struct Result {
    Out out;
    State state;
  };

 private:
  static constexpr std::string_view kName = "transnormer_attention";

  void check(const std::array<Index, 3>& x, const Inputs& in) const {
    const Index heads = options.num_heads, width = out.weight.dimension(1);
    require(heads > 0 && width > 0 && width % heads == 0, kName,
            "out.weight must have shape (C, E) with E a multiple of num_heads = ", heads, ", got ",
            shape_text(const_view(out.weight).sizes));
    check_linear(kName, "qkvu", qkvu, x[2], 4 * width);
    check_linear(kName, "out", out, width, x[2]);
    require(slope.size() == heads, kName, "slope must have shape (H) = (", heads, "), got (", slope.size(), ")");
    const std::array<Index, 2> phases{heads, width / heads}, mask{x[0], x[1]};
    if (theta.size() > 0) require_shape(kName, "theta", const_view(theta).sizes, phases);
    if (in.key_mask) require_shape(kName, "key_mask", in.key_mask->sizes, mask);
  }
};

}  // namespace heed::inline HEED_ISA

// SPDX-License-Identifier: Apache-2.0
// selective_token_mixer: a gated selective scan along the tokens, in one or both directions.
#pragma once

#include "heed/block/activation.hpp"
#include "heed/block/depthwise_1d.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/linear.hpp"
#include "heed/scan/selective_scan.hpp"

namespace heed::inline HEED_ISA {

/// S6: a selective scan of c whose step, B and C are linear in c: [r, B, C] = c x.weight^T, Delta = softplus(r
/// dt.weight^T + dt.bias), A = -exp(A_log). x.weight (R + 2 n, E), dt.weight (E, R), dt.bias (E), A_log (E, n), D (E).
template <Real T>
struct SelectiveStateSpace {
  Tensor<T, 2> x_weight = {};  ///< x.weight
  Linear<T> dt = {};
  Tensor<T, 2> A_log = {};
  Tensor<T, 1> D = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("x.weight", x_weight);
    visit_part("dt.", dt, f);
    f("A_log", A_log);
    f("D", D);
  }

  /// Of c (B, L, E), times silu(z) of the same shape, from the last token to the first if `reverse`.
  template <Device On, Operand X, Operand Z>
  auto operator()(const On& device, const X& c, const Z& z, bool reverse) const {
    const Index rank = dt.weight.dimension(1), n = A_log.dimension(1);
    const auto inputs = linear(device, c, x_weight, Tensor<T, 1>());
    const auto delta = linear(device, view(inputs).slice(2, 0, rank), dt.weight, Tensor<T, 1>());
    const auto a = scale(device, exp(device, parameter_with(A_log, c)), -1);
    auto out = make_output<T, 3>("selective_state_space", sizes_of(c), c);
    auto end = make_output<T, 3>("selective_state_space", {0, 0, 0}, c);
    const auto sequence = [](const auto& tokens) { return view(tokens).permute({0, 2, 1}); };
    selective_scan(device, sequence(c), sequence(delta), a, sequence(view(inputs).slice(2, rank, n)),
                   sequence(view(inputs).slice(2, rank + n, n)), D, sequence(z), dt.bias, View<const T, 3>(),
                   {.delta_softplus = true, .reverse = reverse}, view(out).permute({0, 2, 1}), end);
    return out;
  }

  /// Throws heed::Error in the name of an operator unless it is for `channels` channels.
  void check(std::string_view where, std::string_view name, Index channels) const {
    const Index rank = dt.weight.dimension(1), n = A_log.dimension(1);
    check_linear(where, std::string(name) + "dt", dt, rank, channels);
    require_shape(where, std::string(name) + "A_log", const_view(A_log).sizes, std::array<Index, 2>{channels, n});
    require_shape(where, std::string(name) + "x.weight", const_view(x_weight).sizes,
                  std::array<Index, 2>{rank + 2 * n, channels});
    require_shape(where, std::string(name) + "D", const_view(D).sizes, std::array<Index, 1>{channels});
  }
};

/// out = (y * silu(gate(x))) out.weight^T + out.bias with y = S6(c), c = silu(conv(in(x))): Mamba's layer. If
/// `bidirectional`, y is that plus S6 of the reversed c with parameters of its own (bwd.), reversed.
///
///   heed::SelectiveTokenMixer<float> mix{{.bidirectional = true}};
///   auto y = mix(x);                                        // or mix(device, x), or mix(device, x, out)
///
/// x and out (B, L, C); in.weight and gate.weight (E, C), out.weight (C, E), their biases (E), (E), (C); conv.weight
/// (E, 1, K), conv.bias (E), a depthwise convolution along the tokens over the K - 1 before, or floor((K - 1) / 2)
/// before and the rest behind if bidirectional; x.weight (R + 2 n, E), dt.weight (E, R), dt.bias (E), A_log (E, n), D
/// (E), and the same with bwd. before. K, R and n follow from the shapes.
///
/// Without `bidirectional`, what follows a token never changes its result. Throws heed::Error for shapes that do not
/// fit. Time O(B L E (C + R + n + K)), linear in L; the same bits for any number of threads.
/// Source: Behrouz, Santacatterina and Zabih 2024 (MambaMixer); transcription: no code was released. That layers have
/// biases, that both directions share the convolution, and its padding, are our reading.
template <Real T>
struct SelectiveTokenMixer {
  struct Options {
    bool bidirectional = false;
  };

  Options options = {};
  Linear<T> in = {}, gate = {};
  Tensor<T, 3> conv_weight = {};  ///< conv.weight
  Tensor<T, 1> conv_bias = {};    ///< conv.bias
  SelectiveStateSpace<T> scan = {};
  SelectiveStateSpace<T> bwd = {};
  Linear<T> out = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "in.", in, "gate.", gate);
    f("conv.weight", conv_weight);
    f("conv.bias", conv_bias, heed::optional);
    visit_part("", scan, f);
    if (options.bidirectional) {
      visit_part("bwd.", bwd, f);
    } else {
      visit_part("bwd.", bwd, f, heed::optional);
    }
    visit_part("out.", out, f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device On, Operand X>
  auto operator()(const On& device, const X& x) const {
    auto result = make_output<T, 3>(kName, sizes_of(x), x);
    (*this)(device, x, view(result));
    return result;
  }
  /// Into a tensor, view or variable of x's shape.
  template <Device On, Operand X, Operand O>
  void operator()(const On& device, const X& x, O&& target) const {
    static_assert(kOperandRank<X> == 3, "heed::SelectiveTokenMixer: x is (B, L, C)");
    check(sizes_of(x)[2]);
    const Index taps = conv_weight.dimension(2), before = options.bidirectional ? (taps - 1) / 2 : taps - 1;
    const auto p = in(device, x);
    const auto mixed = depthwise_1d(device, p, view(conv_weight).select(1, 0), conv_bias,
                                    {.left = before, .right = taps - 1 - before});
    const auto c = silu(device, mixed);
    const auto z = gate(device, x);
    auto y = scan(device, c, z, false);
    if (options.bidirectional) y = add(device, y, bwd(device, c, z, true));
    out(device, y, target);
  }

 private:
  static constexpr std::string_view kName = "selective_token_mixer";

  void check(Index channels) const {
    const Index inner = in.weight.dimension(0);
    check_linear(kName, "in", in, channels, inner);
    check_linear(kName, "gate", gate, channels, inner);
    check_linear(kName, "out", out, inner, channels);
    require(conv_weight.dimension(0) == inner && conv_weight.dimension(1) == 1 && conv_weight.dimension(2) > 0, kName,
            "conv.weight must have shape (", inner, ", 1, K) with K of 1 or more, got ",
            shape_text(const_view(conv_weight).sizes));
    scan.check(kName, "", inner);
    if (options.bidirectional) bwd.check(kName, "bwd.", inner);
  }
};

}  // namespace heed::inline HEED_ISA

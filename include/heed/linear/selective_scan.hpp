// SPDX-License-Identifier: Apache-2.0
// selective_scan: the S6 layer of Mamba with its parameters.
#pragma once

#include "heed/core/parameters.hpp"
#include "heed/scan/selective_scan.hpp"

namespace heed::inline HEED_ISA {

/// s_t = exp(Delta_t A) s_(t-1) + Delta_t B_t u_t, y_t = C_t . s_t + D u_t for each channel, out = y silu(z), with
/// Delta = delta + delta.bias, through softplus if `delta_softplus`.
///
///   heed::SelectiveScan<float> scan{{.delta_softplus = true}};
///   auto y = scan(u, delta, B, C).out;                      // or scan(device, u, delta, B, C, z, state)
///
/// u, delta, z and out (B, E, L), B and C (B, n, L), state (B, E, n) before and, in the result, behind; z and state may
/// be empty or left out. Parameters A (E, n), negative in use, D (E) and delta.bias (E), the last two optional. Of no
/// tokens, the state is given back. Errors, cost and threads of the block heed::selective_scan.
/// Source: Gu and Dao 2023, algorithm 2; without grouped, constant or complex B and C.
template <Real T>
struct SelectiveScan {
  struct Options {
    bool delta_softplus = false;
  };
  template <class X>
  struct Result {
    X out;
    X state;
  };

  Options options = {};
  Tensor<T, 2> A = {};
  Tensor<T, 1> D = {};
  Tensor<T, 1> delta_bias = {};  ///< delta.bias

  template <class F>
  void for_each_parameter(F&& f) {
    f("A", A);
    f("D", D, heed::optional);
    f("delta.bias", delta_bias, heed::optional);
  }

  template <Operand U, Operand Delta, Operand B, Operand C, Operand Z = View<const T, 3>, Operand S = View<const T, 3>>
  auto operator()(const U& u, const Delta& delta, const B& b, const C& c, const Z& z = {}, const S& state = {}) const {
    return (*this)(DeviceRef(), u, delta, b, c, z, state);
  }
  template <Device On, Operand U, Operand Delta, Operand B, Operand C, Operand Z = View<const T, 3>,
            Operand S = View<const T, 3>>
  auto operator()(const On& device, const U& u, const Delta& delta, const B& b, const C& c, const Z& z = {},
                  const S& state = {}) const {
    static_assert(kOperandRank<U> == 3, "heed::SelectiveScan: u is (B, E, L)");
    const auto sizes = sizes_of(u);
    auto out = make_output<T, 3>("selective_scan", sizes, u, delta, b, c, z, state);
    auto end = make_output<T, 3>("selective_scan", {sizes[0], sizes[1], A.dimension(1)}, u, delta, b, c, z, state);
    selective_scan(device, u, delta, A, b, c, D, z, delta_bias, state, {.delta_softplus = options.delta_softplus}, out,
                   end);
    return Result<decltype(out)>{std::move(out), std::move(end)};
  }
};

}  // namespace heed::inline HEED_ISA

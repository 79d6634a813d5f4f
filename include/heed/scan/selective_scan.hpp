// SPDX-License-Identifier: Apache-2.0
// selective_scan: a diagonal recurrence whose decay, input and reading are given for each token.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/scan/selective_scan_lanes.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

template <class V, std::size_t Rank>
void check_scan_operand(std::string_view name, const V& x, const std::array<Index, Rank>& expected, bool optional) {
  require(x.sizes == expected || (optional && x.count() == 0), "selective_scan", name, " must ",
          optional ? "be empty or " : "", "have shape ", shape_text(expected), ", got ", shape_text(x.sizes));
}

template <class T>
void check_selective_scan(const ScanOperands<const T>& x) {
  const Index batch = x.u.size(0), channels = x.u.size(1), tokens = x.u.size(2), states = x.a.size(1);
  const std::array<Index, 3> sequence{batch, channels, tokens}, shared{batch, states, tokens};
  check_scan_operand("delta", x.delta, sequence, false);
  check_scan_operand("A", x.a, std::array<Index, 2>{channels, states}, false);
  check_scan_operand("B", x.b, shared, false);
  check_scan_operand("C", x.c, shared, false);
  check_scan_operand("D", x.d, std::array<Index, 1>{channels}, true);
  check_scan_operand("z", x.z, sequence, true);
  check_scan_operand("delta_bias", x.delta_bias, std::array<Index, 1>{channels}, true);
  check_scan_operand("state", x.state, std::array<Index, 3>{batch, channels, states}, true);
}

}  // namespace detail

/// With Delta = delta + delta_bias, through softplus if `delta_softplus`, token after token
///
///   s[e, i] = exp(Delta_t[e] A[e, i]) s[e, i] + Delta_t[e] B_t[i] u_t[e],   y_t[e] = sum over i of C_t[i] s[e, i] +
///   D[e] u_t[e],
///
/// and out = y, times silu(z) if z is given: a linear recurrence of n states for each channel. u, delta, z and out
/// (B, E, L), A (E, n), B and C (B, n, L), D and delta_bias (E), state and end (B, E, n), the states before and behind;
/// D, z, delta_bias, state and end may be empty: none, zeros, not wanted. So a sequence can be fed in pieces of any
/// length; of no tokens, end is the state. `reverse` runs from the last token to the first.
///
///   selective_scan(device, u, delta, A, B, C, D, z, delta_bias, state, {.delta_softplus = true}, out, end);
///
/// Any strides, so that (B, L, E) is given by a permuted view; all float or all double. What follows a token never
/// changes its result. Throws heed::Error, before anything is written, for shapes that do not fit. Time O(B L E n), one
/// exponential for each state and token; scratch O(n) a thread. The lanes are channels: fewer than a register holds
/// cost as many. The same bits for any batch and number of threads.
///
/// Gradient: of all nine, selective_scan_backward.
/// Source: Gu and Dao 2023 (Mamba), the S6 layer: zero-order hold for A, the step alone for B.
template <Device D, TensorLike U, TensorLike Delta, TensorLike A, TensorLike B, TensorLike C, TensorLike Skip,
          TensorLike Z, TensorLike Bias, TensorLike S, TensorLike O, TensorLike E>
void selective_scan(const D& device, const U& u, const Delta& delta, const A& a, const B& b, const C& c,
                    const Skip& skip, const Z& z, const Bias& delta_bias, const S& state,
                    const SelectiveScanOptions& options, O&& out_like, E&& end_like) {
  using T = ScalarOf<U>;
  static_assert(Real<T> && std::same_as<T, ScalarOf<Delta>> && std::same_as<T, ScalarOf<A>> &&
                    std::same_as<T, ScalarOf<B>> && std::same_as<T, ScalarOf<C>> && std::same_as<T, ScalarOf<O>>,
                "heed::selective_scan: all tensors must be float, or all double");
  const detail::ScanOperands<const T> x{const_view(u), const_view(delta),      const_view(a),
                                        const_view(b), const_view(c),          const_view(skip),
                                        const_view(z), const_view(delta_bias), const_view(state)};
  detail::check_selective_scan(x);
  const View<T, 3> out = view(out_like), end = view(end_like);
  require_shape("selective_scan", "out", out.sizes, x.u.sizes);
  detail::check_scan_operand("end", end, std::array<Index, 3>{x.u.size(0), x.u.size(1), x.a.size(1)}, true);
  const Index groups = detail::lane_groups<T>(x.u.size(1));
  parallel_for(device, x.u.size(0) * groups, [&](Index unit) {
    const detail::ScanLanes<T> lanes(x, options, unit / groups, unit % groups);
    lanes.forward(out, end.count() > 0 ? end : View<T, 3>());
  });
}
/// Without a gate, and a state before or behind.
template <Device D, TensorLike U, TensorLike Delta, TensorLike A, TensorLike B, TensorLike C, TensorLike Skip,
          TensorLike Bias>
auto selective_scan(const D& device, const U& u, const Delta& delta, const A& a, const B& b, const C& c,
                    const Skip& skip, const Bias& delta_bias, const SelectiveScanOptions& options = {}) {
  using T = ScalarOf<U>;
  Tensor<T, 3> out;
  out.resize(const_view(u).sizes);
  selective_scan(device, u, delta, a, b, c, skip, View<const T, 3>(), delta_bias, View<const T, 3>(), options, out,
                 View<T, 3>());
  return out;
}

/// The gradients of selective_scan, added; a view of null data in d is not wanted. d_end is that of the states behind,
/// of null data for zeros. The states are computed again from one that is kept for every 32 tokens: three exponentials
/// for each state and token. Sums over channels and over the batch have the same order for any number of threads.
template <Device D, Real T>
void selective_scan_backward(const D& device, const detail::ScanOperands<const T>& x,
                             const SelectiveScanOptions& options, const View<const T, 3>& d_out,
                             const View<const T, 3>& d_end, const detail::ScanOperands<T>& d) {
  constexpr Index w = simd::kLanes<T>;
  const Index batch = x.u.size(0), channels = x.u.size(1), tokens = x.u.size(2), states = x.a.size(1);
  const Index groups = detail::lane_groups<T>(channels);
  // What all channels share is summed by runs of channels, each on one thread, and those are joined in their order.
  const Index runs = std::min<Index>(groups, 8), shared = states * tokens, own = (states + 2) * w;
  ScratchFrame frame;
  T* const of_tokens = frame.take<T>(2 * batch * runs * shared);
  T* const of_lanes = frame.take<T>(batch * groups * own);
  std::fill_n(of_tokens, 2 * batch * runs * shared, T(0));
  std::fill_n(of_lanes, batch * groups * own, T(0));
  parallel_for(device, batch * runs, [&](Index unit) {
    const Index b = unit / runs, run = unit % runs;
    T* const sums = of_tokens + 2 * unit * shared;
    for (Index group = run * groups / runs; group < (run + 1) * groups / runs; ++group)
      detail::ScanLanes<T>(x, options, b, group)
          .backward(d_out, d_end, d, {sums, sums + shared, of_lanes + (b * groups + group) * own});
  });
  for (Index unit = 0; unit < batch * runs; ++unit)
    for (int which = 0; which < 2; ++which) {
      const View<T, 3>& sum = which == 0 ? d.b : d.c;
      const View<const T, 2> part(of_tokens + (2 * unit + which) * shared, {states, tokens});
      if (sum.data) kernel::copy<kernel::Write::kAdd>(device, part, sum.select(0, unit / runs));
    }
  for (Index b = 0; b < batch; ++b)
    for (Index e = 0; e < channels; ++e) {
      const T* const part = of_lanes + (b * groups + e / w) * own + e % w;
      if (d.a.data)
        for (Index i = 0; i < states; ++i) d.a(e, i) += part[i * w];
      if (d.d.data) d.d(e) += part[states * w];
      if (d.delta_bias.data) d.delta_bias(e) += part[(states + 1) * w];
    }
}

}  // namespace heed::inline HEED_ISA

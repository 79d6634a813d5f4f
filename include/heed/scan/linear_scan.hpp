// SPDX-License-Identifier: Apache-2.0
// linear_scan: the recurrence of linear attention, with decay and with the delta rule.
#pragma once

#include "heed/core/operand.hpp"
#include "heed/scan/linear_attention.hpp"
#include "heed/scan/linear_scan_backward.hpp"

namespace heed::inline HEED_ISA {

struct LinearScanOptions {
  double scale = 1;         ///< of the queries
  bool normalizer = false;  ///< a column of ones behind those of v: its result is the sum of the weights
  LinearForm form = LinearForm::kAuto;
  Index chunk = 64;  ///< tokens, 1 or more
};

namespace detail {

template <Real T>
struct ScanProblem {
  View<const T, 4> q, k, v, decay, beta, state;
  LinearScanOptions options;
  DecayKind kind = DecayKind::kNone;
  Index chunk = 1;

  static constexpr std::string_view kName = "linear_scan";

  ScanProblem(const View<const T, 4>& q, const View<const T, 4>& k, const View<const T, 4>& v,
              const View<const T, 4>& decay, const View<const T, 4>& beta, const View<const T, 4>& state,
              const LinearScanOptions& options)
      : q(q), k(k), v(v), decay(decay), beta(beta), state(state), options(options) {
    const Index batch = k.size(0), heads = k.size(1), tokens = k.size(2), features = k.size(3);
    require(q.size(0) == batch && q.size(2) == tokens && q.size(3) == features && heads > 0 && q.size(1) % heads == 0,
            kName, "q (B, H, N, D) and k (B, Hk, N, D) must agree, H a multiple of Hk, got ", shape_text(q.sizes),
            " and ", shape_text(k.sizes));
    require(v.size(0) == batch && v.size(1) == heads && v.size(2) == tokens, kName,
            "v must have shape (B, Hk, N, Dv) = (", batch, ", ", heads, ", ", tokens, ", Dv), got ",
            shape_text(v.sizes));
    require(options.chunk > 0, kName, "chunk must be 1 or more, got ", options.chunk);
    require(std::isfinite(options.scale), kName, "scale must be finite, got ", options.scale);
    const std::array<Index, 4> channels{batch, heads, tokens, features}, each{batch, heads, tokens, 1},
        constant{1, heads, 1, 1}, values{batch, heads, tokens, v.size(3)};
    if (given(decay)) {
      require(decay.sizes == channels || decay.sizes == each || decay.sizes == constant, kName,
              "log_decay must be empty or have shape ", shape_text(channels), ", ", shape_text(each), " or ",
              shape_text(constant), ", got ", shape_text(decay.sizes));
      kind = decay.sizes == constant && constant != each ? DecayKind::kPerHead
             : decay.sizes == each                       ? DecayKind::kPerToken
                                                         : DecayKind::kPerChannel;
    }
    require(!given(beta) || beta.sizes == values || beta.sizes == each, kName, "beta must be empty or have shape ",
            shape_text(each), " or ", shape_text(values), ", got ", shape_text(beta.sizes));
    require(!given(beta) || !options.normalizer, kName, "the delta rule has no normalizer");
    require(!given(state) || state.sizes == state_sizes(), kName, "state must be empty or have shape ",
            shape_text(state_sizes()), ", got ", shape_text(state.sizes));
    chunk = options.form == LinearForm::kParallel ? std::max<Index>(1, tokens)
            : recurrent()                         ? 1
                                                  : std::min(options.chunk, std::max<Index>(1, tokens));
  }

  Index width() const { return v.size(3) + Index(options.normalizer); }
  std::array<Index, 4> state_sizes() const { return {k.size(0), k.size(1), k.size(3), width()}; }
  std::array<Index, 4> out_sizes() const { return {q.size(0), q.size(1), q.size(2), width()}; }
  Index units() const { return k.size(0) * k.size(1); }
  bool recurrent() const {
    return options.form == LinearForm::kRecurrent || (options.form == LinearForm::kAuto && k.size(2) < kFewScanTokens);
  }

  ScanHead<T> head(Index unit) const {
    ScanHead<T> result;
    result.q = group_of(q, unit);
    result.k = whole(k, unit);
    result.v = whole(v, unit);
    if (given(decay))
      result.decay = kind == DecayKind::kPerHead ? decay.select(0, 0).select(0, unit % k.size(1)) : part(decay, unit);
    if (given(beta)) result.beta = part(beta, unit);
    if (given(state)) result.start = part(state, unit);
    result.kind = kind;
    result.ones = options.normalizer;
    result.scale = options.scale;
    return result;
  }
  /// What belongs to one key head; of null data where x has none.
  template <class U>
  View<U, 2> part(const View<U, 4>& x, Index unit) const {
    return x.data && x.count() > 0 ? whole(x, unit) : View<U, 2>();
  }
  /// The query heads of one key head; of null data where x has elements but no data.
  template <class U>
  View<U, 3> group_of(const View<U, 4>& x, Index unit) const {
    const Index groups = q.size(1) / k.size(1);
    if (!x.data && (x.count() > 0 || x.size(1) == 0)) return View<U, 3>();
    return x.select(0, unit / k.size(1)).slice(0, unit % k.size(1) * groups, groups);
  }

  /// Tokens below which a state is carried from one to the next.
  static constexpr Index kFewScanTokens = 8;

 private:
  template <class U>
  View<U, 2> whole(const View<U, 4>& x, Index unit) const {
    return x.select(0, unit / k.size(1)).select(0, unit % k.size(1));
  }
  static bool given(const View<const T, 4>& x) { return x.data != nullptr && x.count() > 0; }
};

}  // namespace detail

/// S_t = e^g_t S_(t-1) + k_t x_t^T and out_t = scale S_t^T q_t for each head, with x_t = v_t or, where beta is given,
/// x_t = beta_t (v_t - (e^g_t S_(t-1))^T k_t), the delta rule: linear attention, retention, gated linear attention,
/// DeltaNet and gated DeltaNet. The state before the first token and the one after the last are an input and an output,
/// so that a sequence can be fed in pieces of any length.
///
///   linear_scan(device, q, k, v, log_decay, beta, state, {.scale = 0.125}, out, end);
///
/// q (B, H, N, D), k (B, Hk, N, D), v (B, Hk, N, Dv), H a multiple of Hk: query head h reads the state of key head
/// h Hk / H. log_decay g is (1, Hk, 1, 1), one for a head; (B, Hk, N, 1), one for a token; (B, Hk, N, D), one for each
/// row of S; or empty, for none. It is 0 or less in use, -infinity included: what is computed are products of e^g, and
/// quotients only while they are mild, so that no strength of decay overflows. beta is (B, Hk, N, 1), (B, Hk, N, Dv)
/// or empty. state and end are (B, Hk, D, Dv), or empty: zeros, and not wanted. With options.normalizer v counts as
/// having a column of ones behind its own, in out (B, H, N, Dv + 1), state and end: out's last column is then the sum
/// of the weights. Any strides, all float or all double. Empty optional inputs are views of no data.
///
/// The recurrent form goes from token to token, the parallel one by all pairs (memory N^2 a thread), the chunked one by
/// pairs within chunks and the state between them; all agree to rounding. Short sequences are recurrent by default. A
/// later token never changes an earlier result, NaN included. Throws heed::Error, before anything is written, for
/// shapes and options that do not fit. Time O(N chunk (D + Dv) + N D Dv) for each head; a thread's scratch holds a
/// state and a chunk. The same bits for any number of threads, which share batches and key heads.
/// Source: Katharopoulos et al. 2020; Sun et al. 2023; Yang et al. 2024 (gated linear attention; DeltaNet) and 2025.
///
/// Gradient: of q, k, v, log_decay, beta and state, linear_scan_backward.
template <Device D, TensorLike Q, TensorLike K, TensorLike V, TensorLike G, TensorLike B, TensorLike S, TensorLike O,
          TensorLike E>
void linear_scan(const D& device, const Q& q, const K& k, const V& v, const G& log_decay, const B& beta, const S& state,
                 const LinearScanOptions& options, O&& out_like, E&& end_like) {
  using T = ScalarOf<Q>;
  static_assert(Real<T>, "heed::linear_scan: all tensors must be float, or all double");
  const detail::ScanProblem<T> problem(const_view(q), const_view(k), const_view(v), const_view(log_decay),
                                       const_view(beta), const_view(state), options);
  const View<T, 4> out = view(out_like), end = view(end_like);
  require_shape("linear_scan", "out", out.sizes, problem.out_sizes());
  if (end.count() > 0) require_shape("linear_scan", "the state's end", end.sizes, problem.state_sizes());
  parallel_for(device, problem.units(), [&](Index unit) {
    const auto to_end = end.count() > 0 ? problem.part(end, unit) : View<T, 2>();
    if (problem.recurrent()) {
      detail::scan_tokens(problem.head(unit), problem.group_of(out, unit), to_end);
    } else {
      detail::scan_chunks(problem.head(unit), problem.chunk, problem.group_of(out, unit), to_end);
    }
  });
}

/// Tensors, or variables where one of the operands is one.
template <class X>
struct LinearScanResult {
  X out;    ///< (B, H, N, Dv), or one column more with options.normalizer
  X state;  ///< after the last token
};
template <Device D, TensorLike Q, TensorLike K, TensorLike V, TensorLike G, TensorLike B, TensorLike S>
auto linear_scan(const D& device, const Q& q, const K& k, const V& v, const G& log_decay, const B& beta, const S& state,
                 const LinearScanOptions& options = {}) {
  using T = ScalarOf<Q>;
  const detail::ScanProblem<T> problem(const_view(q), const_view(k), const_view(v), const_view(log_decay),
                                       const_view(beta), const_view(state), options);
  LinearScanResult<Tensor<T, 4>> result;
  result.out.resize(problem.out_sizes());
  result.state.resize(problem.state_sizes());
  linear_scan(device, q, k, v, log_decay, beta, state, options, result.out, result.state);
  return result;
}

/// The gradients of linear_scan, added; a d_ view of null data is not wanted. d_end is that of the state after, of null
/// data for zeros. By chunks, whatever the form: their states are computed again and kept, N / chunk of them for each
/// head at work; memory O(N / chunk D Dv + chunk (D + Dv)) a thread.
template <Device D, Real T>
void linear_scan_backward(const D& device, const View<const T, 4>& q, const View<const T, 4>& k,
                          const View<const T, 4>& v, const View<const T, 4>& log_decay, const View<const T, 4>& beta,
                          const View<const T, 4>& state, LinearScanOptions options, const View<const T, 4>& d_out,
                          const View<const T, 4>& d_end, const View<T, 4>& d_q, const View<T, 4>& d_k,
                          const View<T, 4>& d_v, const View<T, 4>& d_decay, const View<T, 4>& d_beta,
                          const View<T, 4>& d_state) {
  options.form = LinearForm::kChunked;
  const detail::ScanProblem<T> problem(q, k, v, log_decay, beta, state, options);
  const bool per_head = problem.kind == detail::DecayKind::kPerHead && d_decay.data;
  ScratchFrame frame;
  T* const decays = per_head ? frame.take<T>(problem.units()) : nullptr;
  parallel_for(device, problem.units(), [&](Index unit) {
    detail::ScanGradients<T> d;
    d.q = problem.group_of(d_q, unit);
    d.k = problem.part(d_k, unit);
    d.v = problem.part(d_v, unit);
    d.decay = per_head ? View<T, 2>(decays + unit, {1, 1}) : problem.part(d_decay, unit);
    d.beta = problem.part(d_beta, unit);
    d.state = problem.part(d_state, unit);
    if (per_head) decays[unit] = 0;
    detail::scan_backward(problem.head(unit), problem.chunk, problem.group_of(d_out, unit), problem.part(d_end, unit),
                          d);
  });
  for (Index unit = 0; per_head && unit < problem.units(); ++unit) d_decay(0, unit % k.size(1), 0, 0) += decays[unit];
}

}  // namespace heed::inline HEED_ISA

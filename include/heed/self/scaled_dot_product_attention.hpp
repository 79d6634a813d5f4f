// SPDX-License-Identifier: Apache-2.0
// scaled_dot_product_attention: dense softmax attention with every usual option, chosen at run time.
#pragma once

#include "heed/attention/mask/boolean.hpp"
#include "heed/attention/mask/segments.hpp"
#include "heed/attention/softmax_attention.hpp"
#include "heed/core/parameters.hpp"

namespace heed::inline HEED_ISA {

/// Where query i stands on the key axis: p_i = i + M - N, the last query on the last key, or p_i = i.
enum class CausalAlignment { kBottomRight, kTopLeft };

/// softmax(score(scale * q k^T)) v over the visible keys, with log-sum-exp on request. What is fixed at compile time is
/// better said to softmax_attention, which makes one kernel of just that; here all is a choice of the caller's data.
///
///   heed::ScaledDotProductAttention<float> attend{{.causal = true, .window_left = 255, .return_lse = true}};
///   auto [out, lse] = attend(q, k, v);                      // or attend(device, q, k, v, {.kv_len = lengths})
///   attend(device, q, k, v, {.attn_mask = mask}, into(out, lse));
///
/// q (B, H, N, D), k (B, Hk, M, D), v (B, Hk, M, Dv), H a multiple of Hk; query head h reads key head h * Hk / H. Any
/// strides; T, or bfloat16 and half where T is float. out (B, H, N, Dv) in q's type, lse (B, H, N) in T. With
/// M_b = kv_len[b], or M without kv_len, and p_i = i + M_b - N or i as causal_alignment says:
///
/// 1. Key j is visible to query i when j < M_b; and, if causal, j <= p_i or j < prefix_len[b]; and j < sink_tokens or
///    -window_right <= p_i - j <= window_left; and attn_mask is not 0, q_segment[b, i] = kv_segment[b, j], and
///    attn_bias is not -infinity. A prefix relaxes the causal test alone, sink tokens the window alone.
/// 2. s = scale * q.k; s <- softcap * tanh(s / softcap); s <- s - alibi_slopes[h] * |p_i - j|; s <- s + attn_bias.
/// 3. out = sum of exp(s) v / Z, lse = log Z, where Z = sum of exp(s) + exp(sink_logit[h]); the sink has no value.
///
/// A row without a visible key gives 0, and -infinity (or sink_logit[h]) for lse: the first N - M rows of causal
/// attention with N > M. A hidden key or value never changes a result. Throws heed::Error, before anything is written,
/// for shapes, lengths and options that do not fit. Time O(visible pairs * (D + Dv)), no buffer of N x M; without
/// options, and with causal alone, as fast as softmax_attention; the same bits for any number of threads.
///
/// Others' options: a sliding window of W keys is causal with window_left = W - 1; StreamingLLM is sink_tokens with
/// window_left; Gemma 2 caps by softcap; gpt-oss has sink_logit; a T5 bias is attn_bias with scale = 1; the causal mask
/// of PyTorch is kTopLeft. Source: Vaswani et al. 2017, eq. 1; ALiBi: Press et al. 2022, section 3.
template <Real T>
struct ScaledDotProductAttention {
  struct Options {
    std::optional<double> scale = std::nullopt;  ///< none: 1 / sqrt(D)
    double softcap = 0;                          ///< 0: none
    bool causal = false;
    CausalAlignment causal_alignment = CausalAlignment::kBottomRight;  ///< of windows and ALiBi too
    Index window_left = -1;                                            ///< keys before p_i; negative: no limit
    Index window_right = -1;                                           ///< keys after p_i; negative: no limit
    Index sink_tokens = 0;                                             ///< first keys that no window hides
    bool return_lse = false;
  };
  /// Inputs that a call may have. They are views: the tensors must outlive the call, and of a recorded one the tape's
  /// recording. attn_bias has a gradient then, also as the values of a variable: attn_bias = var.value().
  struct Inputs {
    std::optional<View<const std::uint8_t, 4>> attn_mask = std::nullopt;   ///< (B, H, N, M), any axis 1 to broadcast
    std::optional<View<const T, 4>> attn_bias = std::nullopt;              ///< (B, H, N, M), any axis 1 to broadcast
    std::optional<View<const std::int32_t, 2>> q_segment = std::nullopt;   ///< (B, N), with kv_segment
    std::optional<View<const std::int32_t, 2>> kv_segment = std::nullopt;  ///< (B, M)
    std::optional<View<const std::int32_t, 1>> kv_len = std::nullopt;      ///< (B), 0 .. M
    std::optional<View<const std::int32_t, 1>> prefix_len = std::nullopt;  ///< (B), keys that causal does not hide
  };
  /// Tensors, or variables where one of q, k and v is one.
  template <class Out, class Lse>
  struct Result {
    Out out;
    Lse lse;  ///< empty unless options.return_lse
  };

  Options options = {};
  Tensor<T, 1> sink_logit = {};    ///< (H) or empty
  Tensor<T, 1> alibi_slopes = {};  ///< (H) or empty

  template <class F>
  void for_each_parameter(F&& f) {
    f("sink_logit", sink_logit, heed::optional);
    f("alibi_slopes", alibi_slopes, heed::optional);
  }

  template <Operand Q, Operand K, Operand V>
  auto operator()(const Q& q, const K& k, const V& v, const Inputs& inputs = {}) const {
    return (*this)(Eigen::DefaultDevice(), q, k, v, inputs);
  }
  template <Device D, Operand Q, Operand K, Operand V>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const Inputs& inputs = {}) const {
    const auto sizes = sizes_of(q);
    const std::array<Index, 3> rows{sizes[0], sizes[1], sizes[2]};
    auto out = make_output<OperandScalar<Q>, 4>(kName, {sizes[0], sizes[1], sizes[2], sizes_of(v)[3]}, q, k, v);
    using Lse = decltype(make_output<T, 3>(kName, rows, q, k, v));
    Lse lse;
    if (options.return_lse) {
      lse = make_output<T, 3>(kName, rows, q, k, v);
      (*this)(device, q, k, v, inputs, into(out, lse));
    } else {
      (*this)(device, q, k, v, inputs, into(out));
    }
    return Result<decltype(out), Lse>{std::move(out), std::move(lse)};
  }
  /// Into the caller's memory; lse is written where `target` has it, whatever return_lse says.
  template <Device D, Operand Q, Operand K, Operand V, AttentionTarget Target>
  void operator()(const D& device, const Q& q, const K& k, const V& v, const Inputs& inputs,
                  const Target& target) const {
    static_assert(kOperandRank<Q> == 4 && kOperandRank<K> == 4 && kOperandRank<V> == 4,
                  "heed::ScaledDotProductAttention: q, k and v are (B, H, N, D), (B, Hk, M, D) and (B, Hk, M, Dv)");
    static_assert(std::same_as<Compute<OperandScalar<Q>>, T>,
                  "heed::ScaledDotProductAttention<T>: q, k and v must be computed in T");
    check(sizes_of(q), sizes_of(k), sizes_of(v), inputs);
    check_target(sizes_of(q), sizes_of(v)[3], target);
    SoftmaxOptions common{.scale = options.scale};
    if (options.causal_alignment == CausalAlignment::kTopLeft) common.position_offset = 0;
    if (!only_causal(inputs)) {
      softmax_attention(score(inputs), rule(inputs), common)(device, q, k, v, target);
    } else if (options.causal) {
      softmax_attention(causal(), common)(device, q, k, v, target);
    } else {
      softmax_attention(common)(device, q, k, v, target);
    }
  }

 private:
  static constexpr std::string_view kName = "scaled_dot_product_attention";

  bool windowed() const { return options.window_left >= 0 || options.window_right >= 0; }

  // Nothing is asked for but, perhaps, causal.
  bool only_causal(const Inputs& in) const {
    return options.softcap == 0 && !windowed() && sink_logit.size() == 0 && alibi_slopes.size() == 0 && !in.attn_mask &&
           !in.attn_bias && !in.q_segment && !in.kv_len && (!in.prefix_len || !options.causal);
  }

  // One composition for every combination: compiling one for each would take minutes, and a test of a flag that is the
  // same for all pairs costs little.
  auto score(const Inputs& in) const {
    return when(options.softcap > 0, heed::softcap(options.softcap > 0 ? options.softcap : 1)) |
           when(alibi_slopes.size() > 0, alibi(alibi_slopes)) |
           when(in.attn_bias.has_value(), bias(in.attn_bias.value_or(View<const T, 4>()))) |
           when(sink_logit.size() > 0, heed::sink_logit(sink_logit));
  }
  auto rule(const Inputs& in) const {
    const View<const std::int32_t, 1> lengths;
    const View<const std::int32_t, 2> ids;
    const bool prefixed = in.prefix_len.has_value();
    const auto left = when(options.window_left >= 0, heed::window_left(std::max<Index>(options.window_left, 0)));
    const auto right = when(options.window_right >= 0, heed::window_right(std::max<Index>(options.window_right, 0)));
    return when(in.kv_len.has_value(), key_lengths(in.kv_len.value_or(lengths))) &&
           when(options.causal && !prefixed, causal()) &&
           when(options.causal && prefixed, causal() || prefix(in.prefix_len.value_or(lengths))) &&
           when(windowed(), (left && right) || heed::sink_tokens(options.sink_tokens)) &&
           when(in.q_segment.has_value(), segments(in.q_segment.value_or(ids), in.kv_segment.value_or(ids))) &&
           when(in.attn_mask.has_value(), boolean_mask(in.attn_mask.value_or(View<const std::uint8_t, 4>())));
  }

  void check(const std::array<Index, 4>& q, const std::array<Index, 4>& k, const std::array<Index, 4>& v,
             const Inputs& in) const {
    const auto batch = q[0], heads = q[1], queries = q[2], keys = k[2];
    require(k[0] == batch && k[3] == q[3], kName, "k must have shape (B, Hk, M, D) = (", batch, ", Hk, M, ", q[3],
            "), got ", shape_text(k));
    require(v[0] == k[0] && v[1] == k[1] && v[2] == k[2], kName, "v must have shape (B, Hk, M, Dv) = (", k[0], ", ",
            k[1], ", ", k[2], ", Dv), got ", shape_text(v));
    require(q[3] > 0 && v[3] > 0, kName, "D and Dv must be 1 or more, got ", q[3], " and ", v[3]);
    require(heads == 0 || (k[1] > 0 && heads % k[1] == 0), kName, "the number of heads of q, ", heads,
            ", must be a multiple of that of k and v, ", k[1]);
    require(!options.scale || std::isfinite(T(*options.scale)), kName, "scale must be finite, got ",
            options.scale.value_or(0));
    require(std::isfinite(options.softcap) && options.softcap >= 0, kName,
            "softcap must be positive, or 0 for none, got ", options.softcap);
    require(options.sink_tokens >= 0, kName, "sink_tokens must be 0 or more, got ", options.sink_tokens);
    check_parameter("sink_logit", sink_logit.size(), heads);
    check_parameter("alibi_slopes", alibi_slopes.size(), heads);
    const std::array<Index, 4> pairs{batch, heads, queries, keys};
    if (in.attn_mask) in.attn_mask->broadcast(pairs, kName, "attn_mask");
    if (in.attn_bias) in.attn_bias->broadcast(pairs, kName, "attn_bias");
    require(in.q_segment.has_value() == in.kv_segment.has_value(), kName,
            "q_segment and kv_segment must be given together");
    if (in.q_segment) {
      check_input("q_segment", "(B, N)", in.q_segment->sizes, {batch, queries});
      check_input("kv_segment", "(B, M)", in.kv_segment->sizes, {batch, keys});
    }
    if (in.prefix_len) check_input<1>("prefix_len", "(B)", in.prefix_len->sizes, {batch});
    if (!in.kv_len) return;
    check_input<1>("kv_len", "(B)", in.kv_len->sizes, {batch});
    for (Index b = 0; b < batch; ++b)
      require((*in.kv_len)(b) >= 0 && (*in.kv_len)(b) <= keys, kName, "kv_len[", b, "] must be in 0 .. M = ", keys,
              ", got ", (*in.kv_len)(b));
  }
  template <std::size_t Rank>
  static void check_input(std::string_view name, std::string_view letters, const std::array<Index, Rank>& got,
                          const std::array<Index, Rank>& want) {
    require(got == want, kName, name, " must have shape ", letters, " = ", shape_text(want), ", got ", shape_text(got));
  }
  static void check_parameter(std::string_view name, Index size, Index heads) {
    require(size == 0 || size == heads, kName, name, " must be empty or have shape (H) = (", heads, "), got (", size,
            ")");
  }
  static void check_target(const std::array<Index, 4>& q, Index value_width, const AttentionTarget auto& target) {
    check_input<4>("out", "(B, H, N, Dv)", sizes_of(target.out), {q[0], q[1], q[2], value_width});
    if (target.has_lse()) check_input<3>("lse", "(B, H, N)", sizes_of(target.lse), {q[0], q[1], q[2]});
  }
};

}  // namespace heed::inline HEED_ISA

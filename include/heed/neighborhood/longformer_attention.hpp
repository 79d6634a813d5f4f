// SPDX-License-Identifier: Apache-2.0
// longformer_attention: a sliding window, and global tokens that see all and are seen by all.
#pragma once

#include "heed/attention/heads.hpp"
#include "heed/attention/mask/boolean.hpp"
#include "heed/attention/mask/extra_keys.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/gather.hpp"
#include "heed/block/linear.hpp"

namespace heed::inline HEED_ISA {

/// Sliding-window self-attention with global tokens, which have projections of their own.
///
///   heed::LongformerAttention<float> attend{{.num_heads = 12, .window_size = 256}};
///   auto y = attend(x, global_mask);                        // or attend(device, x, global_mask, padding_mask)
///
/// x and out (B, N, C); global_mask (B, N) uint8, 1 = global; padding_mask (B, N) uint8, 1 = padding, or left out: both
/// read during the call. q, k, v and global.q, global.k, global.v: weight (C, C), bias (C) or empty. There is no output
/// projection. A token that is padding is not global. With D = C / num_heads and the scale 1 / sqrt(D):
///
/// 1. A query that is not global attends, by q, k and v, to the tokens i + t * dilation, t = -window_size ..
///    window_size, and to all global ones, each once, without padding.
/// 2. A global query attends, by global.q, global.k and global.v, to all tokens but padding.
/// 3. A query that is padding gives 0.
///
/// The authors add -10000 to hidden scores; here a hidden key has weight 0 and never changes a result. The number of
/// global tokens G may differ between batches; without any, the parameters of `global` are not read. Throws
/// heed::Error, before anything is written, for shapes and options that do not fit. Time O(N (window_size * dilation +
/// G) C + G N C) beside the projections; the same bits for any number of threads. Source: Beltagy et al. 2020; the
/// authors' LongformerSelfAttention. Dilation is a transcription.
template <Real T>
struct LongformerAttention {
  struct Options {
    Index num_heads = 12;
    Index window_size = 256;  ///< tokens on each side, 0 or more
    Index dilation = 1;       ///< tokens from key to key, 1 or more
  };
  struct Projections {
    Linear<T> q = {}, k = {}, v = {};

    template <class F>
    void for_each_parameter(F&& f) {
      visit_parts(f, "q.", q, "k.", k, "v.", v);
    }
  };

  Options options = {};
  Projections local = {};   ///< q, k, v
  Projections global = {};  ///< global.q, global.k, global.v

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "", local, "global.", global);
  }

  template <Operand X, TensorLike G>
  auto operator()(const X& x, const G& global_mask) const {
    return (*this)(DeviceRef(), x, global_mask);
  }
  template <Operand X, TensorLike G, TensorLike P>
  auto operator()(const X& x, const G& global_mask, const P& padding_mask) const {
    return (*this)(DeviceRef(), x, global_mask, padding_mask);
  }
  template <Device D, Operand X, TensorLike G>
  auto operator()(const D& device, const X& x, const G& global_mask) const {
    const std::uint8_t none = 0;
    return (*this)(device, x, global_mask, View<const std::uint8_t, 2>(&none, {sizes_of(x)[0], sizes_of(x)[1]}, {}));
  }
  template <Device D, Operand X, TensorLike G, TensorLike P>
  auto operator()(const D& device, const X& x, const G& global_mask, const P& padding_mask) const {
    static_assert(kOperandRank<X> == 3 && kRankOf<G> == 2 && kRankOf<P> == 2 &&
                      std::same_as<ScalarOf<G>, std::uint8_t> && std::same_as<ScalarOf<P>, std::uint8_t>,
                  "heed::LongformerAttention: x is (B, N, C), the masks are (B, N) of std::uint8_t");
    const Plan plan = check(sizes_of(x), const_view(global_mask), const_view(padding_mask));
    const auto heads = [&](const auto& tokens) { return split_heads(tokens, options.num_heads); };
    const auto indices = packed_with(plan.keys, x);
    const auto seen = packed_with(plan.seen, x);
    const auto valid = packed_with(plan.valid, x);
    const auto residues = packed_with(plan.residues, x);

    const auto q = local.q(device, x);
    const auto k = local.k(device, x), v = local.v(device, x);
    // Global keys stand once more behind the sequence, where every query sees them, and are hidden within it.
    const auto all_k = gather(device, k, indices), all_v = gather(device, v, indices);
    const Index reach = std::min(options.window_size, plan.tokens) * options.dilation;
    const auto same_residue = [residues = const_view(residues)](const auto& at) {
      return at.of_query(residues) == at.of_key(residues);
    };
    const auto near = window(reach, reach) && when(options.dilation > 1, visible(same_residue));
    const auto attended =
        attend_heads(device, softmax_attention(with_extra_keys(near, plan.tokens) && key_mask(seen), common()),
                     heads(q), heads(all_k), heads(all_v));
    if (plan.globals == 0) return gather(device, attended, plan.rows);

    const View<const std::int32_t, 2> at_global = const_view(plan.keys).slice(1, plan.tokens, plan.globals);
    const auto global_q = global.q(device, gather(device, x, at_global));
    const auto global_k = global.k(device, x), global_v = global.v(device, x);
    const auto from_all = attend_heads(device, softmax_attention(key_mask(valid), common()), heads(global_q),
                                       heads(global_k), heads(global_v));
    return gather(device, concat<1>(device, attended, from_all), plan.rows);
  }

 private:
  static constexpr std::string_view kName = "longformer_attention";

  struct Plan {
    Index tokens = 0, globals = 0;       // globals: of the batch that has most
    Tensor<std::int32_t, 2> keys = {};   // (B, N + G): all tokens, then the global ones; -1: none
    Tensor<std::uint8_t, 2> seen = {};   // (B, N + G): of these, what may be seen
    Tensor<std::uint8_t, 2> valid = {};  // (B, N): no padding
    Tensor<std::int32_t, 2> rows = {};   // (B, N): rows of the local results, then of the global ones; -1: 0
    Tensor<float, 1> residues = {};      // (N + G): position modulo the dilation
  };

  SoftmaxOptions common() const { return {.position_offset = 0}; }

  Plan check(const std::array<Index, 3>& x, const View<const std::uint8_t, 2>& is_global,
             const View<const std::uint8_t, 2>& is_padding) const {
    const Index batch = x[0], tokens = x[1];
    const std::array<Index, 2> mask{batch, tokens};
    require_shape(kName, "global_mask", is_global.sizes, mask);
    require_shape(kName, "padding_mask", is_padding.sizes, mask);
    const Options& o = options;
    require(o.num_heads > 0 && x[2] > 0 && x[2] % o.num_heads == 0, kName, "the channels of x, ", x[2],
            ", must be a multiple of num_heads, ", o.num_heads);
    require(o.window_size >= 0 && o.dilation > 0 && o.dilation < (Index(1) << 24), kName,
            "window_size must be 0 or more and dilation in 1 .. 2^24 - 1, got ", o.window_size, " and ", o.dilation);
    Plan plan;
    plan.tokens = tokens;
    for (Index b = 0; b < batch; ++b) {
      Index count = 0;
      for (Index i = 0; i < tokens; ++i) count += is_global(b, i) != 0 && is_padding(b, i) == 0;
      plan.globals = std::max(plan.globals, count);
    }
    const auto check_part = [&](std::string_view prefix, const Projections& p) {
      check_linear(kName, std::string(prefix) + "q", p.q, x[2], x[2]);
      check_linear(kName, std::string(prefix) + "k", p.k, x[2], x[2]);
      check_linear(kName, std::string(prefix) + "v", p.v, x[2], x[2]);
    };
    check_part("", local);
    if (plan.globals > 0) check_part("global.", global);

    const Index keys = tokens + plan.globals;
    plan.keys.resize(batch, keys);
    plan.seen.resize(batch, keys);
    plan.valid.resize(batch, tokens);
    plan.rows.resize(batch, tokens);
    plan.residues.resize(keys);
    for (Index i = 0; i < keys; ++i) plan.residues(i) = float(i % o.dilation);
    for (Index b = 0; b < batch; ++b) {
      Index count = 0;
      for (Index i = 0; i < tokens; ++i) {
        const bool valid = is_padding(b, i) == 0, global_token = valid && is_global(b, i) != 0;
        plan.keys(b, i) = std::int32_t(i);
        plan.valid(b, i) = valid;
        plan.seen(b, i) = valid && !global_token;
        plan.rows(b, i) = std::int32_t(global_token ? tokens + count : valid ? i : Index(-1));
        if (!global_token) continue;
        plan.keys(b, tokens + count) = std::int32_t(i);
        plan.seen(b, tokens + count++) = 1;
      }
      for (; count < plan.globals; ++count) {
        plan.keys(b, tokens + count) = -1;
        plan.seen(b, tokens + count) = 0;
      }
    }
    return plan;
  }
};

}  // namespace heed::inline HEED_ISA

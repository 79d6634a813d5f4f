// SPDX-License-Identifier: Apache-2.0
// multi_head_latent_attention: keys and values of all heads are linear in one short vector per token.
#pragma once

#include "heed/attention/softmax_attention.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/heads.hpp"
#include "heed/block/linear.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/normalize.hpp"
#include "heed/block/positions.hpp"
#include "heed/block/rotary.hpp"

namespace heed::inline HEED_ISA {

/// How the heads come to their keys and values.
enum class LatentForm {
  kNaive,     ///< expanded from the latents for every token: fewer operations for many queries
  kAbsorbed,  ///< never formed: queries are taken to the latents, and the mean of latents to the values
};

/// What is cached of a token: its latent and its rotary key, one row of (B, capacity, R + dr).
template <Real T>
struct LatentCache {
  Tensor<T, 3> rows = {};
  Index length = 0;  ///< tokens, the same for all items
};

/// Attention whose keys and values are linear in a latent per token, lat = rms(c) with [c, r] = kv_down(x), beside one
/// rotary key for all heads, rope = rotary(r). With q = q_up(rms(q_down(x))), per head [q_n, q_r], and kv_up.weight per
/// head [W_k ; W_v]:
///
///   s_j = (q_n . W_k lat_j + rotary(q_r) . rope_j) mscale^2 / sqrt(dn + dr)        out = out(join(sum of p_j W_v
///   lat_j))
///
/// over the tokens j at or before the query's position, p = softmax(s).
///
///   heed::MultiHeadLatentAttention<float> attend{{.num_heads = 16, .nope_dim = 128, .rope_dim = 64, .value_dim = 128,
///                                                 .kv_rank = 512}};
///   auto result = attend(x, past_latent, past_rope_key);    // result.out, result.latent, result.rope_key
///   auto cache = attend.cache(batch, capacity);
///   auto y = attend.decode(x, cache);                       // appends the tokens of x, and attends to all
///
/// x (B, S, C), new tokens at positions P .. P + S - 1; past_latent (B, P, R), past_rope_key (B, P, dr), P from 0, or
/// left out; out (B, S, C), latent (B, S, R) and rope_key (B, S, dr) are what is to be appended. No biases: q_down (Rq,
/// C), q_norm (Rq), q_up (H (dn + dr), Rq), or with q_rank = 0 q (H (dn + dr), C) in their place; kv_down (R + dr, C),
/// kv_norm (R), kv_up (H (dn + dv), R), out (C, H dv). Rotary in pairs of neighbouring channels.
///
/// Both forms give the same result. Naive: ordinary attention, keys of width dn + dr, after expanding all P + S
/// latents, O((P + S) H R (dn + dv)). Absorbed: all heads share one key [lat, rope], whose first R channels are its
/// value: O(S (P + S) H (2 R + dr)), and nothing but the R + dr numbers of a token is read. decode() is absorbed, reads
/// the cache in place and computes without gradient. Throws heed::Error for shapes and options that do not fit. The
/// same bits for any number of threads. Source: DeepSeek-AI 2024 (DeepSeek-V2), section 2.1; without the rescaling of
/// frequencies for long contexts.
template <Real T>
struct MultiHeadLatentAttention {
  struct Options {
    LatentForm form = LatentForm::kAbsorbed;
    Index num_heads = 1;
    Index nope_dim = 128;  ///< dn
    Index rope_dim = 64;   ///< dr, even
    Index value_dim = 128;
    Index q_rank = 0;  ///< 0: no low rank for the queries
    Index kv_rank = 512;
    double rope_base = 10000;
    double mscale = 1;  ///< of a context longer than that of the training
    double eps = 1e-6;
  };
  template <class Out>
  struct Result {
    Out out, latent, rope_key;
  };

  Options options = {};
  Linear<T> q_down = {}, q_up = {}, q = {}, kv_down = {}, kv_up = {}, out = {};
  RmsNorm<T> q_norm = {}, kv_norm = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("q_down.weight", q_down.weight, heed::optional);
    f("q_norm.weight", q_norm.weight, heed::optional);
    f("q_up.weight", q_up.weight, heed::optional);
    f("q.weight", q.weight, heed::optional);
    f("kv_down.weight", kv_down.weight);
    f("kv_norm.weight", kv_norm.weight);
    f("kv_up.weight", kv_up.weight);
    f("out.weight", out.weight);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    const Tensor<T, 3> latent(sizes_of(x)[0], 0, options.kv_rank), rope_key(sizes_of(x)[0], 0, options.rope_dim);
    return (*this)(device, x, latent, rope_key);
  }
  template <Operand X, Operand L, Operand R>
  auto operator()(const X& x, const L& past_latent, const R& past_rope_key) const {
    return (*this)(DeviceRef(), x, past_latent, past_rope_key);
  }
  template <Device D, Operand X, Operand L, Operand R>
  auto operator()(const D& device, const X& x_like, const L& past_latent, const R& past_rope_key) const {
    const auto x = parameter_with(x_like, past_latent, past_rope_key);
    static_assert(kOperandRank<X> == 3 && kOperandRank<L> == 3 && kOperandRank<R> == 3,
                  "heed::MultiHeadLatentAttention: x, past_latent and past_rope_key have three axes");
    const auto sizes = sizes_of(x);
    const Index past = sizes_of(past_latent)[1], rank = options.kv_rank;
    check(sizes[2]);
    require_shape(kName, "past_latent", sizes_of(past_latent), std::array<Index, 3>{sizes[0], past, rank});
    require_shape(kName, "past_rope_key", sizes_of(past_rope_key),
                  std::array<Index, 3>{sizes[0], past, options.rope_dim});
    auto rows =
        make_output<T, 3>(kName, {sizes[0], past + sizes[1], rank + options.rope_dim}, x, past_latent, past_rope_key);
    const auto before = view(rows).slice(1, 0, past);
    concat_into<1>(device, before.slice(2, 0, rank), past_latent);
    concat_into<1>(device, before.slice(2, rank, options.rope_dim), past_rope_key);
    const auto added = view(rows).slice(1, past, sizes[1]);
    const auto positions = position_range(past, sizes[1]);
    append(device, x, positions, added);
    const auto queries = query(device, x);
    auto latent = contiguous(device, added.slice(2, 0, rank));
    auto rope_key = contiguous(device, added.slice(2, rank, options.rope_dim));
    auto result = options.form == LatentForm::kNaive ? expanded(device, queries, positions, rows)
                                                     : absorbed(device, queries, positions, view(rows));
    return Result<decltype(result)>{std::move(result), std::move(latent), std::move(rope_key)};
  }

  /// An empty cache for decode().
  LatentCache<T> cache(Index batch, Index capacity) const {
    return {Tensor<T, 3>(batch, capacity, options.kv_rank + options.rope_dim), 0};
  }
  /// Appends the tokens of x (B, S, C) to the cache and gives their attention to all that it holds, (B, S, C).
  template <TensorLike X>
  Tensor<T, 3> decode(const X& x, LatentCache<T>& cache) const {
    return decode(DeviceRef(), x, cache);
  }
  template <Device D, TensorLike X>
  Tensor<T, 3> decode(const D& device, const X& x, LatentCache<T>& cache) const {
    const auto sizes = sizes_of(x);
    const auto rows = view(cache.rows);
    check(sizes[2]);
    require(rows.size(0) == sizes[0] && rows.size(2) == options.kv_rank + options.rope_dim, kName,
            "the cache must have rows (B, capacity, R + dr) with B = ", sizes[0],
            " and R + dr = ", options.kv_rank + options.rope_dim, ", got ", shape_text(rows.sizes));
    require(cache.length >= 0 && cache.length + sizes[1] <= rows.size(1), kName, "the cache has room for ",
            rows.size(1), " tokens, too few for ", cache.length, " and ", sizes[1], " more");
    const auto positions = position_range(cache.length, sizes[1]);
    append(device, const_view(x), positions, rows.slice(1, cache.length, sizes[1]));
    cache.length += sizes[1];
    return absorbed(device, query(device, const_view(x)), positions, rows.slice(1, 0, cache.length));
  }

 private:
  static constexpr std::string_view kName = "multi_head_latent_attention";

  RotaryOptions rotary() const { return {.base = options.rope_base, .interleaved = true}; }
  SoftmaxOptions softmax() const {
    return {.scale = options.mscale * options.mscale / std::sqrt(double(options.nope_dim + options.rope_dim))};
  }

  // The latents and rotary keys of new tokens, written to rows (B, S, R + dr).
  template <class D, Operand X, Operand O>
  void append(const D& device, const X& x, const Tensor<std::int32_t, 2>& positions, const O& rows) const {
    const Index rank = options.kv_rank;
    const auto compressed = kv_down(device, x);
    rms_norm(device, view(compressed).slice(2, 0, rank), kv_norm.weight, options.eps, rows.slice(2, 0, rank));
    rotate(device, view(compressed).slice(2, rank, options.rope_dim).split(0, 1), positions, rotary(),
           rows.slice(2, rank, options.rope_dim).split(0, 1), kName);
  }

  template <class D, Operand X>
  auto query(const D& device, const X& x) const {
    if (options.q_rank == 0) return q(device, x);
    const auto low = q_down(device, x);
    const auto normed = rms_norm(device, low, q_norm.weight, options.eps);
    return q_up(device, normed);
  }

  // The heads of queries, and of them the channels that are rotated.
  template <class D, Operand Q>
  auto turned(const D& device, const Q& queries, const Tensor<std::int32_t, 2>& positions) const {
    const auto heads = split_heads(queries, options.num_heads);
    return rotate(device, heads.slice(3, options.nope_dim, options.rope_dim), positions, rotary(), kName);
  }

  template <class D, Operand Q, Operand K>
  auto expanded(const D& device, const Q& queries, const Tensor<std::int32_t, 2>& positions, const K& rows) const {
    const Index rank = options.kv_rank, nope = options.nope_dim;
    const auto up = kv_up(device, view(rows).slice(2, 0, rank));
    const auto heads = split_heads(up, options.num_heads);
    const auto rope = view(rows).slice(2, rank, options.rope_dim).split(0, 1);  // one head for all
    const auto keys = concat<3>(device, heads.slice(3, 0, nope), rope);
    const auto asking = concat<3>(device, split_heads(queries, options.num_heads).slice(3, 0, nope),
                                  turned(device, queries, positions));
    const auto mixed =
        softmax_attention(causal(), softmax())(device, asking, keys, heads.slice(3, nope, options.value_dim));
    return project(device, mixed);
  }

  template <class D, Operand Q, Operand K>
  auto absorbed(const D& device, const Q& queries, const Tensor<std::int32_t, 2>& positions, const K& rows) const {
    const Index nope = options.nope_dim;
    const auto weight = parameter_with(kv_up.weight, queries);
    const auto of_head = weight.split(0, nope + options.value_dim).template promote<4>();  // (1, H, dn + dv, R)
    const auto by_key =
        matmul(device, split_heads(queries, options.num_heads).slice(3, 0, nope), of_head.slice(2, 0, nope));
    const auto asking = concat<3>(device, by_key, turned(device, queries, positions));
    const auto keys = rows.split(0, 1);
    const auto mean = softmax_attention(causal(), softmax())(device, asking, keys, keys.slice(3, 0, options.kv_rank));
    const auto mixed = matmul(device, mean, of_head.slice(2, nope, options.value_dim).permute({0, 1, 3, 2}));
    return project(device, mixed);
  }

  template <class D, Operand X>
  auto project(const D& device, const X& mixed) const {
    const auto tokens = contiguous(device, view(mixed).permute({0, 2, 1, 3}));
    return out(device, view(tokens).merge(2));
  }

  void check(Index channels) const {
    const Options& o = options;
    require(o.num_heads > 0 && o.nope_dim > 0 && o.value_dim > 0 && o.kv_rank > 0 && o.q_rank >= 0, kName,
            "num_heads, nope_dim, value_dim and kv_rank must be 1 or more and q_rank 0 or more");
    require(o.rope_dim > 0 && o.rope_dim % 2 == 0, kName, "rope_dim must be even and 2 or more, got ", o.rope_dim);
    const Index width = o.num_heads * (o.nope_dim + o.rope_dim);
    if (o.q_rank == 0) {
      check_linear(kName, "q", q, channels, width);
    } else {
      check_linear(kName, "q_down", q_down, channels, o.q_rank);
      check_linear(kName, "q_up", q_up, o.q_rank, width);
    }
    check_linear(kName, "kv_down", kv_down, channels, o.kv_rank + o.rope_dim);
    check_linear(kName, "kv_up", kv_up, o.kv_rank, o.num_heads * (o.nope_dim + o.value_dim));
    check_linear(kName, "out", out, o.num_heads * o.value_dim, channels);
  }
};

}  // namespace heed::inline HEED_ISA

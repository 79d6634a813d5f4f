// SPDX-License-Identifier: Apache-2.0
// multi_head_attention: projections, dense attention per head, output projection.
#pragma once

#include "heed/attention/mask/boolean.hpp"
#include "heed/attention/mask/extra_keys.hpp"
#include "heed/attention/weights.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/linear.hpp"

namespace heed::inline HEED_ISA {

/// out = concat_h(softmax(q_h k_h^T / sqrt(Dq)) v_h) out.weight^T + out.bias, of the projections q, k and v.
///
///   heed::MultiHeadAttention<float> attend{{.num_heads = 8, .causal = true}};
///   heed::load(attend, heed::safetensors("weights.safetensors"), "layer0.attn.");
///   auto y = attend(x).out;                                 // or attend(query, key, value, {.key_mask = mask}).out
///   attend(device, query, key, value, {}, y);
///
/// query (B, N, E), key (B, M, Ek), value (B, M, Ev); T, or bfloat16 and half where T is float; out (B, N, E) in
/// query's type, weights (B, H, N, M') in T, for each head. q.weight (H Dq, E), k.weight (Hk Dq, Ek), v.weight
/// (Hk Dv, Ev), out.weight (E, H Dv): the widths of a head follow from them and need not be E / H. All biases are
/// optional. Query head h reads key head h * Hk / H. bias_k (Hk Dq) and bias_v (Hk Dv) are one more key and value
/// behind the M of the sequence, and add_zero_attn puts one of zeros behind that; every query sees both, whatever the
/// masks, so that M' = M, M + 1 or M + 2. Causal is by position, p_i = i + M - N.
///
/// A row that sees no key has weights 0 and gives out.bias. A masked key or value never changes a result. Throws
/// heed::Error, before anything is written, for shapes and options that do not fit. Time of four products and of
/// softmax_attention; the projections are attended in place. The same bits for any number of threads.
/// Source: Vaswani et al. 2017, section 3.2.2; the extra keys are PyTorch's.
template <Real T>
struct MultiHeadAttention {
  struct Options {
    Index num_heads = 1;
    Index num_kv_heads = 0;  ///< 0: num_heads
    bool causal = false;
    bool add_zero_attn = false;
    bool return_weights = false;
  };
  /// Inputs that a call may have, 1 where a key is visible. They are views: the tensors must outlive the call, and of a
  /// recorded one the tape's recording.
  struct Inputs {
    std::optional<View<const std::uint8_t, 2>> attn_mask = std::nullopt;  ///< (N, M)
    std::optional<View<const std::uint8_t, 2>> key_mask = std::nullopt;   ///< (B, M)
  };
  /// Tensors, or variables where one of query, key and value is one.
  template <class Out, class Weights>
  struct Result {
    Out out;
    Weights weights;  ///< empty unless options.return_weights
  };

  Options options = {};
  Linear<T> q = {}, k = {}, v = {}, out = {};
  Tensor<T, 1> bias_k = {};  ///< (Hk Dq) or empty, with bias_v
  Tensor<T, 1> bias_v = {};  ///< (Hk Dv) or empty

  template <class F>
  void for_each_parameter(F&& f) {
    visit_parts(f, "q.", q, "k.", k, "v.", v, "out.", out);
    f("bias_k", bias_k, heed::optional);
    f("bias_v", bias_v, heed::optional);
  }

  template <Operand Q, Operand K, Operand V>
  auto operator()(const Q& query, const K& key, const V& value, const Inputs& inputs = {}) const {
    return (*this)(Eigen::DefaultDevice(), query, key, value, inputs);
  }
  template <Device D, Operand Q, Operand K, Operand V>
  auto operator()(const D& device, const Q& query, const K& key, const V& value, const Inputs& inputs = {}) const {
    const Sizes s = check(sizes_of(query), sizes_of(key), sizes_of(value), inputs);
    const auto make = [&]<class U, int Rank>(const std::array<Index, std::size_t(Rank)>& sizes) {
      return make_output<U, Rank>(kName, sizes, query, key, value);
    };
    auto result = make.template operator()<OperandScalar<Q>, 3>({s.batch, s.queries, out.weight.dimension(0)});
    using Weights = decltype(make.template operator()<T, 4>({}));
    Weights weights;
    if (options.return_weights)
      weights = make.template operator()<T, 4>({s.batch, options.num_heads, s.queries, s.keys + s.extra});
    run(device, query, key, value, inputs, s, view(result), view(weights));
    return Result<decltype(result), Weights>{std::move(result), std::move(weights)};
  }
  /// Self-attention: query, key and value are x.
  template <Operand X>
  auto operator()(const X& x, const Inputs& inputs = {}) const {
    return (*this)(x, x, x, inputs);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x, const Inputs& inputs = {}) const {
    return (*this)(device, x, x, x, inputs);
  }
  /// Into the caller's memory, without weights.
  template <Device D, TensorLike Q, TensorLike K, TensorLike V, TensorLike O>
  void operator()(const D& device, const Q& query, const K& key, const V& value, const Inputs& inputs,
                  O&& target) const {
    const Sizes s = check(const_view(query).sizes, const_view(key).sizes, const_view(value).sizes, inputs);
    const std::array<Index, 3> expected{s.batch, s.queries, out.weight.dimension(0)};
    require(const_view(target).sizes == expected, kName, "out must have shape (B, N, E) = ", shape_text(expected),
            ", got ", shape_text(const_view(target).sizes));
    run(device, query, key, value, inputs, s, view(target), View<T, 4>());
  }

 private:
  static constexpr std::string_view kName = "multi_head_attention";

  struct Sizes {
    Index batch, queries, keys, kv_heads, width, value_width, extra;
  };

  template <class D, Operand Q, Operand K, Operand V, Operand O, Operand W>
  void run(const D& device, const Q& query, const K& key, const V& value, const Inputs& in, const Sizes& s,
           const O& result, const W& weights) const {
    static_assert(std::same_as<Compute<OperandScalar<Q>>, T> && std::same_as<Compute<OperandScalar<K>>, T> &&
                      std::same_as<Compute<OperandScalar<V>>, T>,
                  "heed::MultiHeadAttention<T>: query, key and value must be computed in T");
    auto&& space = intermediates<T>(kName, query, key, value);
    const auto buffer = [&](Index rows, Index columns) { return space.template make<3>({s.batch, rows, columns}); };
    const auto queries = buffer(s.queries, options.num_heads * s.width);
    const auto keys = buffer(s.keys + s.extra, s.kv_heads * s.width);
    const auto values = buffer(s.keys + s.extra, s.kv_heads * s.value_width);
    const auto mixed = buffer(s.queries, options.num_heads * s.value_width);
    q(device, query, queries);
    k(device, key, keys.slice(1, 0, s.keys));
    v(device, value, values.slice(1, 0, s.keys));
    append(device, keys, s.keys, bias_k);
    append(device, values, s.keys, bias_v);

    // (B, N, H D) as (B, H, N, D), in place.
    const auto heads = [](const auto& x, Index width) { return x.split(2, width).permute({0, 2, 1, 3}); };
    const auto attend = [&](const auto& attention) {
      attention(device, heads(queries, s.width), heads(keys, s.width), heads(values, s.value_width),
                into(heads(mixed, s.value_width)));
      if (weights.count() > 0)
        attention_weights(device, attention, heads(queries, s.width), heads(keys, s.width), weights);
    };
    const SoftmaxOptions common{.position_offset = s.keys - s.queries};
    if (in.attn_mask || in.key_mask || (options.causal && s.extra > 0)) {
      const View<const std::uint8_t, 2> none;
      attend(softmax_attention(
          with_extra_keys(when(options.causal, causal()) &&
                              when(in.attn_mask.has_value(), boolean_mask(in.attn_mask.value_or(none))) &&
                              when(in.key_mask.has_value(), key_mask(in.key_mask.value_or(none))),
                          s.keys),
          common));
    } else if (options.causal) {
      attend(softmax_attention(causal(), common));
    } else {
      attend(softmax_attention(common));
    }
    out(device, mixed, result);
  }

  // Writes the rows behind the first `keys`: the learned one, if there is one, and that of zeros.
  template <class D, class X>
  static void append(const D& device, const X& rows, Index keys, const Tensor<T, 1>& learned) {
    const Index extra = rows.size(1) - keys, given = learned.size() > 0 ? 1 : 0;
    if (given > 0) concat_into<1>(device, rows.slice(1, keys, 1), view(learned).template promote<3>());
    if (extra > given) fill(device, rows.slice(1, keys + given, extra - given), 0);
  }

  static void check_layer(std::string_view name, const Linear<T>& layer, Index in, std::string_view tensor) {
    require(layer.weight.dimension(1) == in, kName, name, ".weight must have shape (out, in) with in = ", in, ", ",
            tensor, ", got ", shape_text(const_view(layer.weight).sizes));
    require(layer.bias.size() == 0 || layer.bias.size() == layer.weight.dimension(0), kName, name,
            ".bias must be empty or have shape (", layer.weight.dimension(0), "), got (", layer.bias.size(), ")");
  }

  Sizes check(const std::array<Index, 3>& query, const std::array<Index, 3>& key, const std::array<Index, 3>& value,
              const Inputs& in) const {
    require(key[0] == query[0], kName, "key must have shape (B, M, Ek) with B = ", query[0], ", got ", shape_text(key));
    require(value[0] == key[0] && value[1] == key[1], kName, "value must have shape (B, M, Ev) = (", key[0], ", ",
            key[1], ", Ev), got ", shape_text(value));
    const Index heads = options.num_heads, kv_heads = options.num_kv_heads == 0 ? heads : options.num_kv_heads;
    require(heads > 0, kName, "num_heads must be 1 or more, got ", heads);
    require(kv_heads > 0 && heads % kv_heads == 0, kName, "num_heads = ", heads,
            " must be a multiple of num_kv_heads = ", kv_heads);
    check_layer("q", q, query[2], "the last axis of query");
    check_layer("k", k, key[2], "the last axis of key");
    check_layer("v", v, value[2], "the last axis of value");
    const auto per_head = [](std::string_view name, const Linear<T>& layer, Index count) {
      const Index rows = layer.weight.dimension(0);
      require(rows > 0 && rows % count == 0, kName, name, ".weight must have a multiple of ", count,
              " rows, one width for each head, got ", rows);
      return rows / count;
    };
    Sizes s;
    s.batch = query[0];
    s.queries = query[1];
    s.keys = key[1];
    s.kv_heads = kv_heads;
    s.width = per_head("q", q, heads);
    s.value_width = per_head("v", v, kv_heads);
    require(k.weight.dimension(0) == kv_heads * s.width, kName, "k.weight must have Hk Dq = ", kv_heads * s.width,
            " rows, got ", k.weight.dimension(0));
    check_layer("out", out, heads * s.value_width, "H Dv");
    require((bias_k.size() == 0) == (bias_v.size() == 0), kName, "bias_k and bias_v must be given together");
    require(bias_k.size() == 0 || bias_k.size() == kv_heads * s.width, kName,
            "bias_k must be empty or have shape (Hk Dq) = (", kv_heads * s.width, "), got (", bias_k.size(), ")");
    require(bias_v.size() == 0 || bias_v.size() == kv_heads * s.value_width, kName,
            "bias_v must be empty or have shape (Hk Dv) = (", kv_heads * s.value_width, "), got (", bias_v.size(), ")");
    s.extra = Index(bias_k.size() > 0) + Index(options.add_zero_attn);
    const std::array<Index, 2> pairs{s.queries, s.keys}, keys{s.batch, s.keys};
    require(!in.attn_mask || in.attn_mask->sizes == pairs, kName,
            "attn_mask must have shape (N, M) = ", shape_text(pairs), ", got ",
            shape_text(in.attn_mask.value_or(View<const std::uint8_t, 2>()).sizes));
    require(!in.key_mask || in.key_mask->sizes == keys, kName, "key_mask must have shape (B, M) = ", shape_text(keys),
            ", got ", shape_text(in.key_mask.value_or(View<const std::uint8_t, 2>()).sizes));
    return s;
  }
};

}  // namespace heed::inline HEED_ISA

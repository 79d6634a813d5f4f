// SPDX-License-Identifier: Apache-2.0
// varlen_attention: several sequences packed on one axis, without padding.
#pragma once

#include "heed/self/scaled_dot_product_attention.hpp"

namespace heed::inline HEED_ISA {

/// Attention within each of several packed sequences.
///
///   heed::VarlenAttention attend{{.causal = true}};
///   auto out = attend(q, k, v, cu_seqlens_q, cu_seqlens_k); // or attend(device, ..., out)
///
/// q (Nt, H, D), k (Mt, Hk, D), v (Mt, Hk, Dv), H a multiple of Hk; cu_seqlens_q and cu_seqlens_k of S + 1 int32, not
/// descending, from 0 to Nt and Mt. Sequence s owns queries cu_seqlens_q[s] .. cu_seqlens_q[s+1] - 1 and the keys
/// likewise, and each is ScaledDotProductAttention of its own n queries and m keys, with positions p_i = i + m - n.
/// out (Nt, H, Dv) in q's type.
///
/// A sequence may be empty; queries without keys, and the first n - m rows of causal attention with n > m, give 0.
/// Throws heed::Error, before anything is written, for shapes, offsets and options that do not fit. Time O(sum of
/// n_s m_s), read in place; the threads share the heads of all sequences, and those of one sequence where it is a large
/// part of the whole. The same bits for any number of threads, and as for each sequence alone.
/// Source: the variable-length layout of FlashAttention (Dao 2023).
struct VarlenAttention {
  struct Options {
    std::optional<double> scale = std::nullopt;  ///< none: 1 / sqrt(D)
    double softcap = 0;                          ///< 0: none
    bool causal = false;
    Index window_left = -1;   ///< keys before p_i; negative: no limit
    Index window_right = -1;  ///< keys after p_i; negative: no limit
  };
  Options options = {};

  template <Operand Q, Operand K, Operand V, TensorLike CQ, TensorLike CK>
  auto operator()(const Q& q, const K& k, const V& v, const CQ& cu_seqlens_q, const CK& cu_seqlens_k) const {
    return (*this)(Eigen::DefaultDevice(), q, k, v, cu_seqlens_q, cu_seqlens_k);
  }
  template <Device D, Operand Q, Operand K, Operand V, TensorLike CQ, TensorLike CK>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const CQ& cu_seqlens_q,
                  const CK& cu_seqlens_k) const {
    auto out = make_output<OperandScalar<Q>, 3>(kName, {sizes_of(q)[0], sizes_of(q)[1], sizes_of(v)[2]}, q, k, v);
    (*this)(device, q, k, v, cu_seqlens_q, cu_seqlens_k, out);
    return out;
  }
  template <Device D, Operand Q, Operand K, Operand V, TensorLike CQ, TensorLike CK, Operand O>
  void operator()(const D& device, const Q& query, const K& key, const V& value, const CQ& cu_seqlens_q,
                  const CK& cu_seqlens_k, O&& target) const {
    static_assert(kOperandRank<Q> == 3 && kOperandRank<K> == 3 && kOperandRank<V> == 3,
                  "heed::VarlenAttention: q, k and v are (Nt, H, D), (Mt, Hk, D) and (Mt, Hk, Dv)");
    const auto q = view(query);
    const auto k = view(key);
    const auto v = view(value);
    const auto out = view(target);
    const View<const std::int32_t, 1> cu_q = const_view(cu_seqlens_q), cu_k = const_view(cu_seqlens_k);
    check<Compute<OperandScalar<Q>>>(sizes_of(q), sizes_of(k), sizes_of(v), sizes_of(out), cu_q, cu_k);
    if (out.count() == 0) return;

    using Attend = ScaledDotProductAttention<Compute<OperandScalar<Q>>>;
    const Attend attend{{.scale = options.scale,
                         .softcap = options.softcap,
                         .causal = options.causal,
                         .window_left = options.window_left,
                         .window_right = options.window_right}};
    // Sequence s, of query heads [head, head + heads) and key heads [kv_head, kv_head + kv_heads), on some device.
    const auto run = [&](const auto& on, Index s, Index head, Index heads, Index kv_head, Index kv_heads) {
      const auto part = [s](const auto& x, const auto& cu, Index first, Index count) {
        return x.slice(0, cu(s), cu(s + 1) - cu(s)).slice(1, first, count).permute({1, 0, 2}).template promote<4>();
      };
      attend(on, part(q, cu_q, head, heads), part(k, cu_k, kv_head, kv_heads), part(v, cu_k, kv_head, kv_heads), {},
             into(part(out, cu_q, head, heads)));
    };
    const Index sequences = cu_q.size(0) - 1;
    [[maybe_unused]] const Index group = q.size(1) / k.size(1);
    if constexpr (AnyRecorded<Q, K, V>) {  // a tape is for one thread
      for (Index s = 0; s < sequences; ++s) run(device, s, 0, q.size(1), 0, k.size(1));
    } else {
      const auto work = [&](Index s) {
        return double(cu_q(s + 1) - cu_q(s)) * double(Index(cu_k(s + 1)) - Index(cu_k(s)) + 1);
      };
      double total = 0;
      for (Index s = 0; s < sequences; ++s) total += work(s);
      // The result of a sequence does not depend on how it is cut, so the cut may follow the number of threads.
      const double most = thread_count(device) == 1 ? total : total / (4 * thread_count(device));
      for (Index s = 0; s < sequences; ++s)
        if (work(s) > most) run(device, s, 0, q.size(1), 0, k.size(1));
      parallel_for(device, sequences * k.size(1), [&](Index unit) {
        const Index s = unit / k.size(1), kv_head = unit % k.size(1);
        if (work(s) <= most) run(Eigen::DefaultDevice(), s, kv_head * group, group, kv_head, 1);
      });
    }
  }

 private:
  static constexpr std::string_view kName = "varlen_attention";

  template <Real T>
  void check(const std::array<Index, 3>& q, const std::array<Index, 3>& k, const std::array<Index, 3>& v,
             const std::array<Index, 3>& out, const View<const std::int32_t, 1>& cu_q,
             const View<const std::int32_t, 1>& cu_k) const {
    require(k[2] == q[2], kName, "k must have shape (Mt, Hk, D) with D = ", q[2], ", got ", shape_text(k));
    require(v[0] == k[0] && v[1] == k[1], kName, "v must have shape (Mt, Hk, Dv) = (", k[0], ", ", k[1], ", Dv), got ",
            shape_text(v));
    require(q[2] > 0 && v[2] > 0, kName, "D and Dv must be 1 or more, got ", q[2], " and ", v[2]);
    require(q[1] == 0 || (k[1] > 0 && q[1] % k[1] == 0), kName, "the number of heads of q, ", q[1],
            ", must be a multiple of that of k and v, ", k[1]);
    const std::array<Index, 3> expected{q[0], q[1], v[2]};
    require(out == expected, kName, "out must have shape (Nt, H, Dv) = ", shape_text(expected), ", got ",
            shape_text(out));
    require(!options.scale || std::isfinite(T(*options.scale)), kName, "scale must be finite, got ",
            options.scale.value_or(0));
    require(std::isfinite(options.softcap) && options.softcap >= 0, kName,
            "softcap must be positive, or 0 for none, got ", options.softcap);
    require(cu_q.size(0) >= 1 && cu_q.size(0) == cu_k.size(0), kName,
            "cu_seqlens_q and cu_seqlens_k must have the same shape (S + 1), got ", shape_text(cu_q.sizes), " and ",
            shape_text(cu_k.sizes));
    check_offsets("cu_seqlens_q", cu_q, q[0], "q");
    check_offsets("cu_seqlens_k", cu_k, k[0], "k");
  }
  static void check_offsets(std::string_view name, const View<const std::int32_t, 1>& cu, Index rows,
                            std::string_view tensor) {
    const Index last = cu.size(0) - 1;
    require(cu(0) == 0, kName, name, " must begin with 0, got ", cu(0));
    for (Index s = 0; s < last; ++s)
      require(cu(s) <= cu(s + 1), kName, name, " must not descend, got ", cu(s), " and ", cu(s + 1), " at ", s, " and ",
              s + 1);
    require(cu(last) == rows, kName, name, " must end with the number of rows of ", tensor, ", ", rows, ", got ",
            cu(last));
  }
};

}  // namespace heed::inline HEED_ISA

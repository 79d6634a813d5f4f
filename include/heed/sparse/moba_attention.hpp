// SPDX-License-Identifier: Apache-2.0
// moba_attention: causal attention to the own block of keys and to the earlier ones that answer best.
#pragma once

#include <utility>
#include <vector>

#include "heed/attention/routed.hpp"
#include "heed/attention/schedule/block_choice.hpp"
#include "heed/block/block_mean.hpp"
#include "heed/block/matmul.hpp"

namespace heed::inline HEED_ISA {

/// softmax(q k^T / sqrt(D)) v in which the query at position t of its sequence sees the keys up to itself in its own
/// block floor(t / block_size), and all keys of the top_k - 1 earlier blocks of largest q . mean key.
///
///   heed::MobaAttention attend{{.block_size = 512, .top_k = 3}};
///   auto out = attend(q, k, v, cu_seqlens);                 // or attend(device, q, k, v, cu_seqlens)
///
/// q, k, v and out (T, H, D), sequences packed one after the other: sequence s is cu_seqlens[s] .. cu_seqlens[s + 1] -
/// 1, int32, from 0 to T. With fewer earlier blocks than top_k - 1 all of them are seen. Ties go to the earlier block;
/// the choice has no gradient. Throws heed::Error for shapes and options that do not fit. Time O(T H top_k block_size
/// D) plus O(T H T / block_size D) for the choice. The same bits for any number of threads. Source: Lu et al. 2025,
/// MoBA: Mixture of Block Attention for Long-Context LLMs; moba_naive of the authors' code.
struct MobaAttention {
  struct Options {
    Index block_size = 512;  ///< keys, 1 or more
    Index top_k = 3;         ///< blocks of a query with its own, 1 or more
  };

  Options options = {};

  template <Operand Q, Operand K, Operand V, TensorLike S>
  auto operator()(const Q& q, const K& k, const V& v, const S& cu_seqlens) const {
    return (*this)(DeviceRef(), q, k, v, cu_seqlens);
  }
  template <Device D, Operand Q, Operand K, Operand V, TensorLike S>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const S& cu_seqlens) const {
    static_assert(kOperandRank<Q> == 3 && kOperandRank<K> == 3 && kOperandRank<V> == 3,
                  "heed::MobaAttention: q, k and v are (T, H, D)");
    const View<const std::int32_t, 1> ends = const_view(cu_seqlens);
    check(sizes_of(q), sizes_of(k), sizes_of(v), ends);
    const auto heads = [](const auto& x) { return view(x).permute({1, 0, 2}).template promote<4>(); };
    const Index tokens = sizes_of(q)[0], size = options.block_size;

    // Blocks are numbered through all sequences.
    std::vector<Index> block_begin, block_end;
    for (Index s = 0; s + 1 < ends.size(0); ++s)
      for (Index begin = ends(s); begin < ends(s + 1); begin += size) {
        block_begin.push_back(begin);
        block_end.push_back(std::min<Index>(begin + size, ends(s + 1)));
      }
    auto mask = no_blocks(1, sizes_of(q)[1], tokens, Index(block_begin.size()));
    Index blocks = 0;
    for (Index s = 0; s + 1 < ends.size(0); ++s) {
      const Index begin = ends(s), length = ends(s + 1) - begin;
      if (length == 0) continue;
      const auto means = block_mean(device, heads(values_of(k)).slice(2, begin, length), size);
      const auto scores =
          matmul(device, heads(values_of(q)).slice(2, begin, length), const_view(means).permute({0, 1, 3, 2}));
      const Index count = sizes_of(means)[2];
      choose_earlier_blocks(
          device, const_view(scores), options.top_k - 1, [&](Index i) { return i / size; },
          view(mask).slice(2, begin, length).slice(3, blocks, count));
      blocks += count;
    }
    const Routes routes = route_blocks(device, const_view(mask), sizes_of(q)[1], [&](Index i, Index c) {
      const auto block = std::size_t(c);
      return std::pair(block_begin[block], std::min(block_end[block], i + 1));
    });
    auto out = make_output<OperandScalar<Q>, 3>(kName, sizes_of(v), q, k, v);
    attend_routes(device, routes, heads(parameter_with(q, k, v)), heads(parameter_with(k, q, v)),
                  heads(parameter_with(v, q, k)), {}, into(heads(view(out))));
    return out;
  }

 private:
  static constexpr std::string_view kName = "moba_attention";

  void check(const std::array<Index, 3>& q, const std::array<Index, 3>& k, const std::array<Index, 3>& v,
             const View<const std::int32_t, 1>& ends) const {
    require_shape(kName, "k", k, q);
    require(v[0] == q[0] && v[1] == q[1], kName, "v must have shape (T, H, Dv) = (", q[0], ", ", q[1], ", Dv), got ",
            shape_text(v));
    require(options.block_size > 0 && options.top_k > 0, kName, "block_size and top_k must be 1 or more, got ",
            options.block_size, " and ", options.top_k);
    require(ends.size(0) > 0 && ends(0) == 0 && ends(ends.size(0) - 1) == q[0], kName,
            "cu_seqlens must go from 0 to T = ", q[0]);
    for (Index s = 0; s + 1 < ends.size(0); ++s)
      require(ends(s) <= ends(s + 1), kName, "cu_seqlens must not decrease, got ", ends(s), " before ", ends(s + 1));
  }
};

}  // namespace heed::inline HEED_ISA

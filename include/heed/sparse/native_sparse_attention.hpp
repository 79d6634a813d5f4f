// SPDX-License-Identifier: Apache-2.0
// native_sparse_attention: compressed, selected and sliding attention, gated and summed.
#pragma once

#include <optional>
#include <utility>

#include "heed/attention/routed.hpp"
#include "heed/attention/schedule/group_choice.hpp"
#include "heed/attention/weights.hpp"
#include "heed/block/block_mean.hpp"
#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

/// out = gate_cmp o_cmp + gate_slc o_slc + gate_swa o_swa, three causal softmax attentions of one scale:
///
/// 1. o_cmp over the means of the keys and values of complete blocks; query t sees block c if (c + 1) block_size - 1 <=
///    t, and gives it the weight p_c.
/// 2. o_slc over the positions up to t in selected blocks: the block_count blocks of largest sum of p_c over the heads
///    of a group, the own block floor(t / block_size), which counts 1 for each head, among them.
/// 3. o_swa over the last window_size positions, left out for window_size = 0.
///
///   heed::NativeSparseAttention attend{{.block_size = 64, .block_count = 16, .window_size = 512}};
///   auto [out, selected] = attend(q, k, v, gate_cmp, gate_slc, gate_swa);     // or with a device first
///
/// q and out (B, T, H, D), k and v (B, T, Hk, D), gates (B, T, H); selected (B, T, Hk, ceil(T / block_size)) uint8. A
/// query that sees no complete block has o_cmp = 0. The last block, where it is short, is never compressed but can be
/// selected. Ties go to the lower block; the selection has no gradient. Throws heed::Error for shapes and options that
/// do not fit. Time O(T (T / block_size + block_count block_size + window_size) H D). The same bits for any number of
/// threads. Source: Yuan et al. 2025, Native Sparse Attention, with the block means and the one block size of the
/// reference in fla-org/native-sparse-attention; for learned compression see NsaBlockCompress, for other block sizes
/// nsa_selection_scores.
struct NativeSparseAttention {
  struct Options {
    Index block_size = 64;                       ///< 1 or more
    Index block_count = 16;                      ///< selected blocks of a query, 1 or more
    Index window_size = 512;                     ///< positions with its own, 0: no sliding branch
    std::optional<double> scale = std::nullopt;  ///< none: 1 / sqrt(D)
  };
  template <class Out>
  struct Result {
    Out out;
    Tensor<std::uint8_t, 4> selected;
  };

  Options options = {};

  template <Operand Q, Operand K, Operand V, Operand GC, Operand GS, Operand GW>
  auto operator()(const Q& q, const K& k, const V& v, const GC& gate_cmp, const GS& gate_slc,
                  const GW& gate_swa) const {
    return (*this)(DeviceRef(), q, k, v, gate_cmp, gate_slc, gate_swa);
  }
  template <Device D, Operand Q, Operand K, Operand V, Operand GC, Operand GS, Operand GW>
  auto operator()(const D& device, const Q& q, const K& k, const V& v, const GC& gate_cmp, const GS& gate_slc,
                  const GW& gate_swa) const {
    static_assert(kOperandRank<Q> == 4 && kOperandRank<K> == 4 && kOperandRank<V> == 4 && kOperandRank<GC> == 3 &&
                      kOperandRank<GS> == 3 && kOperandRank<GW> == 3,
                  "heed::NativeSparseAttention: q, k and v are (B, T, H, D), gates (B, T, H)");
    check(sizes_of(q), sizes_of(k), sizes_of(v), sizes_of(gate_cmp), sizes_of(gate_slc), sizes_of(gate_swa));
    const Index tokens = sizes_of(q)[1], heads = sizes_of(q)[2], groups = sizes_of(k)[2], size = options.block_size;
    const Index whole = tokens / size, blocks = (tokens + size - 1) / size, window = options.window_size;
    const SoftmaxOptions common{.scale = options.scale};
    const auto by_head = [](const auto& x) { return view(x).permute({0, 2, 1, 3}); };
    const auto with_all = [&](const auto& x) { return parameter_with(x, q, k, v, gate_cmp, gate_slc, gate_swa); };
    const auto queries = by_head(with_all(q)), keys = by_head(with_all(k)), values = by_head(with_all(v));
    using T = OperandScalar<Q>;
    auto&& space = intermediates<T>(kName, q, k, v, gate_cmp, gate_slc, gate_swa);
    const auto branch = [&] { return space.template make<4>({sizes_of(q)[0], tokens, heads, sizes_of(v)[3]}); };

    // One rule for all branches: query t sees a run of keys, of compressed ones those that are complete.
    Tensor<std::int32_t, 3> ranges(4, 1, tokens);
    for (Index t = 0; t < tokens; ++t) {
      ranges(0, 0, t) = 0;
      ranges(1, 0, t) = std::int32_t((t + 1) / size);
      ranges(2, 0, t) = std::int32_t(std::max<Index>(0, t + 1 - window));
      ranges(3, 0, t) = std::int32_t(t + 1);
    }
    const auto kept = packed_with(ranges, queries);
    const auto range = [&](Index i) { return const_view(kept).slice(0, i, 1); };
    const auto gate = [](const auto& x) { return view(x).split(2, 1); };

    const auto block_keys = block_mean(device, keys.slice(2, 0, whole * size), size);
    const auto block_values = block_mean(device, values.slice(2, 0, whole * size), size);
    const auto compressed = softmax_attention(key_ranges(range(0), range(1)), common);
    const auto selected = select(device, compressed, values_of(queries), values_of(block_keys), groups, blocks);
    const auto by_group = packed_with(const_view(selected).permute({0, 2, 1, 3}));
    const Routes routes = route_blocks(device, const_view(by_group), heads, [&](Index t, Index c) {
      return std::pair(c * size, std::min((c + 1) * size, t + 1));
    });

    const auto o_cmp = branch(), o_slc = branch();
    compressed(device, queries, view(block_keys), view(block_values), into(by_head(o_cmp)));
    attend_routes(device, routes, queries, keys, values, common, into(by_head(o_slc)));
    const auto finish = [&](const auto&... gated) {
      auto out = pointwise(GatedSum(), device, gated...);
      return Result<decltype(out)>{std::move(out), selected};
    };
    if (window == 0) return finish(o_cmp, gate(gate_cmp), o_slc, gate(gate_slc));
    const auto o_swa = branch();
    softmax_attention(key_ranges(range(2), range(3)), common)(device, queries, keys, values, into(by_head(o_swa)));
    return finish(o_cmp, gate(gate_cmp), o_slc, gate(gate_slc), o_swa, gate(gate_swa));
  }

 private:
  static constexpr std::string_view kName = "native_sparse_attention";

  template <class D, class Attention, Real T>
  Tensor<std::uint8_t, 4> select(const D& device, const Attention& compressed, const View<const T, 4>& queries,
                                 const View<const T, 4>& block_keys, Index groups, Index blocks) const {
    ScratchTensors<T> space;
    const auto weights =
        space.template make<4>({queries.size(0), queries.size(1), queries.size(2), block_keys.size(2)});
    attention_weights(device, compressed, queries, block_keys, weights);
    return choose_by_group(device, const_view(weights), groups, options.block_size, blocks, options.block_count);
  }

  void check(const std::array<Index, 4>& q, const std::array<Index, 4>& k, const std::array<Index, 4>& v,
             const std::array<Index, 3>& cmp, const std::array<Index, 3>& slc, const std::array<Index, 3>& swa) const {
    require(k[0] == q[0] && k[1] == q[1] && k[3] == q[3] && k[2] > 0 && q[2] % k[2] == 0, kName,
            "k must have shape (B, T, Hk, D) = (", q[0], ", ", q[1], ", Hk, ", q[3], ") with Hk dividing H = ", q[2],
            ", got ", shape_text(k));
    require(v[0] == k[0] && v[1] == k[1] && v[2] == k[2], kName, "v must have shape (B, T, Hk, Dv) = (", k[0], ", ",
            k[1], ", ", k[2], ", Dv), got ", shape_text(v));
    const std::array<Index, 3> gates{q[0], q[1], q[2]};
    require_shape(kName, "gate_cmp", cmp, gates);
    require_shape(kName, "gate_slc", slc, gates);
    require_shape(kName, "gate_swa", swa, gates);
    require(options.block_size > 0 && options.block_count > 0 && options.window_size >= 0, kName,
            "block_size and block_count must be 1 or more and window_size 0 or more, got ", options.block_size, ", ",
            options.block_count, " and ", options.window_size);
  }
};

}  // namespace heed::inline HEED_ISA

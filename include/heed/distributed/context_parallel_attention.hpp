// SPDX-License-Identifier: Apache-2.0
// context_parallel_attention: attention over a sequence whose tokens lie on several ranks.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "heed/attention/backward.hpp"
#include "heed/attention/merge.hpp"
#include "heed/distributed/exchange.hpp"
#include "heed/distributed/key_ring.hpp"
#include "heed/distributed/sequence_partition.hpp"

namespace heed::inline HEED_ISA {

enum class ContextStrategy {
  kRing,       ///< keys and values go from rank to rank
  kAllGather,  ///< every rank receives all keys and values at once
  kUlysses,    ///< all-to-all: each rank takes all tokens of a part of the heads
  kUsp,        ///< all-to-all within groups of ulysses_size ranks, a ring of the groups
  kDoubleRing  ///< rings within windows of inner_ring_size ranks, and a ring of the windows
};

/// softmax(scale q k^T) v over a sequence of N tokens that U R ranks hold parts of, U = ulysses_size, R = ring_size.
/// The result is that of softmax_attention(causal() && window_left(w)) on the whole; no rank ever holds all scores, and
/// only kAllGather and kUlysses hold all keys, the latter of a part of the heads.
///
///   heed::ContextParallelAttention attend{{.ring_size = 4, .layout = heed::SequenceLayout::kZigzag, .causal = true}};
///   auto [out, lse] = attend(comm, N, q, k, v);             // on each rank; or attend(device, comm, N, q, k, v)
///   auto [dq, dk, dv] = attend.backward(comm, N, q, k, v, out, lse, d_out, d_lse);
///
/// Each rank gives its own tokens: q (B, H, n, D), k (B, Hk, n, D), v (B, Hk, n, Dv) of float or double, and gets out
/// (B, H, n, Dv) and lse (B, H, n), n = slots(N). Beside a q of float, k and v may be bfloat16 or half: they travel so,
/// in half the bytes, and their gradients are float. tokens(N) (U R, n) says which token is in which slot: the layout
/// of sequence_partition over R ring positions, each cut in U equal pieces, piece u of position r on rank r U + u. A
/// slot of padding (-1) may hold anything, is no key, and its row of out is 0, of lse -infinity.
///
/// Within the U ranks of a ring position an all-to-all turns tokens into heads and at the end back. At step s of R the
/// rank works with the keys of position schedule()(rank, s), while the next ones are under way; its runs of queries see
/// runs of keys through a band of the difference of their slots, pairs of runs that see nothing are skipped, and the
/// results are merged by their log-sum-exps in the order of the steps: the same bits from run to run. Backward sends
/// the keys again, their gradients behind them, and needs no more than the forward's inputs, out and lse.
///
/// Sent per rank: (R - 1) n U (Hk / U) (D + Dv) B numbers by the ring or gathering, twice that plus the gradients' hop
/// home backward; (U - 1) / U of q, k, v, out and lse by the all-to-alls; 8 bytes per option and size to each rank.
///
/// Throws heed::Error, before anything is written, for ranks that disagree on options or sizes, unless U divides H and
/// Hk, and the like: the same error on all ranks. The in-process form is in context_parallel_in_process.hpp. Source:
/// Liu et al. 2023 (ring); Jacobs et al. 2023 (Ulysses); Fang and Zhao 2024 (USP); Gu et al. 2024 (double ring).
/// All-gather and double ring are a transcription.
struct ContextParallelAttention {
  struct Options {
    ContextStrategy strategy = ContextStrategy::kRing;
    Index ulysses_size = 1;
    Index ring_size = 1;
    Index inner_ring_size = 1;  ///< for kDoubleRing; divides ring_size
    SequenceLayout layout = SequenceLayout::kZigzag;
    bool causal = false;
    std::optional<Index> window_left = std::nullopt;  ///< keys no more than this many before the query; none: all
    std::optional<double> scale = std::nullopt;       ///< none: 1 / sqrt(D)
  };

  Options options = {};

  Index ranks() const { return options.ulysses_size * options.ring_size; }

  /// Tokens that each rank has room for, of a sequence of N.
  Index slots(Index length) const {
    check_options();
    require(length >= 0, kName, "the length must be 0 or more, got ", length);
    return detail::ceil_divide(detail::partition_slots(options.layout, length, options.ring_size),
                               options.ulysses_size);
  }

  /// The token in each slot of each rank, -1 for padding: (U R, slots).
  Tensor<std::int32_t, 2> tokens(Index length) const {
    const Index slots_of_rank = slots(length);
    const auto partition = sequence_partition(options.ring_size, std::array{length}, options.layout);
    Tensor<std::int32_t, 2> result(ranks(), slots_of_rank);
    result.setConstant(-1);
    for (Index token = 0; token < length; ++token) {
      const Index place = partition.inverse(token), of_position = partition.index.dimension(1);
      const Index slot = place % of_position, position = place / of_position;
      result(position * options.ulysses_size + slot / slots_of_rank, slot % slots_of_rank) = std::int32_t(token);
    }
    return result;
  }

  /// The ring position whose keys and values each rank works with at each step: (U R, R).
  Tensor<std::int32_t, 2> schedule() const {
    check_options();
    Tensor<std::int32_t, 2> result(ranks(), options.ring_size);
    for (Index rank = 0; rank < ranks(); ++rank)
      for (Index step = 0; step < options.ring_size; ++step)
        result(rank, step) = std::int32_t(ring_of(rank).keys_at(step));
    return result;
  }

  /// {out, lse} of this rank's tokens. All ranks of `comm` call it.
  template <Device Dev, TensorLike Q, TensorLike K, TensorLike V>
  auto operator()(const Dev& device, Communicator& comm, Index length, const Q& q_local, const K& k_local,
                  const V& v_local) const {
    using T = ScalarOf<Q>;
    using U = ScalarOf<K>;
    const View<const T, 4> q = const_view(q_local);
    const View<const U, 4> k = const_view(k_local), v = const_view(v_local);
    check(comm, length, q, k, v);
    const auto q_heads = to_heads(device, comm, q);
    detail::KeyPart<U> own = own_part(device, comm, k, v);
    auto out = zeros<T, 4>({q_heads.dimension(0), q_heads.dimension(1), q_heads.dimension(2), v.size(3)});
    auto lse = zeros<T, 3>({q_heads.dimension(0), q_heads.dimension(1), q_heads.dimension(2)});
    lse.setConstant(-std::numeric_limits<T>::infinity());
    const detail::KeyRing ring = ring_of(comm.rank());
    detail::visit_keys(comm, ring, own, [&](Index, Index p, detail::KeyPart<U>& part) {
      for_each_band(length, ring.position, p, [&](const auto& attend, const auto& queries, const auto& keys) {
        ScratchTensors<T> space;
        const auto rows = queries(view(q_heads));
        const auto band_out = space.template make<4>({rows.size(0), rows.size(1), rows.size(2), v.size(3)});
        const auto band_lse = space.template make<3>({rows.size(0), rows.size(1), rows.size(2)});
        attend(DeviceRef(device), rows, keys(part.k()), keys(part.v()), into(band_out, band_lse));
        merge_attention_state(DeviceRef(device), into(queries(view(out)), queries(view(lse))), band_out, band_lse);
      });
    });
    return std::make_tuple(to_tokens(device, comm, view(out)), to_tokens(device, comm, view(lse)));
  }
  template <TensorLike Q, TensorLike K, TensorLike V>
  auto operator()(Communicator& comm, Index length, const Q& q, const K& k, const V& v) const {
    return (*this)(Eigen::DefaultDevice(), comm, length, q, k, v);
  }

  /// {dq, dk, dv} of this rank's tokens, from the forward's inputs, results and their gradients (B, H, n, Dv) and
  /// (B, H, n). All ranks of `comm` call it.
  template <Device Dev, TensorLike Q, TensorLike K, TensorLike V, TensorLike O, TensorLike L, TensorLike DO,
            TensorLike DL>
  auto backward(const Dev& device, Communicator& comm, Index length, const Q& q_local, const K& k_local,
                const V& v_local, const O& out_local, const L& lse_local, const DO& d_out_local,
                const DL& d_lse_local) const {
    using T = ScalarOf<Q>;
    using U = ScalarOf<K>;
    const View<const T, 4> q = const_view(q_local);
    const View<const U, 4> k = const_view(k_local), v = const_view(v_local);
    const View<const T, 4> out_rows = const_view(out_local), d_out_rows = const_view(d_out_local);
    const View<const T, 3> lse_rows = const_view(lse_local), d_lse_rows = const_view(d_lse_local);
    check(comm, length, q, k, v, out_rows, d_out_rows, lse_rows, d_lse_rows);
    const auto q_heads = to_heads(device, comm, q), out = to_heads(device, comm, out_rows),
               d_out = to_heads(device, comm, d_out_rows);
    const auto lse = to_heads(device, comm, lse_rows), d_lse = to_heads(device, comm, d_lse_rows);
    detail::KeyPart<U> own = own_part(device, comm, k, v);
    auto d_q = zeros<T, 4>(const_view(q_heads).sizes);
    const detail::KeyRing ring = ring_of(comm.rank());
    using Part = detail::KeyPart<U>;
    using Gradient = detail::KeyPart<T>;
    Gradient d_own = detail::visit_keys_backward(comm, ring, own, [&](Index p, Part& part, Gradient& gradient) {
      for_each_band(length, ring.position, p, [&](const auto& attend, const auto& queries, const auto& keys) {
        softmax_attention_backward(DeviceRef(device), attend, queries(const_view(q_heads)), keys(part.k()),
                                   keys(part.v()), queries(const_view(out)), queries(const_view(lse)),
                                   queries(const_view(d_out)), queries(const_view(d_lse)),
                                   AttentionGradients<T>{queries(view(d_q)), keys(gradient.k()), keys(gradient.v())});
      });
    });
    return std::make_tuple(to_tokens(device, comm, view(d_q)), to_tokens(device, comm, d_own.k()),
                           to_tokens(device, comm, d_own.v()));
  }
  template <TensorLike Q, TensorLike K, TensorLike V, TensorLike O, TensorLike L, TensorLike DO, TensorLike DL>
  auto backward(Communicator& comm, Index length, const Q& q, const K& k, const V& v, const O& out, const L& lse,
                const DO& d_out, const DL& d_lse) const {
    return backward(Eigen::DefaultDevice(), comm, length, q, k, v, out, lse, d_out, d_lse);
  }

 private:
  static constexpr std::string_view kName = "context_parallel_attention";

  void check_options() const {
    const Options& o = options;
    require(o.ulysses_size >= 1 && o.ring_size >= 1, kName, "ulysses_size and ring_size must be 1 or more, got ",
            o.ulysses_size, " and ", o.ring_size);
    require(o.inner_ring_size >= 1 && o.ring_size % o.inner_ring_size == 0, kName, "inner_ring_size ",
            o.inner_ring_size, " must divide ring_size ", o.ring_size);
    require(o.inner_ring_size == 1 || o.strategy == ContextStrategy::kDoubleRing, kName,
            "inner_ring_size is for kDoubleRing, got ", o.inner_ring_size);
    require(o.ring_size == 1 || o.strategy != ContextStrategy::kUlysses, kName, "kUlysses has no ring, got ring_size ",
            o.ring_size, "; kUsp has both");
    require(!o.window_left || *o.window_left >= 0, kName, "window_left must be 0 or more, got ",
            o.window_left.value_or(0));
    require(!o.scale || std::isfinite(*o.scale), kName, "the scale must be finite, got ", o.scale.value_or(0));
  }

  // What the ranks have is compared first, all of it: from there on every rank comes to the same error or to none.
  template <class T, class U, class... More>
  void check(Communicator& comm, Index length, const View<const T, 4>& q, const View<const U, 4>& k,
             const View<const U, 4>& v, const More&... more) const {
    static_assert(Real<T> && std::same_as<T, Compute<U>>,
                  "heed::ContextParallelAttention: q is float or double, k and v are of its type, or of bfloat16 or "
                  "half where it is float");
    const Options& o = options;
    std::vector<SharedFact> facts{{"the strategy", std::int64_t(o.strategy)},
                                  {"ulysses_size", o.ulysses_size},
                                  {"ring_size", o.ring_size},
                                  {"inner_ring_size", o.inner_ring_size},
                                  {"the layout", std::int64_t(o.layout)},
                                  {"causal", o.causal},
                                  {"window_left", o.window_left.value_or(-1)},
                                  {"having a scale", o.scale.has_value()},
                                  {"the bits of the scale", std::bit_cast<std::int64_t>(o.scale.value_or(0))},
                                  {"the length", length},
                                  {"the bytes of a number of q", sizeof(T)},
                                  {"the bytes of a number of k", sizeof(U)}};
    const auto add = [&](std::string_view name, const auto& x) {
      for (std::size_t axis = 0; axis < x.sizes.size(); ++axis)
        facts.push_back({"axis " + std::to_string(axis) + " of " + std::string(name), x.sizes[axis]});
    };
    add("q", q);
    add("k", k);
    add("v", v);
    (add("out, lse or their gradients", more), ...);
    require_same(comm, kName, facts);

    require(comm.size() == ranks(), kName, "ulysses_size * ring_size is ", ranks(), ", the communicator has ",
            comm.size(), " ranks");
    const Index n = slots(length), batch = q.size(0), heads = q.size(1), kv_heads = k.size(1);
    require(q.size(3) > 0 && v.size(3) > 0, kName, "D and Dv must be 1 or more");
    require(kv_heads > 0 && heads % kv_heads == 0, kName, "the number of heads ", heads,
            " must be a multiple of the number of key/value heads ", kv_heads);
    require(kv_heads % o.ulysses_size == 0, kName, "ulysses_size ", o.ulysses_size,
            " must divide the number of key/value heads ", kv_heads);
    require_shape(kName, "q", q.sizes, {batch, heads, n, q.size(3)});
    require_shape(kName, "k", k.sizes, {batch, kv_heads, n, q.size(3)});
    require_shape(kName, "v", v.sizes, {batch, kv_heads, n, v.size(3)});
    [[maybe_unused]] const auto check_rows = [&](const auto& x) {
      if constexpr (std::remove_cvref_t<decltype(x)>::rank == 4) {
        require_shape(kName, "out and its gradient", x.sizes, {batch, heads, n, v.size(3)});
      } else {
        require_shape(kName, "lse and its gradient", x.sizes, {batch, heads, n});
      }
    };
    (check_rows(more), ...);
  }

  detail::KeyRing ring_of(Index rank) const {
    const Index u = options.ulysses_size;
    return {options.ring_size, options.inner_ring_size,
            rank / u,          u,
            rank % u,          options.strategy == ContextStrategy::kAllGather};
  }

  /// f(attend, queries, keys) for each pair of runs of the tokens of ring positions r and p that see one another;
  /// queries(x) and keys(x) are the runs' parts of a tensor.
  template <class F>
  void for_each_band(Index length, Index r, Index p, const F& f) const {
    const auto floor_divide = [](Index a, Index b) { return a >= 0 ? a / b : -((b - 1 - a) / b); };
    const auto part_of = [](Index slot, const detail::TokenRun& run) {
      return [slot, count = run.count](const auto& x) { return x.slice(2, slot, count); };
    };
    Index query_slot = 0;
    for (const detail::TokenRun& q : detail::partition_runs(options.layout, length, options.ring_size, r)) {
      Index key_slot = 0;
      for (const detail::TokenRun& k : detail::partition_runs(options.layout, length, options.ring_size, p)) {
        // Slot i of the run of queries sees slots i + lower .. i + upper of the run of keys.
        const Index ahead = q.first - k.first;
        const Index upper = options.causal ? floor_divide(ahead, q.step) : detail::kFarthest;
        const Index lower =
            options.window_left ? -floor_divide(*options.window_left - ahead, q.step) : -detail::kFarthest;
        if (lower <= upper && upper > -q.count && lower < k.count && q.count > 0 && k.count > 0)
          f(softmax_attention(
                causal(upper) && WindowLeft{{}, std::clamp(-lower, -detail::kFarthest, detail::kFarthest)},
                {.scale = options.scale, .position_offset = 0}),
            part_of(query_slot, q), part_of(key_slot, k));
        key_slot += k.count;
      }
      query_slot += q.count;
    }
  }

  template <class T, int Rank>
  static Tensor<T, Rank> zeros(const std::array<Index, std::size_t(Rank)>& sizes) {
    Tensor<T, Rank> x;
    x.resize(sizes);
    x.setZero();
    return x;
  }

  template <class Dev, class T, int Rank>
  void exchange(const Dev& device, Communicator& comm, const View<const T, Rank>& from, int cut,
                const View<T, Rank>& to) const {
    const Index u = options.ulysses_size;
    const RankGroup group{int(comm.rank() / u * u), int(u)};
    all_to_all(DeviceRef(device), comm, group, from, cut, to, 3 - cut, cut == 1 ? detail::kToHeads : detail::kToTokens);
  }
  // (B, H, n, ..) to (B, H / U, U n, ..), and back.
  template <class Dev, class T, int Rank>
  auto to_heads(const Dev& device, Communicator& comm, const View<const T, Rank>& x) const {
    auto sizes = x.sizes;
    sizes[1] /= options.ulysses_size;
    sizes[2] *= options.ulysses_size;
    auto result = zeros<T, Rank>(sizes);
    exchange(device, comm, x, 1, view(result));
    return result;
  }
  template <class Dev, class T, int Rank>
  auto to_tokens(const Dev& device, Communicator& comm, const View<T, Rank>& x) const {
    auto sizes = x.sizes;
    sizes[1] *= options.ulysses_size;
    sizes[2] /= options.ulysses_size;
    auto result = zeros<T, Rank>(sizes);
    exchange(device, comm, View<const T, Rank>(x), 2, view(result));
    return result;
  }
  template <class Dev, class T>
  detail::KeyPart<T> own_part(const Dev& device, Communicator& comm, const View<const T, 4>& k,
                              const View<const T, 4>& v) const {
    const Index u = options.ulysses_size;
    detail::KeyPart<T> own({k.size(0), k.size(1) / u, k.size(2) * u, k.size(3)},
                           {v.size(0), v.size(1) / u, v.size(2) * u, v.size(3)});
    exchange(device, comm, k, 1, own.k());
    exchange(device, comm, v, 1, own.v());
    return own;
  }
};

}  // namespace heed::inline HEED_ISA

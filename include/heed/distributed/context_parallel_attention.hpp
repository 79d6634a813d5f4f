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
#include "heed/autodiff/tape.hpp"
#include "heed/distributed/context_parallel_tiles.hpp"
#include "heed/distributed/exchange.hpp"
#include "heed/distributed/key_ring.hpp"
#include "heed/distributed/key_wire.hpp"
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
/// The result is that of softmax_attention(rule && causal() && window_left(w)) on the whole; no rank ever holds all
/// scores, and only kAllGather and kUlysses hold all keys, the latter of a part of the heads.
///
///   heed::ContextParallelAttention attend{{.ring_size = 4, .layout = heed::SequenceLayout::kZigzag, .causal = true}};
///   auto [out, lse] = attend(comm, N, q, k, v);             // on each rank; or attend(device, comm, N, q, k, v)
///   auto [dq, dk, dv] = attend.backward(comm, N, q, k, v, out, lse, d_out, d_lse);
///   auto [o, l] = attend(comm, N, q, k, v, heed::documents(lengths) || heed::sink_tokens(4));
///
/// Each rank gives its own tokens: q (B, H, n, D), k (B, Hk, n, D), v (B, Hk, n, Dv) of float or double, and gets out
/// (B, H, n, Dv) and lse (B, H, n), n = slots(N). Beside a q of float, k and v may be bfloat16 or half: they travel so,
/// in half the bytes, and their gradients are float; with bfloat16_wire, k and v of float are rounded for the wire
/// alone, and what a rank has of its own it uses as it is. tokens(N) (U R, n) says which token is in which slot: the
/// layout of sequence_partition over R ring positions, each cut in U equal pieces, piece u of position r on rank
/// r U + u. A slot of padding (-1) may hold anything, is no key, and its row of out is 0, of lse -infinity.
///
/// **rule**: any visibility rule, the last argument, in positions, heads and tensors of the whole sequence, N queries
/// and N keys, as the engine would be given it in one process; the same on all ranks, with whatever it reads (ids and
/// lengths of all tokens: 4 bytes each beside the D + Dv numbers that travel). What is known by query is given by its
/// own rows: see own_rows. backward must be given the forward's rule.
///
/// Within the U ranks of a ring position an all-to-all turns tokens into heads and at the end back. At step s of R the
/// rank works with the keys of position schedule()(rank, s), while the next ones are under way; pieces of its queries
/// see pieces of keys, pairs that see nothing are skipped, and the results are merged by their log-sum-exps in the
/// order of the steps: the same bits from run to run. Keys that no query of a position sees are not sent to it by
/// kAllGather, and go no further round a ring than to the last position that sees some of them; what a rule cannot tell
/// by its run() counts as seen. Backward sends the keys again, their gradients behind them, and needs no more than the
/// forward's inputs, out and lse.
///
/// Sent per rank: (R - 1) n U (Hk / U) (D + Dv) B numbers by the ring or gathering, where all keys are seen by all,
/// twice that plus the gradients' hop home backward; (U - 1) / U of q, k, v, out and lse by the all-to-alls; 8 bytes
/// per option and size to each rank, and for a rule 8 more, and R to each of its ring.
///
/// Of variables, attend(comm, N, q, k, v) is recorded on each rank's own tape, and the backward of the tapes is the
/// ranks' backward: every rank must run it, with a cotangent of its rows, which may be 0, and `comm` must still be
/// there.
///
/// Throws heed::Error, before anything is written, for ranks that disagree on options or sizes, unless U divides H and
/// Hk, for a rule that does not fit, and the like: the same error on all ranks. The in-process form is in
/// context_parallel_in_process.hpp. Source: Liu et al. 2023 (ring); Jacobs et al. 2023 (Ulysses); Fang and Zhao 2024
/// (USP); Gu et al. 2024 (double ring). All-gather and double ring are a transcription.
///
/// Gradient: of q, k and v, by backward.
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
    bool bfloat16_wire = false;                       ///< k and v of float travel as bfloat16
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

  /// A rule whose queries are not the N tokens but the slots of a rank's ring position, for a mask of which each rank
  /// holds its own rows: own_rows(N, rank, boolean_mask(rows)), rows (B, H, U n, N), those of the U ranks of the
  /// position one behind the other, keys in the order of the sequence. It composes with rules of the whole. Where
  /// tokens are apart (kStriped, R > 1) it skips nothing.
  template <VisibilityRule R>
  OwnRows<R> own_rows(Index length, int rank, R rule) const {
    const Index rows = slots(length) * options.ulysses_size;
    require(rank >= 0 && rank < ranks(), kName, "rank must be in 0 .. ", ranks() - 1, ", got ", rank);
    return {{},
            std::move(rule),
            detail::partition_runs(options.layout, length, options.ring_size, rank / options.ulysses_size),
            rows};
  }

  /// {out, lse} of this rank's tokens. All ranks of `comm` call it.
  template <Device Dev, TensorLike Q, TensorLike K, TensorLike V, VisibilityRule Rule = Everything>
  auto operator()(const Dev& device, Communicator& comm, Index length, const Q& q_local, const K& k_local,
                  const V& v_local, const Rule& rule = {}) const {
    using T = ScalarOf<Q>;
    using U = ScalarOf<K>;
    const View<const T, 4> q = const_view(q_local);
    const View<const U, 4> k = const_view(k_local), v = const_view(v_local);
    check(comm, length, rule, q, k, v);
    const auto tiles = tiles_of(comm, length, rule, q, v);
    detail::KeyRing ring = ring_of(comm.rank());
    tiles.find_uses(comm, ring);
    const detail::HeadExchange heads(device, comm, options.ulysses_size);
    const auto q_heads = heads.to_heads(q);
    const auto& sizes = q_heads.rows.sizes;
    detail::KeyPart<U> own = heads.own_part(k, v, options.bfloat16_wire);
    auto out = detail::zeros<T, 4>({sizes[0], sizes[1], sizes[2], v.size(3)});
    auto lse = detail::zeros<T, 3>({sizes[0], sizes[1], sizes[2]});
    lse.setConstant(-std::numeric_limits<T>::infinity());
    detail::with_wire(device, ring, own, options.bfloat16_wire, [&](auto& travelling, const auto& widened) {
      detail::visit_keys(comm, ring, travelling, [&](Index, Index p, auto* arrived) {
        if (!arrived) return;
        detail::KeyPart<U>& part = widened(p, *arrived);
        tiles.for_each_tile(ring.position, p, [&](const auto& attend, const auto& queries, const auto& keys) {
          ScratchTensors<T> space;
          const auto rows = queries(q_heads.rows);
          const auto more = space.template make<4>({rows.size(0), rows.size(1), rows.size(2), v.size(3)});
          const auto more_lse = space.template make<3>({rows.size(0), rows.size(1), rows.size(2)});
          attend(DeviceRef(device), rows, keys(part.k()), keys(part.v()), into(more, more_lse));
          merge_attention_state(DeviceRef(device), into(queries(view(out)), queries(view(lse))), more, more_lse);
        });
      });
    });
    return std::make_tuple(heads.to_tokens(std::move(out)), heads.to_tokens(std::move(lse)));
  }
  /// Recorded: out and lse as variables.
  template <Device Dev, Operand Q, Operand K, Operand V, VisibilityRule Rule = Everything>
  requires AnyRecorded<Q, K, V>
  auto operator()(const Dev& device, Communicator& comm, Index length, const Q& q_local, const K& k_local,
                  const V& v_local, const Rule& rule = {}) const {
    auto& tape = tape_of(kName, q_local, k_local, v_local);
    const auto q = tape.operand(q_local);
    const auto k = tape.operand(k_local);
    const auto v = tape.operand(v_local);
    const auto computed = (*this)(device, comm, length, q.value(), k.value(), v.value(), rule);
    const auto written = [&](const auto& x) {
      const auto values = const_view(x);
      const auto variable = tape.template make<decltype(values)::rank>(values.sizes);
      kernel::copy<kernel::Write::kAssign>(device, values, tape.written(variable));
      return variable;
    };
    const auto out = written(std::get<0>(computed));
    const auto lse = written(std::get<1>(computed));
    tape.on_backward(out, lse, [=, *this, &tape, &comm] {
      const auto gradients = backward(tape.device(), comm, length, q.value(), k.value(), v.value(), out.value(),
                                      lse.value(), tape.gradient(out), tape.gradient(lse), rule);
      const auto add = [&](const auto& gradient, const auto& variable) {
        if (const auto target = tape.accumulate(variable); target.data)
          kernel::copy<kernel::Write::kAdd>(tape.device(), const_view(gradient), target);
      };
      add(std::get<0>(gradients), q);
      add(std::get<1>(gradients), k);
      add(std::get<2>(gradients), v);
    });
    return std::make_tuple(out, lse);
  }
  template <Operand Q, Operand K, Operand V, VisibilityRule Rule = Everything>
  auto operator()(Communicator& comm, Index length, const Q& q, const K& k, const V& v, const Rule& rule = {}) const {
    return (*this)(Eigen::DefaultDevice(), comm, length, q, k, v, rule);
  }

  /// {dq, dk, dv} of this rank's tokens, from the forward's inputs, results and their gradients (B, H, n, Dv) and
  /// (B, H, n). All ranks of `comm` call it.
  template <Device Dev, TensorLike Q, TensorLike K, TensorLike V, TensorLike O, TensorLike L, TensorLike DO,
            TensorLike DL, VisibilityRule Rule = Everything>
  auto backward(const Dev& device, Communicator& comm, Index length, const Q& q_local, const K& k_local,
                const V& v_local, const O& out_local, const L& lse_local, const DO& d_out_local, const DL& d_lse_local,
                const Rule& rule = {}) const {
    using T = ScalarOf<Q>;
    using U = ScalarOf<K>;
    const View<const T, 4> q = const_view(q_local);
    const View<const U, 4> k = const_view(k_local), v = const_view(v_local);
    const View<const T, 4> out_rows = const_view(out_local), d_out_rows = const_view(d_out_local);
    const View<const T, 3> lse_rows = const_view(lse_local), d_lse_rows = const_view(d_lse_local);
    check(comm, length, rule, q, k, v, out_rows, d_out_rows, lse_rows, d_lse_rows);
    const auto tiles = tiles_of(comm, length, rule, q, v);
    detail::KeyRing ring = ring_of(comm.rank());
    tiles.find_uses(comm, ring);
    const detail::HeadExchange heads(device, comm, options.ulysses_size);
    const auto q_heads = heads.to_heads(q), out = heads.to_heads(out_rows), d_out = heads.to_heads(d_out_rows);
    const auto lse = heads.to_heads(lse_rows), d_lse = heads.to_heads(d_lse_rows);
    detail::KeyPart<U> own = heads.own_part(k, v, options.bfloat16_wire);
    auto d_q = detail::zeros<T, 4>(q_heads.rows.sizes);
    detail::KeyPart<T> d_own;
    detail::with_wire(device, ring, own, options.bfloat16_wire, [&](auto& travelling, const auto& widened) {
      d_own = detail::visit_keys_backward(comm, ring, travelling, [&](Index p, auto& arrived, auto& gradient) {
        detail::KeyPart<U>& part = widened(p, arrived);
        tiles.for_each_tile(ring.position, p, [&](const auto& attend, const auto& queries, const auto& keys) {
          softmax_attention_backward(DeviceRef(device), attend, queries(q_heads.rows), keys(part.k()), keys(part.v()),
                                     queries(out.rows), queries(lse.rows), queries(d_out.rows), queries(d_lse.rows),
                                     AttentionGradients<T>{queries(view(d_q)), keys(gradient.k()), keys(gradient.v())});
        });
      });
    });
    return std::make_tuple(heads.to_tokens(std::move(d_q)), heads.to_tokens(d_own.k()), heads.to_tokens(d_own.v()));
  }
  template <TensorLike Q, TensorLike K, TensorLike V, TensorLike O, TensorLike L, TensorLike DO, TensorLike DL,
            VisibilityRule Rule = Everything>
  auto backward(Communicator& comm, Index length, const Q& q, const K& k, const V& v, const O& out, const L& lse,
                const DO& d_out, const DL& d_lse, const Rule& rule = {}) const {
    return backward(Eigen::DefaultDevice(), comm, length, q, k, v, out, lse, d_out, d_lse, rule);
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
  template <class Rule, class T, class U, class... More>
  void check(Communicator& comm, Index length, const Rule& rule, const View<const T, 4>& q, const View<const U, 4>& k,
             const View<const U, 4>& v, const More&... more) const {
    static_assert(Real<T> && std::same_as<T, Compute<U>>,
                  "heed::ContextParallelAttention: q is float or double, k and v are of its type, or of bfloat16 or "
                  "half where it is float");
    const Options& o = options;
    std::vector<SharedFact> facts{
        {"the strategy", std::int64_t(o.strategy)},
        {"ulysses_size", o.ulysses_size},
        {"ring_size", o.ring_size},
        {"inner_ring_size", o.inner_ring_size},
        {"the layout", std::int64_t(o.layout)},
        {"causal", o.causal},
        {"window_left", o.window_left.value_or(-1)},
        {"having a scale", o.scale.has_value()},
        {"the bits of the scale", std::bit_cast<std::int64_t>(o.scale.value_or(0))},
        {"the length", length},
        {"the bits of precision of q", std::numeric_limits<T>::digits},
        {"the bits of precision of k and v on the wire", detail::wire_digits<U>(options.bfloat16_wire)}};
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
    if constexpr (!std::same_as<Rule, Everything>)
      check_together(comm, [&] { detail::check_part(rule, whole_shape(length, q, v, kv_heads)); });
  }

  static AttentionShape whole_shape(Index length, const auto& q, const auto& v, Index kv_heads) {
    return {q.size(0), q.size(1), kv_heads, length, length, q.size(3), v.size(3)};
  }
  template <class Rule, class T, class U>
  detail::ContextTiles<Rule> tiles_of(const Communicator& comm, Index length, const Rule& rule,
                                      const View<const T, 4>& q, const View<const U, 4>& v) const {
    const Index u = options.ulysses_size, heads = q.size(1) / u;
    return {options.layout,
            length,
            options.ring_size,
            options.causal,
            options.window_left,
            options.scale,
            rule,
            whole_shape(length, q, v, v.size(1)),
            comm.rank() % u * heads,
            heads};
  }

  detail::KeyRing ring_of(Index rank) const {
    const Index u = options.ulysses_size;
    return {options.ring_size,
            options.inner_ring_size,
            rank / u,
            u,
            rank % u,
            options.strategy == ContextStrategy::kAllGather,
            {}};
  }
};

}  // namespace heed::inline HEED_ISA

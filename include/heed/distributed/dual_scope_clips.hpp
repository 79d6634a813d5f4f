// SPDX-License-Identifier: Apache-2.0
// dual_scope_attention of a video whose clips lie on several ranks.
#pragma once

#include <bit>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "heed/attention/backward.hpp"
#include "heed/distributed/key_ring.hpp"
#include "heed/kernel/elementwise.hpp"
#include "heed/neighborhood/dual_scope_attention.hpp"

namespace heed::inline HEED_ISA {

/// DualScopeAttention where rank r of world_size holds clip r alone: q, k (B, H, n, D), v (B, H, n, Dv) of float or
/// double, n = T / world_size frames; the same result as of the whole video in one process.
///
///   heed::DualScopeClips attend{{.world_size = 4, .padding = 8, .top_k = 16}};
///   auto [out, lse] = attend(comm, q, k, v);                // on each rank; or attend(device, comm, q, k, v)
///   auto [dq, dk, dv] = attend.backward(comm, q, k, v, out, lse, d_out);
///
/// Each rank sends its first and last `padding` frames of k and v to its neighbours and its sampled frames to all, at
/// once and without waiting in between: 2 p + c (W - 1) frames of k and of v, c the sampled frames of its clip,
/// whatever T is. Backward sends the gradients of those frames the other way; they are added in the order of the ranks.
///
/// Throws heed::Error, before anything is written, for what DualScopeAttention does, for ranks that disagree, and
/// unless there are world_size ranks: the same error on all of them. Source: Tan et al. 2024, Video-Infinity; backward
/// is our reading, the authors do not train.
struct DualScopeClips {
  using Options = DualScopeAttention::Options;

  Options options = {};

  /// {out, lse} of this rank's frames. All ranks of `comm` call it.
  template <Device Dev, TensorLike Q, TensorLike K, TensorLike V>
  auto operator()(const Dev& device, Communicator& comm, const Q& q_clip, const K& k_clip, const V& v_clip) const {
    using T = ScalarOf<Q>;
    const View<const T, 4> q = const_view(q_clip), k = const_view(k_clip), v = const_view(v_clip);
    check(comm, q, k, v);
    const Scopes scopes(options, comm, q.size(2));
    detail::KeyPart<T> keys = gathered(device, comm, scopes, k, v);
    return attention(scopes, q).with_lse(DeviceRef(device), q, keys.k(), keys.v());
  }
  template <TensorLike Q, TensorLike K, TensorLike V>
  auto operator()(Communicator& comm, const Q& q, const K& k, const V& v) const {
    return (*this)(Eigen::DefaultDevice(), comm, q, k, v);
  }

  /// {dq, dk, dv} of this rank's frames. All ranks of `comm` call it.
  template <Device Dev, TensorLike Q, TensorLike K, TensorLike V, TensorLike O, TensorLike L, TensorLike DO>
  auto backward(const Dev& device, Communicator& comm, const Q& q_clip, const K& k_clip, const V& v_clip,
                const O& out_clip, const L& lse_clip, const DO& d_out_clip) const {
    using T = ScalarOf<Q>;
    const View<const T, 4> q = const_view(q_clip), k = const_view(k_clip), v = const_view(v_clip);
    const View<const T, 4> out = const_view(out_clip), d_out = const_view(d_out_clip);
    const View<const T, 3> lse = const_view(lse_clip);
    check(comm, q, k, v, out, d_out, lse);
    const Scopes scopes(options, comm, q.size(2));
    detail::KeyPart<T> keys = gathered(device, comm, scopes, k, v), d_keys = keys.empty_like();
    Tensor<T, 4> d_q, d_k, d_v;
    d_q.resize(q.sizes);
    d_k.resize(k.sizes);
    d_v.resize(v.sizes);
    d_q.setZero();
    softmax_attention_backward(DeviceRef(device), attention(scopes, q), q, keys.k(), keys.v(), out, lse, d_out,
                               View<const T, 3>(), AttentionGradients<T>{view(d_q), d_keys.k(), d_keys.v()});
    give_back(device, comm, scopes, d_keys, view(d_k), view(d_v));
    return std::make_tuple(std::move(d_q), std::move(d_k), std::move(d_v));
  }
  template <TensorLike Q, TensorLike K, TensorLike V, TensorLike O, TensorLike L, TensorLike DO>
  auto backward(Communicator& comm, const Q& q, const K& k, const V& v, const O& out, const L& lse,
                const DO& d_out) const {
    return backward(Eigen::DefaultDevice(), comm, q, k, v, out, lse, d_out);
  }

 private:
  static constexpr std::string_view kName = "dual_scope_attention";

  /// What a rank gives a peer, frames of its clip, and the slots of its keys where it puts what the peer gives. The
  /// peer may be the rank itself.
  struct Trade {
    int peer;
    int tag;
    std::vector<Index> frames;
    Index slot, count;
  };
  /// Slots: frames of the clip before, the clip, frames of the clip behind, the global frames.
  struct Scopes {
    Index frames, padding, global = 0;
    std::vector<Trade> trades;  // in the order of the ranks

    Scopes(const Options& options, const Communicator& comm, Index clip) : frames(clip), padding(options.padding) {
      std::vector<std::vector<Index>> sampled(std::size_t(comm.size()));
      for (const Index t : DualScopeAttention{options}.global_frames(clip * comm.size()))
        sampled[std::size_t(t / clip)].push_back(t % clip);
      std::vector<Index> first, last;
      for (Index i = 0; i < padding; ++i) {
        first.push_back(i);
        last.push_back(clip - padding + i);
      }
      const int rank = comm.rank();
      for (int peer = 0; peer < comm.size(); ++peer) {
        if (peer == rank - 1) trades.push_back({peer, detail::kHalo, first, 0, padding});
        if (peer == rank + 1) trades.push_back({peer, detail::kHalo, last, padding + clip, padding});
        const Index count = Index(sampled[std::size_t(peer)].size());
        trades.push_back({peer, detail::kSampled, sampled[std::size_t(rank)], clip + 2 * padding + global, count});
        global += count;
      }
    }
    Index keys() const { return frames + 2 * padding + global; }
  };

  template <class T, class... More>
  void check(Communicator& comm, const View<const T, 4>& q, const View<const T, 4>& k, const View<const T, 4>& v,
             const More&... more) const {
    static_assert(Real<T>, "heed::DualScopeClips: q, k and v are float or double");
    const Options& o = options;
    const auto bits = [](double x) { return std::bit_cast<std::int64_t>(x); };
    std::vector<SharedFact> facts{{"world_size", o.world_size},
                                  {"padding", o.padding},
                                  {"top_k", o.top_k},
                                  {"token_num_scale", o.token_num_scale},
                                  {"the bits of attn_scale", bits(o.attn_scale)},
                                  {"the bits of local_bias", bits(o.local_bias)},
                                  {"the bits of global_bias", bits(o.global_bias)},
                                  {"the bytes of a number", sizeof(T)}};
    const auto add = [&](std::string_view name, const auto& x) {
      for (std::size_t axis = 0; axis < x.sizes.size(); ++axis)
        facts.push_back({"axis " + std::to_string(axis) + " of " + std::string(name), x.sizes[axis]});
    };
    add("q", q);
    add("k", k);
    add("v", v);
    (add("out, lse or their gradients", more), ...);
    require_same(comm, kName, facts);

    require(comm.size() == o.world_size, kName, "world_size is ", o.world_size, ", the communicator has ", comm.size(),
            " ranks");
    const auto whole = [&](std::array<Index, 4> sizes) {
      sizes[2] *= o.world_size;
      return sizes;
    };
    DualScopeAttention{o}.check(whole(q.sizes), whole(k.sizes), whole(v.sizes));
    require(q.size(3) > 0 && v.size(3) > 0, kName, "D and Dv must be 1 or more");
    [[maybe_unused]] const auto check_rows = [&](const auto& x) {
      if constexpr (std::remove_cvref_t<decltype(x)>::rank == 4) {
        require_shape(kName, "out and its gradient", x.sizes, {q.size(0), q.size(1), q.size(2), v.size(3)});
      } else {
        require_shape(kName, "lse", x.sizes, {q.size(0), q.size(1), q.size(2)});
      }
    };
    (check_rows(more), ...);
  }

  template <class T>
  auto attention(const Scopes& scopes, const View<const T, 4>& q) const {
    return DualScopeAttention{options}.over_both_scopes(scopes.frames, scopes.global, q.size(3));
  }

  static std::array<Index, 4> with_frames(std::array<Index, 4> sizes, Index frames) {
    sizes[2] = frames;
    return sizes;
  }

  // The keys and values of both scopes. Frames outside of the video stay 0.
  template <class Dev, class T>
  static detail::KeyPart<T> gathered(const Dev& device, Communicator& comm, const Scopes& scopes,
                                     const View<const T, 4>& k, const View<const T, 4>& v) {
    using kernel::Write;
    const auto part_of = [&](Index frames) {
      return detail::KeyPart<T>(with_frames(k.sizes, frames), with_frames(v.sizes, frames));
    };
    detail::KeyPart<T> all = part_of(scopes.keys());
    std::vector<detail::KeyPart<T>> given, taken;
    std::vector<Communicator::Ticket> tickets;
    for (const Trade& trade : scopes.trades) {
      given.push_back(part_of(Index(trade.frames.size())));
      taken.push_back(part_of(trade.count));
      for (Index i = 0; i < Index(trade.frames.size()); ++i) {
        const Index frame = trade.frames[std::size_t(i)];
        kernel::copy<Write::kAssign>(device, k.slice(2, frame, 1), given.back().k().slice(2, i, 1));
        kernel::copy<Write::kAssign>(device, v.slice(2, frame, 1), given.back().v().slice(2, i, 1));
      }
      if (trade.peer == comm.rank()) {
        std::swap(given.back(), taken.back());
        continue;
      }
      tickets.push_back(taken.back().receive(comm, trade.peer, trade.tag));
      tickets.push_back(given.back().send(comm, trade.peer, trade.tag));
    }
    kernel::copy<Write::kAssign>(device, k, all.k().slice(2, scopes.padding, scopes.frames));
    kernel::copy<Write::kAssign>(device, v, all.v().slice(2, scopes.padding, scopes.frames));
    comm.wait(tickets);
    for (std::size_t i = 0; i < taken.size(); ++i) {
      const Trade& trade = scopes.trades[i];
      kernel::copy<Write::kAssign>(device, taken[i].k(), all.k().slice(2, trade.slot, trade.count));
      kernel::copy<Write::kAssign>(device, taken[i].v(), all.v().slice(2, trade.slot, trade.count));
    }
    return all;
  }

  // The same trades the other way: the gradients of what was taken go back, and are added to those of what was given.
  template <class Dev, class T>
  static void give_back(const Dev& device, Communicator& comm, const Scopes& scopes, detail::KeyPart<T>& all,
                        const View<T, 4>& d_k, const View<T, 4>& d_v) {
    using kernel::Write;
    const auto part_of = [&](Index frames) {
      return detail::KeyPart<T>(with_frames(d_k.sizes, frames), with_frames(d_v.sizes, frames));
    };
    std::vector<detail::KeyPart<T>> taken, given;
    std::vector<Communicator::Ticket> tickets;
    for (const Trade& trade : scopes.trades) {
      taken.push_back(part_of(trade.count));
      given.push_back(part_of(Index(trade.frames.size())));
      kernel::copy<Write::kAssign>(device, all.k().slice(2, trade.slot, trade.count), taken.back().k());
      kernel::copy<Write::kAssign>(device, all.v().slice(2, trade.slot, trade.count), taken.back().v());
      if (trade.peer == comm.rank()) {
        std::swap(given.back(), taken.back());
        continue;
      }
      tickets.push_back(given.back().receive(comm, trade.peer, trade.tag));
      tickets.push_back(taken.back().send(comm, trade.peer, trade.tag));
    }
    kernel::copy<Write::kAssign>(device, all.k().slice(2, scopes.padding, scopes.frames), d_k);
    kernel::copy<Write::kAssign>(device, all.v().slice(2, scopes.padding, scopes.frames), d_v);
    comm.wait(tickets);
    for (std::size_t i = 0; i < given.size(); ++i)
      for (Index j = 0; j < Index(scopes.trades[i].frames.size()); ++j) {
        const Index frame = scopes.trades[i].frames[std::size_t(j)];
        kernel::copy<Write::kAdd>(device, given[i].k().slice(2, j, 1), d_k.slice(2, frame, 1));
        kernel::copy<Write::kAdd>(device, given[i].v().slice(2, j, 1), d_v.slice(2, frame, 1));
      }
  }
};

}  // namespace heed::inline HEED_ISA

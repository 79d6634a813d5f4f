// SPDX-License-Identifier: Apache-2.0
// all_to_all: from a part of the tokens of all heads to all tokens of a part of the heads, and back.
#pragma once

#include <array>
#include <vector>

#include "heed/core/device.hpp"
#include "heed/core/scalar.hpp"
#include "heed/distributed/communicator.hpp"
#include "heed/distributed/key_wire.hpp"
#include "heed/kernel/elementwise.hpp"

namespace heed::inline HEED_ISA {

/// The consecutive ranks first .. first + size - 1 of a communicator.
struct RankGroup {
  int first, size;
};

/// Among the U ranks of a group that the caller is one of: `from` is cut in U along axis `cut`, piece u goes to the
/// group's rank u, and what comes from rank u is piece u of `to` along axis `join`. With cut = 1 and join = 2,
/// (B, H, n, D) becomes (B, H / U, U n, D); with cut = 2 and join = 1 it goes back. All ranks have the same shapes.
/// Sends (U - 1) / U of `from`, as numbers of type Wire.
template <Storage Wire, class Dev, Storage T, int Rank>
void all_to_all(const Dev& device, Communicator& comm, const RankGroup& group, const View<const T, Rank>& from, int cut,
                const View<T, Rank>& to, int join, int tag) {
  const Index pieces = group.size, own = comm.rank() - group.first;
  const auto sent = [&](Index u) {
    const Index length = from.size(cut) / pieces;
    return from.slice(cut, u * length, length);
  };
  const auto received = [&](Index u) {
    const Index length = to.size(join) / pieces;
    return to.slice(join, u * length, length);
  };
  require(own >= 0 && own < pieces && from.size(cut) % pieces == 0 && to.size(join) % pieces == 0 &&
              sent(0).sizes == received(0).sizes,
          "all_to_all", "a rank of the group needs shapes that its ", pieces, " ranks divide, got ",
          shape_text(from.sizes), " and ", shape_text(to.sizes));
  const Index count = sent(0).count();
  std::vector<Wire> outgoing(std::size_t(count * pieces)), incoming(std::size_t(count * pieces));
  std::vector<Communicator::Ticket> tickets;
  for (Index u = 0; u < pieces; ++u) {
    if (u == own) continue;
    const auto bytes = std::size_t(count) * sizeof(Wire);
    tickets.push_back(comm.receive(incoming.data() + u * count, bytes, group.first + int(u), tag));
    kernel::copy<kernel::Write::kAssign>(device, sent(u), View<Wire, Rank>(outgoing.data() + u * count, sent(u).sizes));
    tickets.push_back(comm.send(outgoing.data() + u * count, bytes, group.first + int(u), tag));
  }
  kernel::copy<kernel::Write::kAssign>(device, sent(own), received(own));
  comm.wait(tickets);
  for (Index u = 0; u < pieces; ++u)
    if (u != own)
      kernel::copy<kernel::Write::kAssign>(
          device, View<const Wire, Rank>(incoming.data() + u * count, received(u).sizes), received(u));
}

namespace detail {

template <class T, int Rank>
Tensor<T, Rank> zeros(const std::array<Index, std::size_t(Rank)>& sizes) {
  Tensor<T, Rank> x;
  x.resize(sizes);
  x.setZero();
  return x;
}

/// A tensor by heads: a rank's own, or the caller's where there was nothing to exchange.
template <class T, int Rank>
struct HeadRows {
  Tensor<T, Rank> own;
  View<const T, Rank> rows;
};

/// (B, H, n, ..) on each of the U ranks of the caller's group, consecutive ones, to (B, H / U, U n, ..), and back.
template <class Dev>
class HeadExchange {
 public:
  HeadExchange(const Dev& device, Communicator& comm, Index ranks)
      : device_(device), comm_(comm), group_{int(comm.rank() / ranks * ranks), int(ranks)} {}

  template <class T, int Rank>
  HeadRows<T, Rank> to_heads(const View<const T, Rank>& x) const {
    if (group_.size == 1) return {{}, x};
    HeadRows<T, Rank> result{zeros<T, Rank>(by_heads(x.sizes)), {}};
    exchange<T>(x, 1, view(result.own));
    result.rows = const_view(result.own);
    return result;
  }
  template <class T, int Rank>
  Tensor<T, Rank> to_tokens(Tensor<T, Rank> x) const {
    if (group_.size == 1) return x;
    return to_tokens(view(x));
  }
  template <class T, int Rank>
  Tensor<T, Rank> to_tokens(const View<T, Rank>& x) const {
    auto sizes = x.sizes;
    sizes[1] *= group_.size;
    sizes[2] /= group_.size;
    auto result = zeros<T, Rank>(sizes);
    exchange<T>(View<const T, Rank>(x), 2, view(result));
    return result;
  }
  template <class T>
  KeyPart<T> own_part(const View<const T, 4>& k, const View<const T, 4>& v, bool bfloat16_wire) const {
    KeyPart<T> own(by_heads(k.sizes), by_heads(v.sizes));
    const auto take = [&]<class Wire>(Wire) {
      exchange<Wire>(k, 1, own.k());
      exchange<Wire>(v, 1, own.v());
    };
    rounds_for<T>(bfloat16_wire) ? take(Eigen::bfloat16()) : take(T());
    return own;
  }

 private:
  template <std::size_t Rank>
  std::array<Index, Rank> by_heads(std::array<Index, Rank> sizes) const {
    sizes[1] /= group_.size;
    sizes[2] *= group_.size;
    return sizes;
  }
  template <class Wire, class T, int Rank>
  void exchange(const View<const T, Rank>& from, int cut, const View<T, Rank>& to) const {
    all_to_all<Wire>(DeviceRef(device_), comm_, group_, from, cut, to, 3 - cut, cut == 1 ? kToHeads : kToTokens);
  }

  const Dev& device_;
  Communicator& comm_;
  RankGroup group_;
};

}  // namespace detail

}  // namespace heed::inline HEED_ISA

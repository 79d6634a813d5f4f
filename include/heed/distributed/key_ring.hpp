// SPDX-License-Identifier: Apache-2.0
// How the keys and values of all ring positions come by each rank, and their gradients go home.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <vector>

#include "heed/core/scalar.hpp"
#include "heed/distributed/communicator.hpp"
#include "heed/distributed/kept_memory.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// R ring positions in windows of `inner`; position p is rank p * stride + offset of the communicator. A plain ring has
/// windows of 1.
struct KeyRing {
  Index positions = 1, inner = 1, position = 0;  // the last is the caller's
  Index stride = 1, offset = 0;
  bool gathered = false;      // all at once, taken in the order of the positions
  std::vector<char> uses_of;  // (R, R): whether a position uses the keys of another; empty: all use all

  int rank_of(Index p) const { return int(p * stride + offset); }
  Index windows() const { return positions / inner; }
  Index wrapped(Index window, Index within) const {
    return (window + windows()) % windows() * inner + (within + inner) % inner;
  }
  /// The position whose keys the caller works with at step s, and the one that works with the keys of p then.
  Index keys_at(Index s) const {
    if (gathered) return s;
    return wrapped(position / inner - s / inner, position % inner - s % inner);
  }
  Index worker_of(Index p, Index s) const { return wrapped(p / inner + s / inner, p % inner + s % inner); }

  bool uses(Index worker, Index p) const {
    return uses_of.empty() || uses_of[std::size_t(worker * positions + p)] != 0;
  }
  /// The first of the steps [from, to) at which the keys of p are used, and the last; `to` and -1 where at none.
  Index first_use(Index p, Index from, Index to) const {
    while (from < to && !uses(worker_of(p, from), p)) ++from;
    return from;
  }
  Index last_use(Index p) const {
    Index s = positions - 1;
    while (s >= 0 && !uses(worker_of(p, s), p)) --s;
    return s;
  }
  /// Whether the keys of p go to the one that works with them at step s > 0: while someone behind it uses them.
  bool arrives(Index p, Index s) const {
    const Index end = s % inner == 0 ? positions : (s / inner + 1) * inner;
    return first_use(p, s, end) < end;
  }
};

/// Each position says which keys it uses: all know it of all. Sends a byte per position to each of the others.
inline void share_uses(Communicator& comm, KeyRing& ring, const std::vector<char>& own) {
  ring.uses_of.resize(std::size_t(ring.positions * ring.positions));
  const auto row = [&](Index p) { return ring.uses_of.data() + p * ring.positions; };
  std::copy(own.begin(), own.end(), row(ring.position));
  std::vector<Communicator::Ticket> tickets;
  for (Index p = 0; p < ring.positions; ++p) {
    if (p == ring.position) continue;
    tickets.push_back(comm.receive(row(p), own.size(), ring.rank_of(p), kUses));
    tickets.push_back(comm.send(own.data(), own.size(), ring.rank_of(p), kUses));
  }
  comm.wait(tickets);
}

/// Keys and values (or their gradients) of a ring position, one block of memory that travels as it is.
template <Storage T>
class KeyPart {
 public:
  KeyPart() = default;
  KeyPart(const std::array<Index, 4>& k_shape, const std::array<Index, 4>& v_shape)
      : memory_(std::size_t(View<T, 4>(nullptr, k_shape).count() + View<T, 4>(nullptr, v_shape).count())),
        k_shape_(k_shape),
        v_shape_(v_shape) {}

  View<T, 4> k() { return {memory_.data(), k_shape_}; }
  View<T, 4> v() { return {memory_.data() + k().count(), v_shape_}; }
  bool empty() const { return memory_.empty(); }
  void set_zero() { std::fill(memory_.begin(), memory_.end(), T(0)); }
  void add(const KeyPart& other) {
    std::transform(memory_.begin(), memory_.end(), other.memory_.begin(), memory_.begin(), std::plus<T>());
  }
  template <Storage U = T>
  KeyPart<U> empty_like() const {
    return KeyPart<U>(k_shape_, v_shape_);
  }

  Communicator::Ticket send(Communicator& comm, int to, int tag) const {
    return comm.send(memory_.data(), memory_.size() * sizeof(T), to, tag);
  }
  Communicator::Ticket receive(Communicator& comm, int from, int tag) {
    return comm.receive(memory_.data(), memory_.size() * sizeof(T), from, tag);
  }

 private:
  std::vector<T, KeptMemory<T>> memory_;
  std::array<Index, 4> k_shape_{}, v_shape_{};
};

/// body(step, p, part) for every position p, all parts under way from the start; part is null where the caller does not
/// use it.
template <Storage T, class Body>
void visit_gathered(Communicator& comm, const KeyRing& ring, KeyPart<T>& own, const Body& body) {
  std::vector<KeyPart<T>> parts;
  std::vector<Communicator::Ticket> sent, received(std::size_t(ring.positions));
  parts.reserve(std::size_t(ring.positions));
  for (Index p = 0; p < ring.positions; ++p) {
    const bool comes = p != ring.position && ring.uses(ring.position, p);
    parts.push_back(comes ? own.empty_like() : KeyPart<T>());
    if (comes) received[std::size_t(p)] = parts.back().receive(comm, ring.rank_of(p), kPart);
    if (p != ring.position && ring.uses(p, ring.position)) sent.push_back(own.send(comm, ring.rank_of(p), kPart));
  }
  for (Index p = 0; p < ring.positions; ++p) {
    const bool used = ring.uses(ring.position, p);
    if (used && p != ring.position) comm.wait(received[std::size_t(p)]);
    body(p, p, !used ? nullptr : p == ring.position ? &own : &parts[std::size_t(p)]);
  }
  comm.wait(sent);
}

/// body(step, p, part) for every position p, in the order of keys_at; part is null where the caller does not use it.
/// The next part is under way while the body works with this one; the first of the next window, while it works with
/// this window. A part goes no further than to the last that uses it.
template <Storage T, class Body>
void visit_keys(Communicator& comm, const KeyRing& ring, KeyPart<T>& own, const Body& body) {
  if (ring.gathered) return visit_gathered(comm, ring, own, body);
  const Index window = ring.position / ring.inner, within = ring.position % ring.inner;
  const auto right = [&](bool outer) { return ring.rank_of(ring.wrapped(window + outer, within + !outer)); };
  const auto left = [&](bool outer) { return ring.rank_of(ring.wrapped(window - outer, within - !outer)); };
  // `from` holds the keys of step s, `to` takes those of step next, if they go on and come.
  std::array<KeyPart<T>, 4> spare;
  const auto pass = [&](const KeyPart<T>& from, Index s, KeyPart<T>& to, Index next, bool outer) {
    std::vector<Communicator::Ticket> tickets;
    const int tag = outer ? kWindowPart : kPart;
    if (ring.arrives(ring.keys_at(next), next)) {
      if (to.empty()) to = own.empty_like();
      tickets.push_back(to.receive(comm, left(outer), tag));
    }
    if (ring.arrives(ring.keys_at(s), next)) tickets.push_back(from.send(comm, right(outer), tag));
    return tickets;
  };
  KeyPart<T>* first = &own;
  for (Index a = 0; a < ring.windows(); ++a) {
    std::vector<Communicator::Ticket> next_window, next;
    KeyPart<T>& second = spare[std::size_t(2 + a % 2)];
    const Index begin = a * ring.inner, end = begin + ring.inner;
    if (end < ring.positions) next_window = pass(*first, begin, second, end, true);
    KeyPart<T>* part = first;
    for (Index s = begin; s < end; ++s) {
      KeyPart<T>& incoming = spare[std::size_t((s - begin) % 2)];
      if (s + 1 < end) next = pass(*part, s, incoming, s + 1, false);
      const Index p = ring.keys_at(s);
      body(s, p, ring.uses(ring.position, p) ? part : nullptr);
      if (s + 1 < end) comm.wait(next);
      part = &incoming;
    }
    comm.wait(next_window);
    first = &second;
  }
}

/// The same, straight home, and summed in the order of the positions.
template <Storage U, class Body>
KeyPart<heed::Compute<U>> visit_gathered_backward(Communicator& comm, const KeyRing& ring, KeyPart<U>& own,
                                                  const Body& body) {
  using T = heed::Compute<U>;
  std::vector<Communicator::Ticket> sent;
  std::vector<KeyPart<T>> sums(std::size_t(ring.positions));
  visit_gathered(comm, ring, own, [&](Index, Index p, KeyPart<U>* part) {
    if (!part) return;
    KeyPart<T>& sum = sums[std::size_t(p)] = own.template empty_like<T>();
    body(p, *part, sum);
    if (p != ring.position) sent.push_back(sum.send(comm, ring.rank_of(p), kGradientHome));
  });
  KeyPart<T> total = own.template empty_like<T>(), arriving = own.template empty_like<T>();
  for (Index p = 0; p < ring.positions; ++p) {
    if (!ring.uses(p, ring.position)) continue;
    if (p != ring.position) comm.wait(arriving.receive(comm, ring.rank_of(p), kGradientHome));
    total.add(p == ring.position ? sums[std::size_t(p)] : arriving);
  }
  comm.wait(sent);
  return total;
}

/// The gradients of the caller's own part: body(p, part, gradient) adds those that its queries give to every part that
/// they use. They travel as the parts do, a step behind them, from the first that uses the part to the last, and from
/// there home.
template <Storage U, class Body>
KeyPart<heed::Compute<U>> visit_keys_backward(Communicator& comm, const KeyRing& ring, KeyPart<U>& own,
                                              const Body& body) {
  if (ring.gathered) return visit_gathered_backward(comm, ring, own, body);
  using T = heed::Compute<U>;
  KeyPart<T> total = own.template empty_like<T>(), arriving;
  std::array<KeyPart<T>, 2> sums;
  std::array<std::vector<Communicator::Ticket>, 2> sent;
  // Awaited from the start: who sends it goes on only when it is taken.
  std::vector<Communicator::Ticket> home;
  if (const Index last = ring.last_use(ring.position); last > 0)
    home.push_back(total.receive(comm, ring.rank_of(ring.worker_of(ring.position, last)), kGradientHome));
  visit_keys(comm, ring, own, [&](Index s, Index p, KeyPart<U>* part) {
    const Index first = ring.first_use(p, 0, ring.positions), last = ring.last_use(p);
    if (s < first || s > last) return;
    std::vector<Communicator::Ticket>& under_way = sent[std::size_t(s % 2)];
    comm.wait(under_way);
    under_way.clear();
    const bool at_home = s == last && p == ring.position;
    KeyPart<T>& sum = at_home ? total : sums[std::size_t(s % 2)];
    if (sum.empty()) sum = own.template empty_like<T>();
    if (arriving.empty() && s > first) arriving = own.template empty_like<T>();
    std::vector<Communicator::Ticket> arrival;
    if (s > first) arrival.push_back(arriving.receive(comm, ring.rank_of(ring.worker_of(p, s - 1)), kGradient));
    sum.set_zero();
    if (part) body(p, *part, sum);
    comm.wait(arrival);
    if (s > first) sum.add(arriving);
    if (s < last) under_way.push_back(sum.send(comm, ring.rank_of(ring.worker_of(p, s + 1)), kGradient));
    if (s == last && !at_home) under_way.push_back(sum.send(comm, ring.rank_of(p), kGradientHome));
  });
  comm.wait(home);
  for (const auto& tickets : sent) comm.wait(tickets);
  return total;
}

}  // namespace detail

}  // namespace heed::inline HEED_ISA

// SPDX-License-Identifier: Apache-2.0
// How the keys and values of all ring positions come by each rank, and their gradients go home.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "heed/core/scalar.hpp"
#include "heed/distributed/communicator.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// R ring positions in windows of `inner`; position p is rank p * stride + offset of the communicator. A plain ring has
/// windows of 1.
struct KeyRing {
  Index positions = 1, inner = 1, position = 0;  // the last is the caller's
  Index stride = 1, offset = 0;
  bool gathered = false;  // all at once, taken in the order of the positions

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
};

/// Keys and values (or their gradients) of a ring position, one block of memory that travels as it is.
template <Storage T>
class KeyPart {
 public:
  KeyPart(const std::array<Index, 4>& k_shape, const std::array<Index, 4>& v_shape)
      : memory_(std::size_t(View<T, 4>(nullptr, k_shape).count() + View<T, 4>(nullptr, v_shape).count())),
        k_shape_(k_shape),
        v_shape_(v_shape) {}

  View<T, 4> k() { return {memory_.data(), k_shape_}; }
  View<T, 4> v() { return {memory_.data() + k().count(), v_shape_}; }
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
  std::vector<T> memory_;
  std::array<Index, 4> k_shape_, v_shape_;
};

/// body(step, p, part) for the keys and values of every position p, all of them under way from the start.
template <Storage T, class Body>
void visit_gathered(Communicator& comm, const KeyRing& ring, KeyPart<T>& own, const Body& body) {
  std::vector<KeyPart<T>> parts;
  std::vector<Communicator::Ticket> sent, received(std::size_t(ring.positions));
  parts.reserve(std::size_t(ring.positions));
  for (Index p = 0; p < ring.positions; ++p) {
    parts.push_back(p == ring.position ? KeyPart<T>({}, {}) : own.empty_like());
    if (p == ring.position) continue;
    received[std::size_t(p)] = parts.back().receive(comm, ring.rank_of(p), kPart);
    sent.push_back(own.send(comm, ring.rank_of(p), kPart));
  }
  for (Index p = 0; p < ring.positions; ++p) {
    if (p != ring.position) comm.wait(received[std::size_t(p)]);
    body(p, p, p == ring.position ? own : parts[std::size_t(p)]);
  }
  comm.wait(sent);
}

/// body(step, p, part) for every position p, in the order of keys_at. The next part is under way while the body works
/// with this one; the first of the next window, while it works with this window.
template <Storage T, class Body>
void visit_keys(Communicator& comm, const KeyRing& ring, KeyPart<T>& own, const Body& body) {
  if (ring.gathered) return visit_gathered(comm, ring, own, body);
  const Index window = ring.position / ring.inner, within = ring.position % ring.inner;
  const auto right = [&](bool outer) { return ring.rank_of(ring.wrapped(window + outer, within + !outer)); };
  const auto left = [&](bool outer) { return ring.rank_of(ring.wrapped(window - outer, within - !outer)); };
  const auto pass = [&](const KeyPart<T>& from, KeyPart<T>& to, bool outer) {
    const int tag = outer ? kWindowPart : kPart;
    return std::array{to.receive(comm, left(outer), tag), from.send(comm, right(outer), tag)};
  };
  std::vector<KeyPart<T>> spare;
  for (int i = 0; i < 4; ++i)
    spare.push_back(i < 2                  ? (ring.inner > 1) ? own.empty_like() : KeyPart<T>({}, {})
                                     : (ring.windows() > 1) ? own.empty_like()
                                           : KeyPart<T>({}, {}));
  KeyPart<T>* first = &own;
  for (Index a = 0; a < ring.windows(); ++a) {
    std::array<Communicator::Ticket, 2> next_window{}, next{};
    KeyPart<T>& second = spare[std::size_t(2 + a % 2)];
    if (a + 1 < ring.windows()) next_window = pass(*first, second, true);
    KeyPart<T>* part = first;
    for (Index b = 0; b < ring.inner; ++b) {
      KeyPart<T>& incoming = spare[std::size_t(b % 2)];
      if (b + 1 < ring.inner) next = pass(*part, incoming, false);
      body(a * ring.inner + b, ring.keys_at(a * ring.inner + b), *part);
      if (b + 1 < ring.inner) comm.wait(next);
      part = &incoming;
    }
    if (a + 1 < ring.windows()) comm.wait(next_window);
    first = &second;
  }
}

/// The gradients of the caller's own part: body(p, part, gradient) adds those that its queries give to every part. They
/// travel with the parts, a step behind them, and at last home; gathered ones go straight home and are summed in the
/// order of the positions.
template <Storage U, class Body>
KeyPart<heed::Compute<U>> visit_keys_backward(Communicator& comm, const KeyRing& ring, KeyPart<U>& own,
                                              const Body& body) {
  using T = heed::Compute<U>;
  const Index last = ring.positions - 1;
  std::vector<Communicator::Ticket> sent;
  std::vector<KeyPart<T>> sums;
  KeyPart<T> arriving = own.template empty_like<T>();
  if (ring.gathered) {
    for (Index p = 0; p <= last; ++p) sums.push_back(own.template empty_like<T>());
    visit_keys(comm, ring, own, [&](Index, Index p, KeyPart<U>& part) {
      body(p, part, sums[std::size_t(p)]);
      if (p != ring.position) sent.push_back(sums[std::size_t(p)].send(comm, ring.rank_of(p), kGradientHome));
    });
    KeyPart<T> total = own.template empty_like<T>();
    for (Index p = 0; p <= last; ++p) {
      if (p != ring.position) comm.wait(arriving.receive(comm, ring.rank_of(p), kGradientHome));
      total.add(p == ring.position ? sums[std::size_t(p)] : arriving);
    }
    comm.wait(sent);
    return total;
  }
  for (int i = 0; i < 2; ++i) sums.push_back(own.template empty_like<T>());
  visit_keys(comm, ring, own, [&](Index s, Index p, KeyPart<U>& part) {
    Communicator::Ticket arrival{};
    if (s > 0) arrival = arriving.receive(comm, ring.rank_of(ring.worker_of(p, s - 1)), kGradient);
    if (s > 1) comm.wait(sent[std::size_t(s - 2)]);
    KeyPart<T>& sum = sums[std::size_t(s % 2)];
    sum.set_zero();
    body(p, part, sum);
    if (s > 0) {
      comm.wait(arrival);
      sum.add(arriving);
    }
    if (s < last) sent.push_back(sum.send(comm, ring.rank_of(ring.worker_of(p, s + 1)), kGradient));
    if (s == last && s > 0) sent.push_back(sum.send(comm, ring.rank_of(p), kGradientHome));
  });
  if (last == 0) return std::move(sums[0]);
  comm.wait(arriving.receive(comm, ring.rank_of(ring.worker_of(ring.position, last)), kGradientHome));
  comm.wait(std::span(sent).last(std::min<std::size_t>(sent.size(), 2)));
  return arriving;
}

}  // namespace detail

}  // namespace heed::inline HEED_ISA

// SPDX-License-Identifier: Apache-2.0
// Buckets of relative positions (T5): near distances one by one, far ones by their logarithm.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "heed/core/error.hpp"
#include "heed/core/scalar.hpp"

namespace heed::inline HEED_ISA {

struct RelativePositionOptions {
  bool bidirectional = true;  ///< half of the buckets for keys after the query; otherwise those share bucket 0
  Index num_buckets = 32;
  Index max_distance = 128;  ///< distances from here on share a bucket; above a quarter (bidirectional) or half of
                             ///< num_buckets
};

namespace detail {

/// A natural number of any size, for comparing powers exactly.
class BigNatural {
 public:
  explicit BigNatural(std::uint64_t x) : digits_{std::uint32_t(x), std::uint32_t(x >> 32)} { trim(); }

  BigNatural& operator*=(std::uint32_t factor) {
    std::uint64_t carry = 0;
    for (std::uint32_t& digit : digits_) {
      carry += std::uint64_t(digit) * factor;
      digit = std::uint32_t(carry);
      carry >>= 32;
    }
    if (carry != 0) digits_.push_back(std::uint32_t(carry));
    trim();
    return *this;
  }
  bool operator>=(const BigNatural& other) const {
    if (digits_.size() != other.digits_.size()) return digits_.size() > other.digits_.size();
    return !std::lexicographical_compare(digits_.rbegin(), digits_.rend(), other.digits_.rbegin(),
                                         other.digits_.rend());
  }

 private:
  void trim() {
    while (!digits_.empty() && digits_.back() == 0) digits_.pop_back();
  }
  std::vector<std::uint32_t> digits_;  // base 2^32, lowest first
};

}  // namespace detail

/// The bucket of a key that stands `delta` = j - p_i behind (or, negative, before) its query. With n buckets per
/// direction and e = n / 2: distances below e have a bucket each; the others bucket e + t, at most n - 1, with
/// t = floor((n - e) ln(distance / e) / ln(max_distance / e)), the floor exact: t is reached at the smallest distance
/// with max_distance^t e^(n-e) <= distance^(n-e) e^t. Source: Raffel et al. 2020 (T5), section 2.1 and the authors'
/// code.
///
/// No gradient: a bucket is an integer.
class RelativeBuckets {
 public:
  /// Throws heed::Error naming `where`.
  RelativeBuckets(const RelativePositionOptions& options, std::string_view where) : options_(options) {
    require(options.num_buckets >= (options.bidirectional ? 2 : 1), where,
            "num_buckets must be 1 or more, 2 or more when bidirectional, got ", options.num_buckets);
    per_direction_ = options.bidirectional ? options.num_buckets / 2 : options.num_buckets;
    exact_ = per_direction_ / 2;
    require(options.max_distance > exact_, where, "max_distance must be more than ", exact_,
            ", the distances with a bucket of their own, got ", options.max_distance);
    require(options.max_distance < Index(1) << 31, where, "max_distance must be below 2^31, got ",
            options.max_distance);
    if (exact_ == 0) return;
    const Index steps = per_direction_ - exact_;
    for (Index t = 1; t < steps; ++t) first_.push_back(first_distance(t, steps));
  }

  Index operator()(Index delta) const {
    const Index start = options_.bidirectional && delta > 0 ? per_direction_ : 0;
    const Index distance = options_.bidirectional ? std::abs(delta) : std::max<Index>(-delta, 0);
    if (distance < exact_) return start + distance;
    return start + exact_ + (std::upper_bound(first_.begin(), first_.end(), distance) - first_.begin());
  }

  /// From this distance on the bucket stays the same.
  Index farthest() const { return first_.empty() ? exact_ : first_.back(); }

 private:
  // The smallest distance of bucket e + t: e (max_distance / e)^(t / steps), rounded up. The product in double is right
  // to 1e-14; where that leaves open on which side of a whole number it lies, the powers are compared as they are.
  Index first_distance(Index t, Index steps) const {
    const double e = double(exact_), m = double(options_.max_distance);
    const double estimate = e * std::pow(m / e, double(t) / double(steps));
    const double nearest = std::nearbyint(estimate);
    if (std::abs(estimate - nearest) > 1e-13 * estimate) return Index(std::ceil(estimate));
    detail::BigNatural reached(1), needed(1);
    for (Index i = 0; i < steps; ++i) {
      reached *= std::uint32_t(nearest);
      needed *= std::uint32_t(i < t ? options_.max_distance : exact_);
    }
    return Index(nearest) + (reached >= needed ? 0 : 1);
  }

  RelativePositionOptions options_;
  Index per_direction_ = 0, exact_ = 0;
  std::vector<Index> first_;
};

}  // namespace heed::inline HEED_ISA

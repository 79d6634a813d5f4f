// SPDX-License-Identifier: Apache-2.0
// What must hold for every visibility rule, whatever it says.
#pragma once

#include "support/any_rule.hpp"
#include "support/reference.hpp"

namespace heed::test {

/// Whether query i of head h of batch b sees key j, by the definition.
using Visible = std::function<bool(Index b, Index h, Index i, Index j)>;

/// How sharp the runs of a rule are: keys, counted per tile, that are called partly visible though no query or every
/// query of the tile sees them.
struct Slack {
  Index some_but_none = 0, some_but_all = 0;
};

/// Fails the test unless, for the rule as given and for its test in batches of float and double, along queries and
/// along keys:
///  - the test says what `visible` says of every pair;
///  - for tiles of many sizes, a run of kNone holds no pair that is visible, one of kAll none that is hidden, and ends
///    behind the key it was asked for;
///  - attention in float and double agrees with the definition, NaN and infinity in hidden keys and values included.
/// Returns the slack of the runs over tiles of 16 and 64 queries.
Slack check_rule(const AnyRule& rule, const AttentionShape& shape, const Visible& visible,
                 std::optional<Index> offset = std::nullopt);

/// A shape for rules: B = 2, H = 4 heads over 2 key heads.
inline AttentionShape rule_shape(Index queries, Index keys) { return {2, 4, 2, queries, keys, 5, 3}; }

}  // namespace heed::test

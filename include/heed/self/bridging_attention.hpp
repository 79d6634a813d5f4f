// SPDX-License-Identifier: Apache-2.0
// bridging_attention: queries of a detector strengthened by key points, by what these are and where they are.
#pragma once

#include <string>
#include <vector>

#include "heed/attention/projected_attention.hpp"
#include "heed/block/activation.hpp"
#include "heed/self/shared_location_bias.hpp"

namespace heed::inline HEED_ISA {

/// Key points of one kind: what they are and where they are, tensors (or views) or variables.
template <Operand X>
struct KeyPoints {
  X features;   ///< (B, K, C)
  X positions;  ///< (B, K, 2), pixels
};

/// out = relu(x + sum over the groups of attention_g(x, features_g)), whose scores are q.k / sqrt(D) plus the
/// SharedLocationBias of the positions.
///
///   heed::BridgingAttention<float> bridge{{.num_groups = 2}};
///   using View = heed::View<const float, 3>;
///   auto y = bridge(x, query_pos, std::vector<heed::KeyPoints<View>>{{corner, corner_pos}, {centre, centre_pos}});
///
/// x (B, N, C), query_pos (B, N, 2), out as x; for each group a kind of key points with a K of its own, q, k, v and out
/// of weight (C, C) and bias (C) or empty, and loc.weight (H, C), loc.bias (H), those of group 0 for all of them with
/// shared_location. Without appearance the scores are the bias alone, without location q.k alone; one of the two must
/// be there. A group without key points adds its out.bias.
///
/// Throws heed::Error for shapes and options that do not fit. Time of four products, of softmax_attention and of the
/// bias for each group. The same bits for any number of threads. Source: Chi et al. 2020 (RelationNet++), the authors'
/// code.
template <Real T>
struct BridgingAttention {
  struct Options {
    Index num_groups = 1;
    Index num_heads = 8;
    bool appearance = true;
    bool location = true;
    bool shared_location = true;
    SharedLocationOptions bias = {};  ///< of each group[g].location
  };
  struct Group {
    ProjectedAttention<T> attention = {};
    SharedLocationBias<T> location = {};  ///< loc is empty where that of group 0, or none, is used

    template <class F>
    void for_each_parameter(F&& f) {
      visit_part("", attention, f);
      visit_part("", location, f, heed::optional);
    }
  };

  Options options;
  std::vector<Group> group;  ///< as many as num_groups

  explicit BridgingAttention(const Options& o = {}) : options(o) {
    require(o.num_groups > 0 && o.num_heads > 0, kName, "num_groups and num_heads must be 1 or more, got ",
            o.num_groups, " and ", o.num_heads);
    require(o.appearance || o.location, kName, "appearance and location are both off: nothing is left to attend by");
    group.resize(std::size_t(o.num_groups));
    for (Group& g : group) g.location.options = o.bias;
  }

  template <class F>
  void for_each_parameter(F&& f) {
    for (std::size_t g = 0; g < group.size(); ++g) visit_part("group" + std::to_string(g) + ".", group[g], f);
  }

  template <Operand X, Operand P, Operand K>
  auto operator()(const X& x, const P& query_pos, const std::vector<KeyPoints<K>>& keys) const {
    return (*this)(DeviceRef(), x, query_pos, keys);
  }
  template <Device D, Operand X, Operand P, Operand K>
  auto operator()(const D& device, const X& x_like, const P& query_pos, const std::vector<KeyPoints<K>>& keys) const {
    static_assert(kOperandRank<X> == 3 && kOperandRank<K> == 3, "heed::BridgingAttention: x and keys are (B, N, C)");
    require(Index(keys.size()) == options.num_groups, kName, "num_groups = ", options.num_groups,
            " kinds of key points are needed, got ", keys.size());
    const Index channels = sizes_of(x_like)[2];
    for (std::size_t g = 0; g < group.size(); ++g) check(sizes_of(x_like), g, sizes_of(keys[g].features), channels);

    const auto x = parameter_with(x_like, query_pos, keys[0].features);
    const auto from = parameter_with(query_pos, x);
    const auto map = options.location ? group[0].location.map(device, x) : constant_with(zero<4>(), x);
    const auto attended = [&](std::size_t g) {
      const auto features = parameter_with(keys[g].features, x);
      const auto to = parameter_with(keys[g].positions, x);
      const auto scores = [&] {
        if (!options.location) return constant_with(zero<3>(), x);
        if (g == 0 || options.shared_location) return group[0].location.pairs(device, map, from, to);
        return group[g].location.pairs(device, group[g].location.map(device, x), from, to);
      }();
      const Index queries = options.location ? sizes_of(from)[1] : 1, points = options.location ? sizes_of(to)[1] : 1;
      const auto attend = softmax_attention(bias(SharedLocationBias<T>::by_heads(scores, queries, points)), scale());
      return group[g].attention(device, attend, options.num_heads, x, features, features);
    };
    auto sum = add(device, x, attended(0));
    for (std::size_t g = 1; g < group.size(); ++g) sum = add(device, sum, attended(g));
    return relu(device, sum);
  }

 private:
  static constexpr std::string_view kName = "bridging_attention";

  SoftmaxOptions scale() const {
    SoftmaxOptions result;
    if (!options.appearance) result.scale = 0;
    return result;
  }
  // A bias that changes nothing.
  template <int Rank>
  static Tensor<T, Rank> zero() {
    Tensor<T, Rank> result;
    Eigen::DSizes<Index, Rank> one;
    one.fill(1);
    result.resize(one);
    result.setZero();
    return result;
  }

  void check(const std::array<Index, 3>& x, std::size_t g, const std::array<Index, 3>& features, Index channels) const {
    const std::string prefix = "group" + std::to_string(g) + ".";
    require(features[0] == x[0] && features[2] == channels, kName, "the features of group ", g,
            " must have shape (B, K, C) with B = ", x[0], " and C = ", channels, ", got ", shape_text(features));
    group[g].attention.check(kName, prefix, channels, channels, options.num_heads);
    if (options.location && (g == 0 || !options.shared_location))
      require_shape(kName, prefix + "loc.weight", const_view(group[g].location.loc.weight).sizes,
                    std::array<Index, 2>{options.num_heads, channels});
  }
};

}  // namespace heed::inline HEED_ISA

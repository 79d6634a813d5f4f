// SPDX-License-Identifier: Apache-2.0
// shared_location_bias: a score for where one point is from another, read from one small map.
#pragma once

#include <optional>

#include "heed/block/bilinear_sample.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/functions.hpp"
#include "heed/block/linear.hpp"

namespace heed {

struct SharedLocationOptions {
  /// Width and height of the map, in steps of position_scale; none: no map, every pair is computed.
  std::optional<std::array<Eigen::Index, 2>> base_size = std::array<Eigen::Index, 2>{400, 400};
  double temperature = 1000;
  bool log_scale = true;
  double position_scale = 8;  ///< pixels that make a step: the stride of the finest level
};

inline namespace HEED_ISA {

/// bias(b, :, n, k) = g((key_pos(b, k) - query_pos(b, n)) / position_scale), or with log_scale log(max(that, 1e-6)):
/// g(x, y) = loc([sin(x / f), cos(x / f), sin(y / f), cos(y / f)]) with f_t = temperature^(4 t / E), t < E / 4.
///
///   heed::SharedLocationBias<float> location{{.base_size = {{400, 400}}}};
///   auto bias = location(query_pos, key_pos);       // then heed::softmax_attention(heed::bias(bias))
///
/// query_pos (B, N, 2) and key_pos (B, K, 2) in pixels, x then y; bias (B, H, N, K); loc.weight (H, E) with E a
/// multiple of 4, loc.bias (H) or empty. With a base_size (w, h), g is computed on the steps from -w / 2 to w / 2 and
/// from -h / 2 to h / 2 (rounded down, W and H' of them) and read between them at x W / w + (W - 1) / 2, which is not
/// quite x: the authors' stretch. Points beyond the map count as at its border.
///
/// Throws heed::Error for shapes and options that do not fit. Time O((W + H') E H + W H' H + B N K H) with the map, of
/// which each axis is computed alone, O(B N K E H) without. The same bits for any number of threads. Source: Chi et al.
/// 2020 (RelationNet++), the authors' code.
template <Real T>
struct SharedLocationBias {
  SharedLocationOptions options = {};
  Linear<T> loc = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_part("loc.", loc, f);
  }

  template <Operand Q, Operand K>
  auto operator()(const Q& query_pos, const K& key_pos) const {
    return (*this)(DeviceRef(), query_pos, key_pos);
  }
  template <Device D, Operand Q, Operand K>
  auto operator()(const D& device, const Q& query_pos, const K& key_pos) const {
    const auto scores = pairs(device, map(device, query_pos, key_pos), query_pos, key_pos);
    const auto q = sizes_of(query_pos), k = sizes_of(key_pos);
    return contiguous(device, by_heads(scores, q[1], k[1]));
  }

  /// g on the steps of the map, (1, H', W, H), for pairs(); of one cell where there is no map. It depends on the
  /// parameters alone: x... only say whether it is recorded.
  template <Device D, Operand... X>
  auto map(const D& device, const X&... x) const {
    check();
    const auto steps = options.base_size.value_or(std::array<Index, 2>{0, 0});
    const Index width = loc.weight.dimension(1);
    const auto weight = parameter_with(loc.weight, x...);
    const auto column_codes = constant_with(codes(steps[0] / 2), x...);
    const auto row_codes = constant_with(codes(steps[1] / 2), x...);
    const auto columns = linear(device, column_codes, weight.slice(1, 0, width / 2), parameter_with(loc.bias, x...));
    const auto rows = linear(device, row_codes, weight.slice(1, width / 2, width / 2), Tensor<T, 1>());
    // (1, H', 1, H) and (1, 1, W, H).
    return add(device, view(rows).split(0, 1).split(0, sizes_of(rows)[0]), view(columns).template promote<4>());
  }

  /// The bias as (B, N K, H), of a map() of the same operands.
  template <Device D, Operand M, Operand Q, Operand K>
  auto pairs(const D& device, const M& steps, const Q& query_pos, const K& key_pos) const {
    static_assert(kOperandRank<Q> == 3 && kOperandRank<K> == 3, "heed::SharedLocationBias: positions are (B, N, 2)");
    check();
    const auto q = sizes_of(query_pos), k = sizes_of(key_pos);
    require(q[2] == 2, kName, "query_pos must have shape (B, N, 2), got ", shape_text(q));
    require(k[0] == q[0] && k[2] == 2, kName, "key_pos must have shape (B, K, 2) with B = ", q[0], ", got ",
            shape_text(k));
    const std::array<Index, 3> shape{q[0], q[1] * k[1], 2};
    const auto from = parameter_with(query_pos, key_pos);
    const auto to = parameter_with(key_pos, query_pos);
    const auto distance = subtract(device, view(to).split(0, 1), view(from).split(1, 1));  // (B, N, K, 2)
    const auto scores = options.base_size ? between(device, steps, distance, shape) : exact(device, distance, shape);
    if (!options.log_scale) return scores;
    return activate(device, Log(), activate(device, AtLeast{1e-6}, scores));
  }
  /// A view of pairs() of N queries and K keys, as (B, H, N, K).
  template <Operand X>
  static auto by_heads(const X& pairs, Index queries, Index keys) {
    const auto sizes = sizes_of(pairs);
    return view(pairs).template reshape<4>({sizes[0], queries, keys, sizes[2]}).permute({0, 3, 1, 2});
  }

 private:
  static constexpr std::string_view kName = "shared_location_bias";

  // [sin, cos] of the steps from -half to half, (2 half + 1, E / 2).
  Tensor<T, 2> codes(Index half) const {
    const Index quarter = loc.weight.dimension(1) / 4;
    Tensor<T, 2> result(2 * half + 1, 2 * quarter);
    for (Index t = 0; t < quarter; ++t)
      for (Index i = 0; i <= 2 * half; ++i) {
        const double angle = double(i - half) * frequency(t);
        result(i, t) = T(std::sin(angle));
        result(i, quarter + t) = T(std::cos(angle));
      }
    return result;
  }
  double frequency(Index t) const {
    return std::pow(options.temperature, -4.0 * double(t) / double(loc.weight.dimension(1)));
  }

  template <class D, class M, class X>
  auto between(const D& device, const M& steps, const X& distance, const std::array<Index, 3>& pairs) const {
    Tensor<T, 1> stretch(2), centre(2);
    for (Index axis = 0; axis < 2; ++axis) {
      const Index base = (*options.base_size)[std::size_t(axis)], cells = base / 2 * 2 + 1;
      stretch(axis) = T(double(cells) / double(base) / options.position_scale);
      centre(axis) = T(double(cells - 1) / 2);
    }
    const auto stretched = multiply(device, distance, constant_with(std::move(stretch), distance));
    const auto places = add(device, stretched, constant_with(std::move(centre), distance));
    return bilinear_sample(device, steps, view(places).template reshape<3>(pairs));
  }

  template <class D, class X>
  auto exact(const D& device, const X& distance, const std::array<Index, 3>& pairs) const {
    const Index width = loc.weight.dimension(1);
    Tensor<T, 1> factors(width / 4);
    for (Index t = 0; t < width / 4; ++t) factors(t) = T(frequency(t) / options.position_scale);
    const auto angles = multiply(device, view(distance).template reshape<4>({pairs[0], pairs[1], 2, 1}),
                                 constant_with(std::move(factors), distance));
    const auto code = concat<3>(device, activate(device, Sine(), angles), activate(device, Cosine(), angles));
    return loc(device, view(code).template reshape<3>({pairs[0], pairs[1], width}));
  }

  void check() const {
    const Index heads = loc.weight.dimension(0), width = loc.weight.dimension(1);
    require(heads > 0 && width > 0 && width % 4 == 0, kName,
            "loc.weight must have shape (H, E) with E a multiple of 4, got ", shape_text(const_view(loc.weight).sizes));
    require(loc.bias.size() == 0 || loc.bias.size() == heads, kName, "loc.bias must be empty or have shape (", heads,
            "), got (", loc.bias.size(), ")");
    require(options.temperature > 0 && options.position_scale > 0, kName,
            "temperature and position_scale must be positive, got ", options.temperature, " and ",
            options.position_scale);
    if (options.base_size)
      require((*options.base_size)[0] > 0 && (*options.base_size)[1] > 0, kName, "base_size must be positive, got ",
              shape_text(*options.base_size));
  }
};

}  // namespace HEED_ISA
}  // namespace heed

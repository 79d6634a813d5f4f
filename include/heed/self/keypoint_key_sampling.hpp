// SPDX-License-Identifier: Apache-2.0
// keypoint_key_sampling: the best points of dense score maps, over all levels of a pyramid, as keys of an attention.
#pragma once

#include <vector>

#include "heed/block/activation.hpp"
#include "heed/block/bilinear_sample.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/gather.hpp"
#include "heed/block/max_pool.hpp"
#include "heed/block/pointwise.hpp"
#include "heed/block/top_k.hpp"

namespace heed {

/// What a key point takes of its level: the features of its cell, or those between cells where it points to.
enum class KeypointSelection { kIndex, kInterpolation };

inline namespace HEED_ISA {

namespace detail {

/// s, but 0 where it is below the largest around it.
struct LocalPeak {
  static constexpr std::string_view kName = "keypoint_key_sampling";
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> s, simd::Batch<T> largest) const {
    return simd::select(s < largest, simd::Batch<T>(T(0)), s);
  }
  template <int Operand, Real T>
  simd::Batch<T> gradient(simd::Batch<T> d, simd::Batch<T> s, simd::Batch<T> largest) const {
    if constexpr (Operand == 1) return simd::Batch<T>(T(0));
    return simd::select(s < largest, simd::Batch<T>(T(0)), d);
  }
};

}  // namespace detail

/// A level of a feature pyramid, of tensors (or views) or variables.
template <Operand X>
struct KeypointLevel {
  X logits;    ///< (B, Ch, h, w), one channel for each class
  X offsets;   ///< (B, 2, h, w), x then y, in cells
  X features;  ///< (B, C, h, w)
};

/// The top_k points of all levels by s = sigmoid(logits), of which a level offers its max_keypoints best: s counts as 0
/// where it is below the largest of the nms_kernel_size^2 scores around it in its channel.
///
///   heed::KeypointKeySampling sample{{.strides = {8, 16}}};
///   using View = heed::View<const float, 4>;
///   auto keys = sample(std::vector<heed::KeypointLevel<View>>{{logits0, offsets0, features0}, ...});
///
/// positions (B, K, 2) = (x stride + stride / 2 rounded down, likewise y) + offsets stride, in pixels; features
/// (B, K, C) of that cell, or between cells at X w / W - 1/2 and Y h / H - 1/2 with (W, H) the size of level 0 in
/// pixels, at the border beyond it; scores (B, K) from the largest on, of equal ones the lower level first, then the
/// lower class, row and column. K is the smaller of top_k and of what the levels offer, min(h w, max_keypoints) each;
/// where a level has fewer peaks, points of score 0 fill up. A place is there twice if two classes peak in it. Scores
/// of NaN are never taken.
///
/// Gradients go to the features, the offsets and the logits of what was taken. Throws heed::Error for shapes and
/// options that do not fit, and for features whose rows do not follow each other in memory. Time O(B Ch h w
/// (nms_kernel_size^2 + ..)) for each level. The same bits for any number of threads. Source: Chi et al. 2020
/// (RelationNet++), the authors' code.
struct KeypointKeySampling {
  struct Options {
    std::vector<Index> strides = {};  ///< pixels from cell to cell, for each level
    Index max_keypoints = 20;         ///< of a level
    Index top_k = 50;                 ///< of all levels
    Index nms_kernel_size = 3;        ///< odd; 1: every cell is a peak
    KeypointSelection selection = KeypointSelection::kIndex;
  };
  template <class Features, class Positions, class Scores>
  struct Result {
    Features features;
    Positions positions;
    Scores scores;
  };

  Options options = {};

  template <Operand X>
  auto operator()(const std::vector<KeypointLevel<X>>& levels) const {
    return (*this)(DeviceRef(), levels);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const std::vector<KeypointLevel<X>>& levels) const {
    static_assert(kOperandRank<X> == 4, "heed::KeypointKeySampling: logits, offsets and features are maps");
    check(levels);
    auto [features, positions, scores] = candidates(device, levels, 0);
    for (std::size_t level = 1; level < levels.size(); ++level) {
      const auto more = candidates(device, levels, level);
      features = concat<1>(device, features, more.features);
      positions = concat<1>(device, positions, more.positions);
      scores = concat<1>(device, scores, more.scores);
    }
    const Index count = std::min(options.top_k, sizes_of(scores)[1]);
    const auto best = heed::top_k(device, view(scores).select(2, 0), count);
    auto taken = gather(device, features, best.indices);
    auto places = gather(device, positions, best.indices);
    auto of_them = contiguous(device, view(gather(device, scores, best.indices)).select(2, 0));
    return Result<decltype(taken), decltype(places), decltype(of_them)>{std::move(taken), std::move(places),
                                                                        std::move(of_them)};
  }

 private:
  static constexpr std::string_view kName = "keypoint_key_sampling";

  // What a level offers: (B, M, C), (B, M, 2) and (B, M, 1).
  template <class D, class X>
  auto candidates(const D& device, const std::vector<KeypointLevel<X>>& levels, std::size_t index) const {
    using T = OperandScalar<X>;
    const auto& level = levels[index];
    const auto sizes = sizes_of(level.logits);
    const Index cells = sizes[2] * sizes[3], k = options.nms_kernel_size, stride = options.strides[index];
    const auto s = sigmoid(device, level.logits);
    auto largest = max_pool(device, values_of(s), {.kernel = {k, k}, .stride = {1, 1}, .padding = {k / 2, k / 2}});
    const auto peaks = pointwise(detail::LocalPeak(), device, s, constant_with(std::move(largest), s));
    const auto flat = view(peaks).template reshape<3>({sizes[0], sizes[1] * cells, 1});
    auto best = heed::top_k(device, flat.select(2, 0), std::min(cells, options.max_keypoints));
    auto scores = gather(device, flat, best.indices);

    // From here on indices are those of cells.
    Tensor<T, 3> grid(sizes[0], best.indices.dimension(1), 2);
    for (Index i = 0; i < best.indices.size(); ++i) {
      std::int32_t& cell = best.indices.data()[i];
      if (cell >= 0) cell %= std::int32_t(cells);
      grid.data()[2 * i] = T(cell % sizes[3] * stride + stride / 2);
      grid.data()[2 * i + 1] = T(cell / sizes[3] * stride + stride / 2);
    }
    const auto of_cells = [&](const auto& map) {
      return gather(device, view(map).permute({0, 2, 3, 1}).merge(1), best.indices);
    };
    const auto offsets = scale(device, of_cells(level.offsets), double(stride));
    auto positions = add(device, offsets, constant_with(std::move(grid), offsets));
    auto features = options.selection == KeypointSelection::kIndex
                        ? of_cells(level.features)
                        : between(device, level.features, positions, sizes_of(levels[0].logits));
    return Result<decltype(features), decltype(positions), decltype(scores)>{std::move(features), std::move(positions),
                                                                             std::move(scores)};
  }

  template <class D, class X, class P>
  auto between(const D& device, const X& features, const P& positions, const std::array<Index, 4>& first) const {
    using T = OperandScalar<X>;
    const auto sizes = sizes_of(features);
    Tensor<T, 1> cells_per_pixel(2), half(1);
    cells_per_pixel(0) = T(double(sizes[3]) / double(first[3] * options.strides[0]));
    cells_per_pixel(1) = T(double(sizes[2]) / double(first[2] * options.strides[0]));
    half(0) = T(-0.5);
    const auto cells = multiply(device, positions, constant_with(std::move(cells_per_pixel), positions));
    const auto points = add(device, cells, constant_with(std::move(half), positions));
    return bilinear_sample(device, view(features).permute({0, 2, 3, 1}), points);
  }

  template <class X>
  void check(const std::vector<KeypointLevel<X>>& levels) const {
    require(!levels.empty() && levels.size() == options.strides.size(), kName, "there must be a level for each of ",
            options.strides.size(), " strides, and one at least, got ", levels.size());
    require(options.max_keypoints > 0 && options.top_k > 0, kName, "max_keypoints and top_k must be 1 or more, got ",
            options.max_keypoints, " and ", options.top_k);
    require(options.nms_kernel_size > 0 && options.nms_kernel_size % 2 == 1, kName, "nms_kernel_size must be odd, got ",
            options.nms_kernel_size);
    const auto first = sizes_of(levels[0].features);
    for (std::size_t i = 0; i < levels.size(); ++i) {
      const auto logits = sizes_of(levels[i].logits), offsets = sizes_of(levels[i].offsets);
      const auto features = sizes_of(levels[i].features);
      require(options.strides[i] > 0, kName, "strides must be 1 or more, got ", options.strides[i]);
      require(logits[0] == first[0] && logits[1] > 0 && logits[2] > 0 && logits[3] > 0, kName, "the logits of level ",
              i, " must have shape (B, Ch, h, w) with B = ", first[0], " and cells, got ", shape_text(logits));
      require(offsets == std::array<Index, 4>{first[0], 2, logits[2], logits[3]}, kName, "the offsets of level ", i,
              " must have shape (B, 2, h, w) as its logits of shape ", shape_text(logits), ", got ",
              shape_text(offsets));
      require(features == std::array<Index, 4>{first[0], first[1], logits[2], logits[3]}, kName,
              "the features of level ", i, " must have shape (B, C, h, w) as its logits of shape ", shape_text(logits),
              " with C = ", first[1], ", got ", shape_text(features));
    }
  }
};

}  // namespace HEED_ISA
}  // namespace heed

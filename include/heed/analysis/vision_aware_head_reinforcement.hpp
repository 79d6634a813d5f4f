// SPDX-License-Identifier: Apache-2.0
// vision_aware_head_reinforcement: heads whose outputs depend on the image, and their gain.
#pragma once

#include <cmath>
#include <vector>

#include "heed/block/activation.hpp"
#include "heed/block/copy_as.hpp"
#include "heed/block/gate.hpp"
#include "heed/block/masked_fill.hpp"
#include "heed/block/reduce.hpp"
#include "heed/block/selection.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

// sqrt x, of derivative 0 at 0: what a norm of nothing passes on.
struct RootOrZero {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return simd::sqrt<T>(x);
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    const simd::Batch<T> zero(T(0));
    return simd::select(x == zero, zero, simd::Batch<T>(T(0.5)) / simd::sqrt<T>(x));
  }
};

}  // namespace detail

/// vhd(l, h) = |head_out(l, h) - head_out_text(l, h)|_2; t_vhd = the sum over layers of the top_k largest; out =
/// head_out with the selected heads times alpha. For the selection a head is set to 0 whose vhd and |head_out_text|^2
/// are both above mean + standard deviation of their layer (a surge because the image is missing); selected is what
/// then lies above the median of the layer.
///
/// head_out, head_out_text (L, H, D), outputs of heads at the last token, before the output projection, with and
/// without the image; vhd (L, H), t_vhd (1), selected (L, H) of std::uint8_t, out (L, H, D). In use heads are chosen at
/// the first generated token, layer by layer (a layer sees the reinforced ones below), and then kept. The choice has no
/// gradient. Throws heed::Error for shapes that do not fit. Source: He et al. 2025 (VHD and VHR), equations 4 to 7, a
/// transcription: the paper does not say which standard deviation and median, hence the options.
struct VisionAwareHeadReinforcement {
  enum class Median {
    kLower,  ///< of an even number of heads the lower of the two in the middle
    kMid,    ///< their mean
  };
  struct Options {
    double alpha = 2;
    Index top_k = 1;
    bool unbiased_std = true;
    Median median = Median::kLower;
  };
  template <class V, class S, class O>
  struct Result {
    V vhd;
    S t_vhd;
    Tensor<std::uint8_t, 2> selected;
    O out;
  };

  Options options = {};

  template <Operand X, Operand Y>
  auto operator()(const X& head_out, const Y& head_out_text) const {
    return (*this)(DeviceRef(), head_out, head_out_text);
  }
  template <Device D, Operand X, Operand Y>
  auto operator()(const D& device, const X& head_out, const Y& head_out_text) const {
    static_assert(kOperandRank<X> == 3 && kOperandRank<Y> == 3,
                  "heed::VisionAwareHeadReinforcement: head_out and head_out_text are (L, H, D)");
    using T = OperandScalar<X>;
    constexpr std::string_view name = "vision_aware_head_reinforcement";
    const auto sizes = sizes_of(head_out);
    require_shape(name, "head_out_text", sizes_of(head_out_text), sizes);
    require(sizes[1] > 0, name, "there must be heads, got shape ", shape_text(sizes));
    require(options.top_k >= 0, name, "top_k must be 0 or more, got ", options.top_k);
    const auto difference = subtract(device, head_out, head_out_text);
    const auto squared = pointwise_sum(ProductOf(), device, {2}, difference, difference);
    auto vhd = copy_as<2>(device, activate(device, detail::RootOrZero(), squared), {sizes[0], sizes[1]});
    const auto largest = masked_fill(device, vhd, largest_mask(device, vhd, options.top_k), 0);
    auto t_vhd = copy_as<1>(device, sum(device, largest, {0, 1}), {1});

    const auto text = values_of(head_out_text);
    const auto text_energy = pointwise_sum(ProductOf(), device, {2}, text, text);
    auto selected = select(values_of(vhd), const_view(text_energy).select(2, 0));
    Tensor<T, 3> factor(sizes[0], sizes[1], 1);
    for (Index i = 0; i < selected.size(); ++i) factor.data()[i] = T(selected.data()[i] != 0 ? options.alpha : 1);
    const auto gain = constant_with(std::move(factor), head_out, head_out_text);
    auto out = multiply(device, head_out, gain);
    return Result<decltype(vhd), decltype(t_vhd), decltype(out)>{std::move(vhd), std::move(t_vhd), std::move(selected),
                                                                 std::move(out)};
  }

 private:
  // Mean plus standard deviation. NaN, which nothing exceeds, for the sample deviation of one.
  double surge(const std::vector<double>& x) const {
    double mean = 0, square = 0;
    for (const double value : x) mean += value / double(x.size());
    for (const double value : x) square += (value - mean) * (value - mean);
    return mean + std::sqrt(square / (double(x.size()) - (options.unbiased_std ? 1 : 0)));
  }
  double median(std::vector<double> x) const {
    std::sort(x.begin(), x.end());
    const double lower = x[(x.size() - 1) / 2];
    return options.median == Median::kLower ? lower : (lower + x[x.size() / 2]) / 2;
  }
  template <class T>
  Tensor<std::uint8_t, 2> select(const View<const T, 2>& vhd, const View<const T, 2>& text_energy) const {
    Tensor<std::uint8_t, 2> result(vhd.size(0), vhd.size(1));
    for (Index l = 0; l < vhd.size(0); ++l) {
      std::vector<double> of_head, energy;
      for (Index h = 0; h < vhd.size(1); ++h) {
        of_head.push_back(double(vhd(l, h)));
        energy.push_back(double(text_energy(l, h)));
      }
      const double most = surge(of_head), most_energy = surge(energy);
      for (std::size_t h = 0; h < of_head.size(); ++h)
        if (of_head[h] > most && energy[h] > most_energy) of_head[h] = 0;
      const double middle = median(of_head);
      for (Index h = 0; h < vhd.size(1); ++h) result(l, h) = of_head[std::size_t(h)] > middle;
    }
    return result;
  }
};

}  // namespace heed::inline HEED_ISA

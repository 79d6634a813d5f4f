// SPDX-License-Identifier: Apache-2.0
// selective_kernel: parallel convolutions, summed by a softmax over them for each channel.
#pragma once

#include <vector>

#include "heed/block/batch_norm.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/gate.hpp"
#include "heed/block/softmax.hpp"

namespace heed::inline HEED_ISA {

/// out = sum over branches i of a_i f_i; f_i = relu(BN_i(conv_i(x))), a = softmax over i of head_i(z) for each channel,
/// z = relu(BN(fc(sum over i of the mean of each channel of f_i))).
///
///   heed::SelectiveKernel<float> sk{{.dilations = {1, 2}}};       // two 3x3 branches, one of them dilated
///
/// x (B, Ci, h, w), out (B, C, h', w'); conv{i}.weight (C, Ci / groups, k, k) with odd k and no bias, with the padding
/// that keeps the size, bn{i}.{weight,bias,mean,var} (C), fc.weight (d, C), fc_bn.{weight,bias,mean,var} (d),
/// head{i}.weight (C, d), head{i}.bias (C) or empty. Kernels, groups and d follow from the shapes. Throws heed::Error
/// for shapes and options that do not fit and a map without positions. Cost of the convolutions. The same bits for any
/// number of threads. Source: Li et al. 2019.
template <Real T>
struct SelectiveKernel {
  struct Options {
    std::vector<Index> dilations = {1, 1};  ///< one for each branch
    Index stride = 1;
  };
  struct Branch {
    Conv2d<T> conv = {};
    BatchNorm<T> bn = {};
    Linear<T> head = {};
  };

  Options options;
  std::vector<Branch> branches;  ///< as many as dilations
  Linear<T> fc = {};
  BatchNorm<T> fc_bn = {};

  explicit SelectiveKernel(const Options& o = {}) : options(o), branches(o.dilations.size()) {
    require(!branches.empty() && o.stride > 0, kName, "there must be a branch, and a stride of 1 or more, got ",
            o.stride);
  }

  template <class F>
  void for_each_parameter(F&& f) {
    for (std::size_t i = 0; i < branches.size(); ++i) {
      f("conv" + std::to_string(i) + ".weight", branches[i].conv.weight);
      visit_part("bn" + std::to_string(i) + ".", branches[i].bn, f);
    }
    visit_parts(f, "fc.", fc, "fc_bn.", fc_bn);
    for (std::size_t i = 0; i < branches.size(); ++i) visit_part("head" + std::to_string(i) + ".", branches[i].head, f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    require_map(kName, x);
    const auto first = features(device, x, 0);
    std::vector<std::remove_const_t<decltype(first)>> maps{first};
    for (std::size_t i = 1; i < branches.size(); ++i) maps.push_back(features(device, x, i));

    auto squeezed = mean(device, maps[0], {2, 3});
    for (std::size_t i = 1; i < maps.size(); ++i) squeezed = heed::add(device, squeezed, mean(device, maps[i], {2, 3}));
    const auto hidden = conv_channels(device, squeezed, fc.weight, fc.bias);
    const auto normal = fc_bn(device, hidden);
    const auto z = relu(device, normal);
    auto logits = conv_channels(device, z, branches[0].head.weight, branches[0].head.bias);
    for (std::size_t i = 1; i < maps.size(); ++i)
      logits = concat<3>(device, logits, conv_channels(device, z, branches[i].head.weight, branches[i].head.bias));
    const auto weights = softmax(device, logits);  // (B, C, 1, branches)

    auto sum = multiply(device, maps[0], view(weights).slice(3, 0, 1));
    for (std::size_t i = 1; i < maps.size(); ++i)
      sum = multiply_add(device, maps[i], view(weights).slice(3, Index(i), 1), sum);
    return sum;
  }

 private:
  static constexpr std::string_view kName = "selective_kernel";

  template <Device D, Operand X>
  auto features(const D& device, const X& x, std::size_t i) const {
    const auto& weight = branches[i].conv.weight;
    const Index k = weight.dimension(2), inner = weight.dimension(1), channels = sizes_of(x)[1];
    require(weight.size() > 0 && weight.dimension(3) == k && k % 2 == 1 && channels % inner == 0 &&
                weight.dimension(0) == branches[0].conv.weight.dimension(0),
            kName, "conv", i, ".weight must have shape (C, Ci / groups, k, k) with Ci = ", channels,
            ", odd k and C = ", branches[0].conv.weight.dimension(0), ", got ", shape_text(const_view(weight).sizes));
    const auto mixed = conv_2d(device, x, weight, branches[i].conv.bias,
                               ConvOptions::same(k, channels / inner, options.stride, options.dilations[i]));
    const auto normal = branches[i].bn(device, mixed);
    return relu(device, normal);
  }
};

}  // namespace heed::inline HEED_ISA

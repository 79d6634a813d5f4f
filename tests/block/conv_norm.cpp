// SPDX-License-Identifier: Apache-2.0
#include "heed/block/conv_norm.hpp"

#include "catch.hpp"
#include "heed/block/norm_conv.hpp"
#include "heed/core/parameters.hpp"
#include "support/reference.hpp"

using heed::DeviceRef;
using heed::Index;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

heed::BatchNorm<float> norm(Index channels) {
  heed::BatchNorm<float> bn{random_tensor<float, 1>({channels}, 1), random_tensor<float, 1>({channels}, 2),
                            random_tensor<float, 1>({channels}, 3), random_tensor<float, 1>({channels}, 4)};
  bn.var = bn.var.square() + 0.5f;
  return bn;
}
template <class Layer>
std::vector<std::string> names(Layer& layer) {
  std::vector<std::string> all;
  heed::for_each_parameter(layer, [&](std::string_view name, auto&) { all.emplace_back(name); });
  return all;
}

}  // namespace

TEST_CASE("conv_norm and norm_conv are their parts in turn") {
  heed::ConvNorm<float> first{{random_tensor<float, 4>({3, 2, 3, 3}, 5), random_tensor<float, 1>({3}, 6)}, norm(3)};
  heed::NormConv<float> last{norm(2), {random_tensor<float, 4>({3, 2, 3, 3}, 5), random_tensor<float, 1>({3}, 6)}};
  const auto x = random_tensor<float, 4>({2, 2, 5, 7}, 7);
  const DeviceRef device;
  const heed::ConvOptions same = heed::ConvOptions::same(3);
  const auto y = first(device, x);
  CHECK(error_of(y, first.bn(device, first.conv(device, x))) == 0);
  const Tensor<float, 4> positive = y.cwiseMax(0.0f);
  CHECK(error_of(first.relu(device, x), positive) == 0);
  CHECK(first.relu(device, x, same).dimension(3) == 7);
  CHECK(error_of(last(device, x), last.conv(device, heed::relu(device, last.bn(device, x)))) == 0);
  CHECK(last(device, x, same).dimension(2) == 5);
  CHECK(names(first) == std::vector<std::string>{"weight", "bias", "bn.weight", "bn.bias", "bn.mean", "bn.var"});
  CHECK(names(last) ==
        std::vector<std::string>{"bn.weight", "bn.bias", "bn.mean", "bn.var", "conv.weight", "conv.bias"});
}

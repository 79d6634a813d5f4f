// SPDX-License-Identifier: Apache-2.0
#include "heed/self/multi_query_self_attention.hpp"

#include "heed/autodiff/activation.hpp"
#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/linear.hpp"
#include "heed/autodiff/masked_fill.hpp"
#include "heed/autodiff/normalize.hpp"
#include "heed/autodiff/window_mean.hpp"
#include "support/finite_differences.hpp"
#include "support/self_attention.hpp"

using heed::Index;
using heed::MultiQuerySelfAttention;
using heed::Tensor;
using heed::test::error_of;
using heed::test::random_tensor;

namespace {

template <class T>
MultiQuerySelfAttention<T> attention(Index c) {
  MultiQuerySelfAttention<T> attend;
  unsigned seed = 10;
  heed::for_each_parameter(attend, [&]<int Rank>(std::string_view, Tensor<T, Rank>& x) {
    std::array<Index, std::size_t(Rank)> sizes;
    sizes.fill(c);
    x = random_tensor<T, Rank>(sizes, ++seed, 0.7);
  });
  return attend;
}

}  // namespace

TEST_CASE("multi_query_self_attention has the parameters of two branches") {
  const auto attend = attention<double>(4);
  CHECK(heed::count_parameters(attend) == 2 * (6 * 4 + 5 * 20));
  std::vector<std::string> names;
  heed::for_each_parameter(attend, [&](std::string_view name, const auto&) { names.emplace_back(name); });
  for (const char* name : {"short.norm.weight", "long.q.bias", "long.norm3.weight", "short.fc2.weight"})
    CHECK(std::count(names.begin(), names.end(), name) == 1);
}

TEST_CASE("multi_query_self_attention blends its branches, each a chain of blocks") {
  auto attend = attention<double>(4);
  const auto x = random_tensor<double, 3>({2, 9, 4}, 1);
  const auto mask = heed::test::random_mask<2>({2, 9}, 2, 0.7);
  const auto branch = [&](const auto& part, Index window) {
    const heed::LQuerySelfAttention<double> attend_alone{
        {.window_size = window}, part.attend.norm, part.attend.q, part.attend.k, part.attend.v};
    const auto b = part.norm2(attend_alone(x, mask));
    return part.norm3(heed::add(b, part.fc2(heed::relu(part.fc1(b)))));
  };
  const auto brief = branch(attend.short_branch, 1), far = branch(attend.long_branch, 3);
  for (const double alpha : {0.0, 0.3, 1.0}) {
    attend.options.alpha = alpha;
    auto want = heed::add(heed::scale(brief, alpha), heed::scale(far, 1 - alpha));
    for (Index b = 0; b < 2; ++b)
      for (Index n = 0; n < 9; ++n)
        for (Index c = 0; c < 4; ++c)
          if (mask(b, n) == 0) want(b, n, c) = 0;
    CHECK(error_of(attend(x, mask), want) < 1e-14);
  }
  attend.long_branch.fc1.weight.resize(4, 3);
  CHECK_THROWS_WITH(attend(x, mask), "multi_query_self_attention: fc1.weight must have shape (4, 4), got (4, 3)");
}

TEST_CASE("Gradients of multi_query_self_attention") {
  auto attend = attention<double>(3);
  auto x = random_tensor<double, 3>({1, 4, 3}, 1);
  Tensor<std::uint8_t, 2> mask(1, 4);
  mask.setValues({{0, 1, 1, 1}});
  heed::test::check_gradients([&](auto&, const auto& v) { return attend(v, mask); }, x, attend);
}

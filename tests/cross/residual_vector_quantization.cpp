// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/residual_vector_quantization.hpp"

#include "support/cross.hpp"
#include "support/threads.hpp"

using heed::Index;
using heed::Tensor;
using heed::test::check_threads;
using heed::test::error_of;
using heed::test::fresh;
using heed::test::fresh_linear;
using heed::test::fresh_mlp;
using heed::test::fresh_norm;

TEST_CASE("residual_vector_quantization: the sum of the nearest codes of what is left") {
  heed::ResidualVectorQuantization<double> quantize{{.depth = 3}};
  quantize.codebook = fresh<3>({3, 17, 5});
  const auto x = fresh<3>({2, 3, 5});
  const auto got = quantize(x);
  Tensor<double, 3> sum(2, 3, 5);
  sum.setZero();
  for (Index d = 0; d < 3; ++d)
    for (Index b = 0; b < 2; ++b)
      for (Index n = 0; n < 3; ++n) {
        const auto distance = [&](Index j) {
          double total = 0;
          for (Index c = 0; c < 5; ++c) total += std::pow(x(b, n, c) - sum(b, n, c) - quantize.codebook(d, j, c), 2);
          return total;
        };
        const Index code = got.codes(b, n, d);
        for (Index j = 0; j < 17; ++j) CHECK(distance(code) <= distance(j));
        for (Index c = 0; c < 5; ++c) sum(b, n, c) += quantize.codebook(d, code, c);
      }
  CHECK(error_of(got.out, sum) < 1e-14);
  check_threads([&](const heed::DeviceRef& device) { return quantize(device, x).out; });
}

TEST_CASE("residual_vector_quantization with one codebook for all levels") {
  heed::ResidualVectorQuantization<double> quantize{{.depth = 2, .shared_codebook = true}};
  quantize.codebook = fresh<3>({1, 3, 5});
  heed::ResidualVectorQuantization<double> each{{.depth = 2}};
  each.codebook = quantize.codebook.broadcast(Eigen::array<Index, 3>{2, 1, 1});
  const auto x = fresh<3>({1, 17, 5});
  CHECK(error_of(quantize(x).out, each(x).out) == 0);
  each.options.depth = 3;
  CHECK_THROWS_WITH(each(x), "residual_vector_quantization: codebook must have shape (3, K, 5), got (2, 3, 5)");
}

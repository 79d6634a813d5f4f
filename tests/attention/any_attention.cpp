// SPDX-License-Identifier: Apache-2.0
#include "support/any_attention.hpp"

#include "catch.hpp"

namespace heed::test {

template <Real T>
AnyResult<T> attend_any(const std::optional<ErasedScore>& score, const ErasedRule& rule, const View<const T, 4>& q,
                        const View<const T, 4>& k, const View<const T, 4>& v, const SoftmaxOptions& options,
                        const Eigen::ThreadPoolDevice* device) {
  AnyResult<T> result{Tensor<T, 4>(q.size(0), q.size(1), q.size(2), v.size(3)),
                      Tensor<T, 3>(q.size(0), q.size(1), q.size(2))};
  result.out.setConstant(T(kNaN));
  result.lse.setConstant(T(kNaN));
  const auto run = [&](const auto& attend) {
    if (device) {
      attend(*device, q, k, v, into(result.out, result.lse));
    } else {
      attend(q, k, v, into(result.out, result.lse));
    }
  };
  if (score) {
    run(softmax_attention(*score, rule, options));
  } else {
    run(softmax_attention(rule, options));
  }
  return result;
}

template AnyResult<float> attend_any(const std::optional<ErasedScore>&, const ErasedRule&, const View<const float, 4>&,
                                     const View<const float, 4>&, const View<const float, 4>&, const SoftmaxOptions&,
                                     const Eigen::ThreadPoolDevice*);
template AnyResult<double> attend_any(const std::optional<ErasedScore>&, const ErasedRule&,
                                      const View<const double, 4>&, const View<const double, 4>&,
                                      const View<const double, 4>&, const SoftmaxOptions&,
                                      const Eigen::ThreadPoolDevice*);

}  // namespace heed::test

TEMPLATE_TEST_CASE("Score and rule chosen at run time are those of compile time, bit for bit", "", float, double) {
  using namespace heed::test;
  using T = TestType;
  const Inputs<T> x(2, 4, 2, 19, 40, 5, 7, 1);
  const auto [out, lse] =
      heed::softmax_attention(heed::softcap(3), heed::causal() && heed::window_left(9)).with_lse(x.q, x.k, x.v);
  const auto any = attend_any(ErasedScore(heed::softcap(3)), heed::causal() && heed::window_left(9), x.q, x.k, x.v);
  CHECK(same_bits(any.out, out));
  CHECK(same_bits(any.lse, lse));
}

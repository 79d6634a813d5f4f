// SPDX-License-Identifier: Apache-2.0
// The bias, which the kernels add where they compute the scores, against the same sum as a user's modifier.
#include <limits>

#include "catch.hpp"
#include "heed/attention/softmax_attention.hpp"

using heed::Index;
using heed::Tensor;

namespace {

constexpr float kHidden = -std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Case {
  Index batch, queries, keys;
  bool bias_per_batch = false;
};

struct Inputs {
  Tensor<float, 4> q, k, v, bias;

  explicit Inputs(const Case& c)
      : q(c.batch, 3, c.queries, 6),
        k(c.batch, 3, c.keys, 6),
        v(c.batch, 3, c.keys, 5),
        bias(c.bias_per_batch ? c.batch : 1, 3, c.queries, c.keys) {
    for (auto* x : {&q, &k, &v, &bias}) {
      x->setRandom();
      *x = *x - x->constant(0.5f);
    }
  }
};

void check_same_bits(const Inputs& in) {
  Tensor<float, 4> got(in.q.dimension(0), 3, in.q.dimension(2), 5), want = got;
  got.setConstant(kNaN);
  want.setConstant(kNaN);
  const auto bias = heed::view(in.bias).broadcast(
      {in.q.dimension(0), in.q.dimension(1), in.q.dimension(2), in.k.dimension(2)}, "test", "bias");
  const auto sum = heed::score([=](auto s, const auto& at) { return s + at.of_pair(bias); });
  heed::softmax_attention(heed::bias(in.bias), heed::causal())(in.q, in.k, in.v, heed::into(got));
  heed::softmax_attention(sum, heed::causal())(in.q, in.k, in.v, heed::into(want));
  for (Index i = 0; i < got.size(); ++i) REQUIRE(got.data()[i] == want.data()[i]);
}

}  // namespace

TEST_CASE("A bias of one batch or of each gives the bits of the same sum, on tiles that a rule cuts and others") {
  for (const Case& c : {Case{1, 1, 1}, Case{2, 49, 49}, Case{3, 17, 63}, Case{2, 100, 150}, Case{2, 65, 500},
                        Case{1, 130, 260}, Case{2, 70, 90, true}, Case{3, 33, 33, true}}) {
    CAPTURE(c.batch, c.queries, c.keys, c.bias_per_batch);
    check_same_bits(Inputs(c));
  }
}

TEST_CASE("A bias of -infinity hides keys and values of NaN in one tile and changes no other") {
  for (const bool per_batch : {false, true}) {
    CAPTURE(per_batch);
    Inputs in(Case{2, 66, 210, per_batch});
    // Key 5 for all queries of head 1, key 120 for the odd ones.
    for (Index b = 0; b < in.bias.dimension(0); ++b)
      for (Index i = 0; i < 66; ++i) {
        in.bias(b, 1, i, 5) = kHidden;
        if (i % 2 == 1) in.bias(b, 1, i, 120) = kHidden;
      }
    check_same_bits(in);
    Tensor<float, 4> want(2, 3, 66, 5), got(2, 3, 66, 5);
    got.setConstant(kNaN);
    const auto attend = heed::softmax_attention(heed::bias(in.bias));
    attend(in.q, in.k, in.v, heed::into(want));
    for (Index b = 0; b < 2; ++b)
      for (Index d = 0; d < 5; ++d) {
        in.k(b, 1, 5, d) = kNaN;
        in.v(b, 1, 5, d) = kNaN;
      }
    attend(in.q, in.k, in.v, heed::into(got));
    for (Index i = 0; i < got.size(); ++i) REQUIRE(got.data()[i] == want.data()[i]);
  }
}

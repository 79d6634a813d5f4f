// SPDX-License-Identifier: Apache-2.0
// What is refused, in which words, and that nothing has been written by then.
#include "catch.hpp"
#include "support/any_attention.hpp"

using heed::Index;
using heed::Tensor;
using heed::View;
using namespace heed::test;
using T4 = Tensor<float, 4>;

namespace {

struct Shapes {
  std::array<Index, 4> q{2, 4, 5, 6}, k{2, 2, 7, 6}, v{2, 2, 7, 3}, out{2, 4, 5, 3};
  std::array<Index, 3> lse{2, 4, 5};
};

// The text of the error, and that out and lse keep what they held.
std::string error_text(const std::optional<ErasedScore>& score, const ErasedRule& rule, const Shapes& s = {},
                       heed::SoftmaxOptions options = {}, bool with_lse = true) {
  const T4 q = random_tensor<float, 4>(s.q, 1), k = random_tensor<float, 4>(s.k, 2),
           v = random_tensor<float, 4>(s.v, 3);
  T4 out(Eigen::DSizes<Index, 4>(s.out[0], s.out[1], s.out[2], s.out[3]));
  Tensor<float, 3> lse(Eigen::DSizes<Index, 3>(s.lse[0], s.lse[1], s.lse[2]));
  out.setConstant(-9.f);
  lse.setConstant(-9.f);
  std::string text;
  const auto run = [&](const auto& attend) {
    try {
      if (with_lse) {
        attend(q, k, v, heed::into(out, lse));
      } else {
        attend(q, k, v, heed::into(out));
      }
    } catch (const heed::Error& error) {
      text = error.what();
    }
  };
  if (score) {
    run(heed::softmax_attention(*score, rule, options));
  } else {
    run(heed::softmax_attention(rule, options));
  }
  if (!text.empty()) {
    for (Index i = 0; i < out.size(); ++i) CHECK(out.data()[i] == -9.f);
    for (Index i = 0; i < lse.size(); ++i) CHECK(lse.data()[i] == -9.f);
  }
  return text;
}

std::string error_text(const Shapes& shapes) { return error_text(std::nullopt, heed::everything(), shapes); }

}  // namespace

TEST_CASE("Shapes that fit are accepted") {
  CHECK(error_text(Shapes{}) == "");
  CHECK(error_text({.k = {2, 1, 7, 6}, .v = {2, 1, 7, 3}}) == "");
  CHECK(error_text({.q = {2, 0, 5, 6}, .k = {2, 0, 7, 6}, .v = {2, 0, 7, 3}, .out = {2, 0, 5, 3}, .lse = {2, 0, 5}}) ==
        "");
}

TEST_CASE("Shapes that do not fit") {
  CHECK(error_text({.k = {3, 2, 7, 6}, .v = {3, 2, 7, 3}}) == "softmax_attention: k has batch size 3, q has 2");
  CHECK(error_text({.k = {2, 2, 7, 5}}) == "softmax_attention: k has width 5, q has 6");
  CHECK(error_text({.v = {2, 2, 8, 3}}) ==
        "softmax_attention: k and v must agree but for the last axis, got (2, 2, 7, 6) and (2, 2, 8, 3)");
  CHECK(error_text({.v = {2, 1, 7, 3}}) ==
        "softmax_attention: k and v must agree but for the last axis, got (2, 2, 7, 6) and (2, 1, 7, 3)");
  CHECK(error_text({.v = {1, 2, 7, 3}}) ==
        "softmax_attention: k and v must agree but for the last axis, got (2, 2, 7, 6) and (1, 2, 7, 3)");
  CHECK(error_text({.k = {2, 3, 7, 6}, .v = {2, 3, 7, 3}}) ==
        "softmax_attention: the number of heads 4 must be a multiple of the number of key/value heads 3");
  CHECK(error_text({.k = {2, 8, 7, 6}, .v = {2, 8, 7, 3}}) ==
        "softmax_attention: the number of heads 4 must be a multiple of the number of key/value heads 8");
  CHECK(error_text({.k = {2, 0, 7, 6}, .v = {2, 0, 7, 3}}) ==
        "softmax_attention: the number of heads 4 must be a multiple of the number of key/value heads 0");
  CHECK(error_text({.q = {2, 4, 5, 0}, .k = {2, 2, 7, 0}}) ==
        "softmax_attention: D and Dv must be 1 or more, got 0 and 3");
  CHECK(error_text({.v = {2, 2, 7, 0}, .out = {2, 4, 5, 0}}) ==
        "softmax_attention: D and Dv must be 1 or more, got 6 and 0");
  CHECK(error_text({.out = {2, 4, 5, 4}}) == "softmax_attention: out must have shape (2, 4, 5, 3), got (2, 4, 5, 4)");
  CHECK(error_text({.out = {2, 4, 4, 3}}) == "softmax_attention: out must have shape (2, 4, 5, 3), got (2, 4, 4, 3)");
  CHECK(error_text({.out = {0, 0, 0, 0}}) == "softmax_attention: out must have shape (2, 4, 5, 3), got (0, 0, 0, 0)");
  CHECK(error_text({.lse = {2, 4, 6}}) == "softmax_attention: lse must have shape (2, 4, 5), got (2, 4, 6)");
  CHECK(error_text({.lse = {2, 5, 4}}) == "softmax_attention: lse must have shape (2, 4, 5), got (2, 5, 4)");
  CHECK(error_text({.lse = {0, 0, 0}}) == "softmax_attention: lse must have shape (2, 4, 5), got (0, 0, 0)");
}

TEST_CASE("Tensors of lower rank are named as the caller sees them") {
  const Tensor<float, 2> q(5, 6), k(7, 6), v(7, 3), narrow(7, 5), few(6, 3);
  const auto attend = heed::softmax_attention();
  CHECK_THROWS_WITH(attend(q, narrow, v), "softmax_attention: k has width 5, q has 6");
  CHECK_THROWS_WITH(attend(q, k, few), contains("k and v must agree but for the last axis"));
  Tensor<float, 2> out(5, 4);
  Tensor<float, 1> lse(4);
  CHECK_THROWS_WITH(attend(q, k, v, heed::into(out)), contains("softmax_attention: out must have shape"));
  out.resize(5, 3);
  CHECK_THROWS_WITH(attend(q, k, v, heed::into(out, lse)), contains("softmax_attention: lse must have shape"));
}

TEST_CASE("Options out of range") {
  const auto text = [](heed::SoftmaxOptions options) {
    return error_text(std::nullopt, heed::everything(), {}, options);
  };
  CHECK(text({.scale = kInfinity}) == "softmax_attention: the scale must be finite, got inf");
  CHECK(text({.scale = -kInfinity}) == "softmax_attention: the scale must be finite, got -inf");
  CHECK(text({.scale = 1e39}) == "softmax_attention: the scale must be finite, got 1e+39");
  CHECK_THAT(text({.scale = kNaN}), contains("softmax_attention: the scale must be finite, got "));
  CHECK(text({.position_offset = (Index(1) << 29) + 1}) ==
        "softmax_attention: position_offset must be within 2^29 of 0, got 536870913");
  CHECK(text({.position_offset = std::numeric_limits<Index>::min()}) ==
        "softmax_attention: position_offset must be within 2^29 of 0, got -9223372036854775808");
  CHECK(text({.position_offset = -(Index(1) << 29)}) == "");
}

TEST_CASE("Score modifiers that do not fit") {
  const auto text = [](const ErasedScore& score) { return error_text(score, heed::everything()); };
  const Tensor<float, 1> three(3);
  CHECK(text(heed::alibi(three)) == "alibi: slopes must have shape (H) = (4), got (3)");
  CHECK(text(heed::sink_logit(three)) == "sink_logit: logits must have shape (H) = (4), got (3)");
  CHECK(text(heed::softcap(3) | heed::alibi(three)) == "alibi: slopes must have shape (H) = (4), got (3)");
  CHECK(text(heed::alibi(three) | heed::softcap(3)) == "alibi: slopes must have shape (H) = (4), got (3)");
  CHECK(text(heed::when(true, heed::alibi(three))) == "alibi: slopes must have shape (H) = (4), got (3)");
  const auto bias = [&](std::array<Index, 4> sizes) {
    const T4 tensor = random_tensor<float, 4>(sizes, 1);
    return text(heed::bias(tensor));
  };
  CHECK(bias({2, 4, 5, 8}) == "bias: the bias must be broadcastable to (2, 4, 5, 7), got (2, 4, 5, 8)");
  CHECK(bias({2, 2, 5, 7}) == "bias: the bias must be broadcastable to (2, 4, 5, 7), got (2, 2, 5, 7)");
  CHECK(bias({2, 4, 0, 7}) == "bias: the bias must be broadcastable to (2, 4, 5, 7), got (2, 4, 0, 7)");
  const Tensor<float, 2> turned(7, 5);
  CHECK(text(heed::bias(turned)) == "bias: the bias must be broadcastable to (2, 4, 5, 7), got (1, 1, 7, 5)");
  CHECK_THROWS_WITH(heed::softcap(0), "softcap: the cap must be positive and finite, got 0");
  CHECK_THROWS_WITH(heed::softcap(-1), "softcap: the cap must be positive and finite, got -1");
  CHECK_THROWS_WITH(heed::softcap(kInfinity), "softcap: the cap must be positive and finite, got inf");
  CHECK_THROWS_WITH(heed::softcap(kNaN), contains("softcap: the cap must be positive and finite, got "));
  CHECK_THROWS_WITH(heed::scale_by(kInfinity), "scale_by: the factor must be finite, got inf");
  CHECK_THROWS_WITH(heed::scale_by(kNaN), contains("scale_by: the factor must be finite, got "));
}

TEST_CASE("Rules that do not fit") {
  const auto text = [](const ErasedRule& rule) { return error_text(std::nullopt, rule); };
  Tensor<std::int32_t, 1> three(3), two(2);
  three.setZero();
  CHECK(text(heed::prefix(three)) == "prefix: lengths must have shape (B) = (2), got (3)");
  CHECK(text(heed::key_lengths(three)) == "key_lengths: lengths must have shape (B) = (2), got (3)");
  two.setValues({3, 8});
  CHECK(text(heed::key_lengths(two)) == "key_lengths: lengths(1) = 8 is outside of 0 .. M = 7");
  two.setValues({-1, 3});
  CHECK(text(heed::key_lengths(two)) == "key_lengths: lengths(0) = -1 is outside of 0 .. M = 7");
  for (const ErasedRule& rule :
       {ErasedRule(heed::causal() && heed::key_lengths(two)), ErasedRule(heed::key_lengths(two) && heed::causal()),
        ErasedRule(heed::causal() || heed::key_lengths(two)), ErasedRule(!heed::key_lengths(two)),
        ErasedRule(heed::when(true, heed::key_lengths(two)))})
    CHECK(text(rule) == "key_lengths: lengths(0) = -1 is outside of 0 .. M = 7");
  CHECK(text(heed::when(false, heed::key_lengths(two))) == "");
  CHECK_THROWS_WITH(heed::window_left(-1),
                    "window_left: the width must be 0 or more, got -1; leave the rule out for no limit");
  CHECK_THROWS_WITH(heed::window_right(-2),
                    "window_right: the width must be 0 or more, got -2; leave the rule out for no limit");
  CHECK_THROWS_WITH(heed::window(3, -2),
                    "window_right: the width must be 0 or more, got -2; leave the rule out for no limit");
  CHECK_THROWS_WITH(heed::sink_tokens(-1), "sink_tokens: the count must be 0 or more, got -1");
}

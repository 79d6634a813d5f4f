// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/in_context_multimodal_attention.hpp"

#include "heed/autodiff/attention.hpp"
#include "heed/autodiff/concat.hpp"
#include "heed/autodiff/elementwise.hpp"
#include "heed/autodiff/linear.hpp"
#include "heed/autodiff/normalize.hpp"
#include "heed/autodiff/rotary.hpp"
#include "support/cross.hpp"
#include "support/finite_differences.hpp"

using namespace heed::test;
using heed::Index;
using heed::Tensor;

namespace {

heed::InContextMultimodalAttention<double> attention() {
  heed::InContextMultimodalAttention<double> attend{{.num_heads = 2, .rope_axes = {2, 4}, .rope_base = 50}};
  for (auto* stream : {&attend.image, &attend.text}) {
    fill_projections(*stream, 12, 12, 12);
    stream->q_norm.weight = fresh<1>({6});
    stream->k_norm.weight = fresh<1>({6});
  }
  return attend;
}

Tensor<std::int32_t, 3> places(Index tokens) {
  Tensor<std::int32_t, 3> at(2, tokens, 2);
  for (Index b = 0; b < 2; ++b)
    for (Index i = 0; i < tokens; ++i) {
      at(b, i, 0) = std::int32_t(i % 5 + b);
      at(b, i, 1) = std::int32_t(i / 5);
    }
  return at;
}

// Heads of one stream, normed, with the boundary, and rotated.
Tensor<double, 3> placed(const heed::Linear<double>& layer, const heed::RmsNorm<double>& norm,
                         const Tensor<double, 3>& x, const Tensor<double, 3>* boundary,
                         const Tensor<std::int32_t, 3>& at, Index first) {
  Tensor<double, 3> y = merged(norm(heads_of(apply(layer, x), 2)));
  if (boundary) y += *boundary;
  Tensor<double, 3> z = y;
  for (Index b = 0; b < y.dimension(0); ++b)
    for (Index i = 0; i < y.dimension(1); ++i)
      for (Index h = 0; h < 2; ++h)
        for (Index pair = 0; pair < 3; ++pair) {
          const double frequency = pair == 0 ? 1 : std::pow(50.0, -2.0 * double(pair - 1) / 4);
          const double angle = at(b, first + i, pair == 0 ? 0 : 1) * frequency;
          const Index c = h * 6 + 2 * pair;
          z(b, i, c) = y(b, i, c) * std::cos(angle) - y(b, i, c + 1) * std::sin(angle);
          z(b, i, c + 1) = y(b, i, c) * std::sin(angle) + y(b, i, c + 1) * std::cos(angle);
        }
  return z;
}

}  // namespace

TEST_CASE("in_context_multimodal_attention is its definition, with either switch") {
  for (const auto& [ni, nt, r] : {std::array<Index, 3>{1, 1, 1}, {17, 3, 2}, {4, 0, 3}})
    for (const bool marked : {false, true})
      for (const bool registered : {false, true}) {
        CAPTURE(ni, nt, r, marked, registered);
        auto attend = attention();
        attend.options.use_boundary = marked;
        attend.options.use_registers = registered;
        const auto image = fresh<3>({2, ni, 12}), text = fresh<3>({2, nt, 12}), boundary = fresh<3>({2, ni, 12});
        const auto registers = fresh<4>({2, 2, r, 12});
        const auto at = places(nt + ni);
        const auto* panel = marked ? &boundary : nullptr;
        const auto q = heed::concat<1>(placed(attend.text.q, attend.text.q_norm, text, nullptr, at, 0),
                                       placed(attend.image.q, attend.image.q_norm, image, panel, at, nt));
        auto k = heed::concat<1>(placed(attend.text.k, attend.text.k_norm, text, nullptr, at, 0),
                                 placed(attend.image.k, attend.image.k_norm, image, panel, at, nt));
        auto v = heed::concat<1>(apply(attend.text.v, text), apply(attend.image.v, image));
        if (registered) {
          k = heed::concat<1>(k, heed::view(registers).select(1, 0));
          v = heed::concat<1>(v, heed::view(registers).select(1, 1));
        }
        const auto o = mixed(q, k, v, 2);
        const auto got = attend(image, text, at, boundary, registers);
        const Tensor<double, 3> of_text = heed::contiguous(heed::view(o).slice(1, 0, nt));
        const Tensor<double, 3> of_image = heed::contiguous(heed::view(o).slice(1, nt, ni));
        CHECK(error_of(got.text_out, apply(attend.text.out, of_text)) < 1e-12);
        CHECK(error_of(got.image_out, apply(attend.image.out, of_image)) < 1e-12);
        attend.options.rope_axes = {2, 2};
        CHECK_THROWS_AS(attend(image, text, at, boundary, registers), heed::Error);
      }
}

TEST_CASE("Gradients of in_context_multimodal_attention, where only the registers are recorded") {
  auto attend = attention();
  const auto image = fresh<3>({2, 2, 12}), text = fresh<3>({2, 2, 12}), boundary = fresh<3>({2, 2, 12});
  auto registers = fresh<4>({2, 2, 2, 12});
  const auto at = places(4);
  check_gradients(
      [&](auto&, const auto& r) {
        const auto result = attend(image, text, at, boundary, r);
        return std::make_tuple(result.image_out, result.text_out);
      },
      registers, attend.image.k_norm);
}

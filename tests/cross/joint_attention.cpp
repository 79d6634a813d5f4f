// SPDX-License-Identifier: Apache-2.0
#include "heed/cross/joint_attention.hpp"

#include "support/cross.hpp"

using namespace heed::test;
using heed::Index;
using heed::QueryKeyNorm;
using heed::Tensor;

namespace {

heed::JointAttention<double> attention(Index heads, Index width, QueryKeyNorm norm) {
  heed::JointAttention<double> attend{{.num_heads = heads, .qk_norm = norm}};
  for (auto* stream : {&attend.context, &attend.x}) {
    fill_projections(*stream, heads * width, heads * width, heads * width);
    stream->q_norm = fresh_norm(width);
    stream->k_norm = fresh_norm(width);
  }
  return attend;
}

}  // namespace

TEST_CASE("joint_attention is attention over both streams") {
  for (const auto& [first, second] : {std::pair<Index, Index>{1, 1}, {3, 5}, {0, 4}, {17, 20}})
    for (const auto norm : {QueryKeyNorm::kNone, QueryKeyNorm::kRms, QueryKeyNorm::kLayer}) {
      CAPTURE(first, second, int(norm));
      auto attend = attention(2, 4, norm);
      const auto z = fresh<3>({2, first, 8}), x = fresh<3>({2, second, 8});
      const auto normed = [&](const heed::LayerNorm<double>& layer, const Tensor<double, 3>& tokens) {
        if (norm == QueryKeyNorm::kNone) return tokens;
        const auto heads = heads_of(tokens, 2);
        if (norm == QueryKeyNorm::kRms) return merged(heed::rms_norm(heads, layer.weight, 1e-6));
        return merged(heed::layer_norm(heads, layer.weight, layer.bias, 1e-6));
      };
      const auto joined = [&](auto layer, auto norms) {
        return heed::concat<1>(normed(attend.context.*norms, apply(attend.context.*layer, z)),
                               normed(attend.x.*norms, apply(attend.x.*layer, x)));
      };
      using Stream = heed::JointStream<double>;
      const auto v = heed::concat<1>(apply(attend.context.v, z), apply(attend.x.v, x));
      const auto o = mixed(joined(&Stream::q, &Stream::q_norm), joined(&Stream::k, &Stream::k_norm), v, 2);
      const auto got = attend(z, x);
      const Tensor<double, 3> of_z = heed::contiguous(heed::view(o).slice(1, 0, first));
      const Tensor<double, 3> of_x = heed::contiguous(heed::view(o).slice(1, first, second));
      CHECK(error_of(got.context_out, apply(attend.context.out, of_z)) < 1e-12);
      CHECK(error_of(got.x_out, apply(attend.x.out, of_x)) < 1e-12);

      // The context is read and dropped: it needs no output layer.
      attend.options.pre_only = true;
      attend.context.out = {};
      const auto last = attend(z, x);
      CHECK(last.context_out.size() == 0);
      CHECK(error_of(last.x_out, got.x_out) < 1e-14);
    }
}

TEST_CASE("joint_attention: what does not fit") {
  auto attend = attention(2, 3, QueryKeyNorm::kNone);
  CHECK_THROWS_AS(attend(fresh<3>({2, 3, 6}), fresh<3>({1, 3, 6})), heed::Error);
  CHECK_THROWS_AS(attend(fresh<3>({1, 3, 4}), fresh<3>({1, 3, 6})), heed::Error);
  attend.options.qk_norm = QueryKeyNorm::kL2;
  CHECK_THROWS_WITH(attend(fresh<3>({1, 3, 6}), fresh<3>({1, 3, 6})),
                    "joint_attention: qk_norm must be kNone, kRms or kLayer");
}

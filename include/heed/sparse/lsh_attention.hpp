// SPDX-License-Identifier: Apache-2.0
// lsh_attention: attention of tokens to those that fall into the same buckets of random rotations.
#pragma once

#include "heed/attention/mask/key_ranges.hpp"
#include "heed/attention/mask/segments.hpp"
#include "heed/attention/routed.hpp"
#include "heed/attention/schedule/lsh_buckets.hpp"
#include "heed/attention/score/fill.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/gather.hpp"
#include "heed/block/l2_normalize.hpp"
#include "heed/block/matmul.hpp"

namespace heed::inline HEED_ISA {

/// Inputs that a call may have: views, whose tensors must outlive the call, and of a recorded one the recording.
struct LshAttentionInputs {
  View<const std::uint8_t, 2> input_mask = {};  ///< (B, N), or of null data for all
};

/// Reformer's attention with shared queries and keys. In each of R rounds tokens are hashed into nb = N / bucket_size
/// buckets, the place of the largest of [y, -y] with y = qk rotations[:, r], and sorted by bucket, then by position.
/// All R N are cut into chunks of bucket_size; a query attends to its chunk and the one before it, on the ring of all
/// chunks.
///
///   heed::LshAttention attend{{.bucket_size = 64, .causal = true}};
///   auto [y, buckets] = attend(qk, v, rotations);           // or attend(device, qk, v, rotations, {.input_mask = m})
///
/// qk (B, N, D), v and y (B, N, Dv), rotations (D, R, nb / 2), Gaussian; buckets (B, R, N) int32, those of round r from
/// r nb on. Scores are q . unit(k) / sqrt(D). Not attended: keys behind the query if causal, pairs of which
/// inputs.input_mask (B, N; 1 = keep) hides one, pairs of different buckets unless attend_across_buckets. A token meets
/// itself with the score -5e4 (in float -512, see FilledScores): only where there is no other. The rounds are merged by
/// their log-sum-exps; a pair that meets in several rounds counts each time. No gradient to the rotations. N must be a
/// multiple of 2 bucket_size. Throws heed::Error for that and for shapes that do not fit. Time O(R N 2 bucket_size D).
/// The same bits for any number of threads. Source: Kitaev et al., ICLR 2020, Reformer; LSHAttention of
/// lucidrains/reformer-pytorch.
struct LshAttention {
  struct Options {
    Index bucket_size = 64;  ///< 1 or more
    bool causal = false;
    bool attend_across_buckets = true;
  };
  using Inputs = LshAttentionInputs;
  template <class Out>
  struct Result {
    Out out;
    Tensor<std::int32_t, 3> buckets;
  };

  Options options = {};

  template <Operand Q, Operand V, TensorLike R>
  auto operator()(const Q& qk, const V& v, const R& rotations, const Inputs& inputs = {}) const {
    return (*this)(DeviceRef(), qk, v, rotations, inputs);
  }
  template <Device D, Operand Q, Operand V, TensorLike R>
  auto operator()(const D& device, const Q& qk_like, const V& v_like, const R& rotations,
                  const Inputs& inputs = {}) const {
    static_assert(kOperandRank<Q> == 3 && kOperandRank<V> == 3 && kRankOf<R> == 3,
                  "heed::LshAttention: qk and v are (B, N, D), rotations (D, R, nb / 2)");
    using T = OperandScalar<Q>;
    const auto sizes = sizes_of(qk_like);
    check(sizes, sizes_of(v_like), const_view(rotations).sizes, inputs.input_mask);
    const Index batch = sizes[0], tokens = sizes[1], rounds = const_view(rotations).size(1), size = options.bucket_size;
    const auto qk = parameter_with(qk_like, v_like);
    const auto v = parameter_with(v_like, qk_like);
    const auto turned = packed_with(rotations);
    const auto y = matmul(device, values_of(qk), const_view(turned).merge(1).template promote<3>());
    LshOrder order = lsh_order(device, const_view(y), rounds);

    // Keys are the sorted tokens with the last chunk once more in front: the chunks of query s are then keys begin(s)
    // .. begin(s) + 2 size - 1.
    const Index count = rounds * tokens;
    Tensor<std::int32_t, 2> key_token(batch, size + count), bucket(batch, size + count);
    Tensor<std::int32_t, 3> place(batch, 1, size + count);
    Routes routes;
    detail::resize_routes(routes, batch, 1, 0, count, rounds);
    routes.place = std::move(order.place);
    routes.by_query = false;
    for (Index b = 0; b < batch; ++b) {
      for (Index s = 0; s < count; ++s) {
        const std::int32_t token = order.token(b, s);
        const bool kept = !inputs.input_mask.data || inputs.input_mask(b, token) != 0;
        key_token(b, size + s) = token;
        place(b, 0, size + s) = kept ? token : -1 - token;
        detail::write_route(routes, b * count + s, token, s / size * size, (s / size + 2) * size);
      }
      for (Index r = 0, s = 0; r < rounds; ++r)
        for (Index n = 0; n < tokens; ++n, ++s) bucket(b, size + s) = order.buckets(b, r, order.token(b, s));
      const auto close_ring = [&](std::int32_t* row) { std::copy_n(row + count, size, row); };
      for (auto* keys : {&key_token, &bucket}) close_ring(keys->data() + b * (size + count));
      close_ring(place.data() + b * (size + count));
    }
    const auto keep = [&](const auto& x) { return packed_with(x, qk, v); };
    const auto kept_place = keep(place), begin = keep(routes.begin), end = keep(routes.end);
    const auto kept_bucket = keep(bucket);
    const auto queries = [&](const auto& x, int axis) { return const_view(x).slice(axis, size, count); };
    const auto attention =
        softmax_attention(fill_scores(queries(kept_place, 2), const_view(kept_place), options.causal, true),
                          key_ranges(begin, end) && when(!options.attend_across_buckets,
                                                         segments(queries(kept_bucket, 1), const_view(kept_bucket))));

    const auto one_head = [](const auto& x) { return view(x).split(0, 1); };
    auto&& space = intermediates<T>(kName, qk_like, v_like);
    const auto keys = space.template make<3>({batch, size + count, sizes[2]});
    const auto values = space.template make<3>({batch, size + count, sizes_of(v)[2]});
    gather(device, l2_normalize(device, qk), key_token, keys);
    gather(device, v, key_token, values);
    auto merged = make_output<T, 3>(kName, sizes_of(v), qk_like, v_like);
    attend_routes(device, attention, routes, one_head(qk), one_head(keys), one_head(values),
                  into(one_head(view(merged))));
    return Result<decltype(merged)>{std::move(merged), std::move(order.buckets)};
  }

 private:
  static constexpr std::string_view kName = "lsh_attention";

  void check(const std::array<Index, 3>& qk, const std::array<Index, 3>& v, const std::array<Index, 3>& rotations,
             const View<const std::uint8_t, 2>& mask) const {
    const Index size = options.bucket_size;
    require(size > 0 && qk[1] > 0 && qk[1] % (2 * size) == 0, kName, "N = ", qk[1],
            " must be a multiple of 2 bucket_size = ", 2 * size);
    require(v[0] == qk[0] && v[1] == qk[1], kName, "v must have shape (B, N, Dv) = (", qk[0], ", ", qk[1],
            ", Dv), got ", shape_text(v));
    require(rotations[0] == qk[2] && rotations[1] > 0 && rotations[2] == qk[1] / size / 2, kName,
            "rotations must have shape (D, R, N / bucket_size / 2) = (", qk[2], ", R, ", qk[1] / size / 2, "), got ",
            shape_text(rotations));
    if (mask.data) require_shape(kName, "input_mask", mask.sizes, std::array<Index, 2>{qk[0], qk[1]});
  }
};

}  // namespace heed::inline HEED_ISA

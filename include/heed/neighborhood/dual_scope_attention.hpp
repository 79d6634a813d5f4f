// SPDX-License-Identifier: Apache-2.0
// dual_scope_attention: the frames around a frame, and frames sampled from the whole video.
#pragma once

#include "heed/attention/mask/extra_keys.hpp"
#include "heed/attention/softmax_attention.hpp"
#include "heed/block/gather.hpp"

namespace heed::inline HEED_ISA {

namespace detail {

/// Adds one number to the scores of the first `keys` keys and another one to those of the others.
struct ScopeBias : ScoreModifierBase {
  Index keys;
  double local, global;
  static constexpr bool kMayHide = false;

  template <class S, Real T, Lanes L>
  HEED_INLINE S operator()(S s, const At<T, L>& at) const {
    const simd::Batch<T> first = simd::Batch<T>(T(local)), others = simd::Batch<T>(T(global));
    return s + S(simd::select(simd::to_mask<T>(at.key() < lane_value(at, keys)), first, others));
  }
};

}  // namespace detail

/// Temporal attention of the frames of a video: softmax over the 2 p + 1 frames around each one and over frames that
/// are sampled from all clips, together.
///
///   heed::DualScopeAttention attend{{.world_size = 4, .padding = 8, .top_k = 16}};
///   auto out = attend(q, k, v);                             // or attend(device, q, k, v)
///
/// q, k (B, H, T, D), v (B, H, T, Dv), out (B, H, T, Dv): all frames in order, world_size clips of n = T / world_size
/// frames. p = padding, G = top_k:
///
/// 1. Global frames: of every clip frames 0, stride, 2 stride, .. below n, stride = max(n / share, 1) with share =
///    G / world_size, or frame 0 alone where share is 0; of all of them in order the first G.
/// 2. Frame t sees the local frames t - p .. t + p and the global ones. Frames outside of the video are keys and values
///    of 0, and count. A frame that is local and global counts twice.
/// 3. The scale is attn_scale / sqrt(D), with token_num_scale times ln(2 p + 1 + global frames) / ln 16; local scores
///    get local_bias, global ones global_bias.
///
/// The authors take biases 10 and 0 for denoising steps below 800 and 0 and 10 from there on. This is the whole in one
/// process; clip parallelism gives the same. Throws heed::Error, before anything is written, for shapes and options
/// that do not fit. Time O(T (2 p + G) D); the same bits for any number of threads. Source: Tan et al. 2024,
/// Video-Infinity; the authors' AttentionPlugin.
struct DualScopeAttention {
  struct Options {
    Index world_size = 1;  ///< clips; divides T
    Index padding = 24;    ///< frames on each side, 0 .. n
    Index top_k = 16;      ///< global frames at most, 0 or more
    double attn_scale = 1.0;
    bool token_num_scale = false;
    double local_bias = 0.0;
    double global_bias = 0.0;
  };

  Options options = {};

  /// The attention of consecutive frames of width D over frames + 2 padding local keys and, behind those, the global
  /// ones: what is left to do once the keys are together.
  auto over_both_scopes(Index frames, Index global, Index width) const {
    const Index around = options.padding, local = frames + 2 * around;
    double factor = options.attn_scale / std::sqrt(double(width));
    if (options.token_num_scale) factor *= std::log(double(2 * around + global + 1)) / std::log(16.0);
    const detail::ScopeBias scopes{{}, local, options.local_bias, options.global_bias};
    return softmax_attention(scopes, with_extra_keys(window(around, around), local),
                             {.scale = factor, .position_offset = around});
  }

  template <Operand Q, Operand K, Operand V>
  auto operator()(const Q& q, const K& k, const V& v) const {
    return (*this)(DeviceRef(), q, k, v);
  }
  template <Device D, Operand Q, Operand K, Operand V>
  auto operator()(const D& device, const Q& q, const K& k, const V& v) const {
    static_assert(kOperandRank<Q> == 4 && kOperandRank<K> == 4 && kOperandRank<V> == 4,
                  "heed::DualScopeAttention: q, k and v are (B, H, T, D)");
    const auto sizes = sizes_of(q);
    check(sizes, sizes_of(k), sizes_of(v));
    const Index frames = sizes[2], around = options.padding, local = frames + 2 * around;
    const std::vector<std::int32_t> sampled = global_frames(frames);
    const Index keys = local + Index(sampled.size());

    // Frames of zeros, the video, frames of zeros, the global frames: gathered rows, of which -1 is 0.
    ScratchFrame frame;
    auto* const rows = frame.take<std::int32_t>(keys);
    for (Index j = 0; j < local; ++j)
      rows[j] = std::int32_t(j >= around && j < around + frames ? j - around : Index(-1));
    std::copy(sampled.begin(), sampled.end(), rows + local);
    const View<const std::int32_t, 3> indices(rows, {sizes[0], sizes[1], keys}, {0, 0, 1});
    const auto all_k = gather(device, k, indices), all_v = gather(device, v, indices);

    return over_both_scopes(frames, Index(sampled.size()), sizes[3])(device, q, all_k, all_v);
  }

  /// The frames of a video of `frames` that every frame sees, in order.
  std::vector<std::int32_t> global_frames(Index frames) const {
    const Index clip = frames / options.world_size, share = options.top_k / options.world_size;
    const Index stride = share > 0 ? std::max<Index>(clip / share, 1) : std::max<Index>(clip, 1);
    std::vector<std::int32_t> result;
    for (Index t = 0; t < frames && Index(result.size()) < options.top_k; ++t)
      if (t % clip % stride == 0) result.push_back(std::int32_t(t));
    return result;
  }

  /// Throws heed::Error unless q, k and v of these shapes fit the options.
  void check(const std::array<Index, 4>& q, const std::array<Index, 4>& k, const std::array<Index, 4>& v) const {
    const Options& o = options;
    require_shape(kName, "k", k, q);
    require_shape(kName, "v", v, {q[0], q[1], q[2], v[3]});
    require(o.world_size > 0 && q[2] % o.world_size == 0, kName, "world_size must be 1 or more and divide T = ", q[2],
            ", got ", o.world_size);
    require(o.padding >= 0 && o.padding <= q[2] / o.world_size, kName,
            "padding must be in 0 .. T / world_size = ", q[2] / o.world_size, ", got ", o.padding);
    require(o.top_k >= 0, kName, "top_k must be 0 or more, got ", o.top_k);
    require(std::isfinite(o.attn_scale) && std::isfinite(o.local_bias) && std::isfinite(o.global_bias), kName,
            "attn_scale, local_bias and global_bias must be finite, got ", o.attn_scale, ", ", o.local_bias, " and ",
            o.global_bias);
  }

 private:
  static constexpr std::string_view kName = "dual_scope_attention";
};

}  // namespace heed::inline HEED_ISA

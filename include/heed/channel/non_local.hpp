// SPDX-License-Identifier: Apache-2.0
// non_local: attention of every position of a map, or of a volume, over every position, beside the map itself.
#pragma once

#include "heed/attention/softmax_attention.hpp"
#include "heed/block/batch_norm.hpp"
#include "heed/block/concat.hpp"
#include "heed/block/gate.hpp"
#include "heed/block/heads.hpp"
#include "heed/block/matmul.hpp"
#include "heed/block/max_pool.hpp"

namespace heed::inline HEED_ISA {

/// out = BN(out(A v)) + x, the BN only where it has parameters. Scores S = q . k of 1x1 convolutions q, k and v of x
/// (kGaussian: q = k = x), times Ci^(-1/2) with `use_scale`; kConcatenation: S = relu(concat.weight[0 .. Ci - 1] . q +
/// concat.weight[Ci ..] . k). A = the softmax over the M keys, or S / M for kDotProduct and kConcatenation. With
/// `sub_sample` k and v are max pooled 2x2.
///
/// x (B, C, h, w), or a volume (B, C, t, h, w), whose frames are pooled one by one; out as x. q, k and v.weight (Ci,
/// C), out.weight (C, Ci), biases optional, concat.weight (2 Ci), out_bn.{weight,bias,mean,var} (C) or empty. Ci (the
/// paper: C / 2) follows from the shapes. Throws heed::Error for shapes that do not fit, a map without positions and
/// `sub_sample` of one row or column. Time O(B N M (C + Ci)) with N positions, without N x M memory; kDotProduct
/// O(B N Ci^2), by k^T v; kConcatenation keeps N M numbers. The same bits for any number of threads.
/// Source: Wang et al. 2018, eq. 1-6.
template <Real T>
struct NonLocal {
  enum class Mode { kEmbeddedGaussian, kGaussian, kDotProduct, kConcatenation };
  struct Options {
    Mode mode = Mode::kEmbeddedGaussian;
    bool sub_sample = true;
    bool use_scale = false;
  };

  Options options = {};
  ConvChannels<T> q = {}, k = {}, v = {}, out = {};
  Tensor<T, 1> concat_weight = {};
  BatchNorm<T> out_bn = {};

  template <class F>
  void for_each_parameter(F&& f) {
    if (options.mode == Mode::kGaussian) {
      visit_part("q.", q, f, heed::optional);
      visit_part("k.", k, f, heed::optional);
    } else {
      visit_parts(f, "q.", q, "k.", k);
    }
    visit_part("v.", v, f);
    f("concat.weight", concat_weight, heed::optional);
    visit_part("out.", out, f);
    visit_part("out_bn.", out_bn, f, heed::optional);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 4 || kOperandRank<X> == 5, "heed::NonLocal: x is (B, C, h, w) or (B, C, t, h, w)");
    const auto sizes = sizes_of(x);
    if constexpr (kOperandRank<X> == 4) {
      return run(device, x, sizes[2]);
    } else {
      const auto y = run(device, view(x).merge(2), sizes[3]);
      return contiguous(device, view(y).template reshape<5>(sizes));
    }
  }

 private:
  static constexpr std::string_view kName = "non_local";

  // Of frames of `rows` rows, one below the other.
  template <Device D, Operand X>
  auto run(const D& device, const X& x, Index rows) const {
    require_map(kName, x);
    const auto sizes = sizes_of(x);
    check(sizes, rows);
    const auto values = v(device, x);
    auto mixed = make_output<T, 4>(kName, {sizes[0], v.weight.dimension(0), sizes[2], sizes[3]}, x);
    const auto attend = [&](const auto& queries, const auto& keys) {
      if (!options.sub_sample) return mix(device, queries, keys, values, mixed);
      const auto pool = [&](const auto& y) {
        return max_pool(device, view(y).split(2, rows).merge(1), {.kernel = {2, 2}});
      };
      const auto frames = [&](const auto& y) { return view(y).split(1, sizes[2] / rows).merge(2); };
      const auto fewer = pool(keys), fewer_values = pool(values);
      mix(device, queries, frames(fewer), frames(fewer_values), mixed);
    };
    if (options.mode == Mode::kGaussian) {
      attend(x, x);
    } else {
      const auto queries = q(device, x), keys = k(device, x);
      attend(queries, keys);
    }
    const auto result = out(device, mixed);
    return add(device, out_bn.mean.size() > 0 ? out_bn(device, result) : result, x);
  }

  template <Device D, Operand Q, Operand K, Operand V, Operand O>
  void mix(const D& device, const Q& queries, const K& keys, const V& values, O& mixed) const {
    const double factor = options.use_scale ? 1 / std::sqrt(double(v.weight.dimension(0))) : 1;
    const double share = 1 / double(sizes_of(keys)[2] * sizes_of(keys)[3]);
    const auto rows = [](auto& y) { return view(y).merge(2); };
    if (options.mode == Mode::kDotProduct) {
      const auto gathered = matmul(device, rows(keys), rows(values).permute({0, 2, 1}));
      const auto scaled = scale(device, gathered, factor * share);
      matmul(device, view(scaled).permute({0, 2, 1}), rows(queries), rows(mixed));
    } else if (options.mode == Mode::kConcatenation) {
      const Index width = v.weight.dimension(0);
      const auto weight = parameter_with(concat_weight, values);
      const Tensor<T, 1> none;
      const auto of = [&](const auto& y, Index first) {
        return conv_channels(device, rows(y), weight.slice(0, first, width).split(0, width), none);
      };
      const auto of_q = of(queries, 0), of_k = of(keys, width);  // (B, 1, N) and (B, 1, M)
      const auto scores = relu(device, add(device, view(of_k).permute({0, 2, 1}), of_q));
      matmul(device, rows(values), scale(device, scores, share), rows(mixed));
    } else {
      softmax_attention(SoftmaxOptions{.scale = factor})(device, split_map_heads(queries, 1), split_map_heads(keys, 1),
                                                         split_map_heads(values, 1),
                                                         into(split_map_heads(view(mixed), 1)));
    }
  }

  void check(const std::array<Index, 4>& x, Index rows) const {
    require_parameter(kName, "v.weight", v.weight, {-1, x[1]});
    const Index inner = v.weight.dimension(0);
    if (options.mode != Mode::kGaussian) {
      require_parameter(kName, "q.weight", q.weight, {inner, x[1]});
      require_parameter(kName, "k.weight", k.weight, {inner, x[1]});
    }
    require_parameter(kName, "out.weight", out.weight, {x[1], inner});
    if (options.mode == Mode::kConcatenation) require_parameter(kName, "concat.weight", concat_weight, {2 * inner});
    require(!options.sub_sample || (rows > 1 && x[3] > 1), kName,
            "sub_sample leaves no keys of a map of less than two rows and columns, got ", rows, " and ", x[3]);
  }
};

}  // namespace heed::inline HEED_ISA

// SPDX-License-Identifier: Apache-2.0
// Attention as a C++ user writes it with Eigen today: by head and by block of queries, a product, a softmax by rows, a
// product. Blocks keep the scores in cache and let causal and windowed attention leave out keys that no query of the
// block sees. Heads are spread over the threads.
#pragma once

#include <cmath>

#include "../attention/problem.hpp"

namespace bench {

using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

inline constexpr Eigen::Index kEigenQueryBlock = 128;

template <class Cache>
void plain_eigen_head(const Problem<Cache>& p, float* result, Eigen::Index head) {
  using Eigen::Index;
  using Keys = Eigen::Matrix<Cache, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Workload& w = p.workload;
  const Index b = head / w.H, h = head % w.H, kv_head = b * w.Hkv + h / (w.H / w.Hkv), offset = w.M - w.N;
  const Eigen::Map<const RowMajor> q(p.q.data() + head * w.N * w.D, w.N, w.D);
  const Eigen::Map<const Keys> stored_k(p.k.data() + kv_head * w.M * w.D, w.M, w.D);
  const Eigen::Map<const Keys> stored_v(p.v.data() + kv_head * w.M * w.D, w.M, w.D);
  Eigen::Map<RowMajor> out(result + head * w.N * w.D, w.N, w.D);

  static thread_local RowMajor widened_k, widened_v, s;
  const auto k = [&]() -> Eigen::Ref<const RowMajor> {
    if constexpr (std::same_as<Cache, float>)
      return stored_k;
    else
      return widened_k = stored_k.template cast<float>();
  }();
  const auto v = [&]() -> Eigen::Ref<const RowMajor> {
    if constexpr (std::same_as<Cache, float>)
      return stored_v;
    else
      return widened_v = stored_v.template cast<float>();
  }();

  const float scale = 1.0f / std::sqrt(float(w.D));
  const Eigen::ArrayXf key_position = Eigen::ArrayXf::LinSpaced(w.score ? w.M : 0, 0.0f, float(w.M - 1));
  for (Index from = 0; from < w.N; from += kEigenQueryBlock) {
    const Index rows = std::min(kEigenQueryBlock, w.N - from);
    const auto first_key = [&](Index i) { return w.window > 0 ? std::max<Index>(0, i + offset + 1 - w.window) : 0; };
    const auto end_key = [&](Index i) { return w.causal ? std::clamp<Index>(i + offset + 1, 0, w.M) : w.M; };
    const Index begin = first_key(from), keys = end_key(from + rows - 1) - begin;
    if (rows == 1) {  // a matrix-vector product, which Eigen does not make of a product of one row by itself
      s.resize(1, keys);
      s.row(0).transpose().noalias() = k.middleRows(begin, keys) * q.row(from).transpose();
    } else {
      s.noalias() = q.middleRows(from, rows) * k.middleRows(begin, keys).transpose();
    }
    s *= scale;
    if (w.bias) s += Eigen::Map<const RowMajor>(p.bias.data() + h * w.N * w.M, w.N, w.M).block(from, begin, rows, keys);
    Eigen::Array<float, Eigen::Dynamic, 1> inverse(rows);
    for (Index r = 0; r < rows; ++r) {
      const Index i = from + r, first = first_key(i) - begin, end = end_key(i) - begin;
      auto row = s.row(r).segment(first, end - first).array();
      if (w.score) row = row * 0.5f + (float(i + offset) - key_position.transpose()) * 0.01f;
      row = (row - row.maxCoeff()).exp();
      inverse(r) = 1.0f / row.sum();
      s.row(r).head(first).setZero();
      s.row(r).tail(keys - end).setZero();
    }
    auto block = out.middleRows(from, rows);
    if (rows == 1)
      block.row(0).noalias() = s.row(0) * v.middleRows(begin, keys);
    else
      block.noalias() = s * v.middleRows(begin, keys);
    block.array().colwise() *= inverse;
  }
}

// The gradients of a head: scores and weights again, by block of queries, then five products.
inline void plain_eigen_head_backward(const Problem<float>& p, float* result, Eigen::Index head) {
  using Eigen::Index;
  const Workload& w = p.workload;
  const Index size = w.N * w.D, all = p.q.size();
  const auto rows_of = [&](const float* data) { return Eigen::Map<const RowMajor>(data + head * size, w.N, w.D); };
  const auto gradient = [&](Index which) {
    return Eigen::Map<RowMajor>(result + which * all + head * size, w.N, w.D);
  };
  const auto q = rows_of(p.q.data()), k = rows_of(p.k.data()), v = rows_of(p.v.data()), d_out = rows_of(p.d_out.data()),
             out = rows_of(p.forward_out.data());
  auto d_q = gradient(0), d_k = gradient(1), d_v = gradient(2);
  d_k.setZero();
  d_v.setZero();
  static thread_local RowMajor weights, d_weights;
  const float scale = 1.0f / std::sqrt(float(w.D));
  for (Index from = 0; from < w.N; from += kEigenQueryBlock) {
    const Index rows = std::min(kEigenQueryBlock, w.N - from), keys = w.causal ? from + rows : w.M;
    weights.noalias() = q.middleRows(from, rows) * k.topRows(keys).transpose();
    d_weights.noalias() = d_out.middleRows(from, rows) * v.topRows(keys).transpose();
    for (Index r = 0; r < rows; ++r) {
      const Index end = w.causal ? from + r + 1 : keys;
      const float lse = p.lse.data()[head * w.N + from + r];
      const float delta = out.row(from + r).dot(d_out.row(from + r));
      auto row = weights.row(r).head(end).array();
      row = (row * scale - lse).exp();
      weights.row(r).tail(keys - end).setZero();
      d_weights.row(r).array() = weights.row(r).array() * (d_weights.row(r).array() - delta);
    }
    d_v.topRows(keys).noalias() += weights.transpose() * d_out.middleRows(from, rows);
    d_k.topRows(keys).noalias() += (scale * d_weights.transpose()) * q.middleRows(from, rows);
    d_q.middleRows(from, rows).noalias() = (scale * d_weights) * k.topRows(keys);
  }
}

template <class Cache>
std::function<void()> plain_eigen_call(Problem<Cache>& problem, heed::Tensor<float, 4>& result) {
  result.resize(problem.out.dimensions());
  return [&p = problem, &result] {
    const Eigen::Index heads = p.workload.B * p.workload.H;
    const auto some = [&](Eigen::Index first, Eigen::Index end) {
      for (Eigen::Index head = first; head < end; ++head) {
        if constexpr (std::same_as<Cache, float>)
          if (p.workload.backward) {
            plain_eigen_head_backward(p, result.data(), head);
            continue;
          }
        plain_eigen_head(p, result.data(), head);
      }
    };
    if (!p.device) return some(0, heads);
    const double work = p.workload.flops() / double(heads);
    p.device->parallelFor(heads, Eigen::TensorOpCost(0, 0, work), some);
  };
}

}  // namespace bench

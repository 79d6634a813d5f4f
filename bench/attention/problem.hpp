// SPDX-License-Identifier: Apache-2.0
// A workload with its tensors, and the heed operator that it asks for.
#pragma once

#include <concepts>
#include <functional>
#include <memory>
#include <stdexcept>
#include <type_traits>

#include "../common.hpp"
#include "heed/attention/softmax_attention.hpp"
#include "workloads.hpp"

namespace bench {

/// A score function of a few multiply-adds, as a user writes it.
struct UserScore {
  template <class S, class At>
  auto operator()(S s, const At& at) const {
    return s * 0.5f + at.distance() * 0.01f;
  }
};

template <class Cache>
struct Problem {
  Workload workload;
  heed::Tensor<float, 4> q, out, bias;
  heed::Tensor<Cache, 4> k, v;
  std::unique_ptr<Eigen::ThreadPool> pool;
  std::unique_ptr<Eigen::ThreadPoolDevice> device;  // none: serial

  explicit Problem(Workload w)
      : workload(std::move(w)),
        q(workload.B, workload.H, workload.N, workload.D),
        out(workload.B, workload.H, workload.N, workload.D),
        bias(1, workload.H, workload.bias ? workload.N : 0, workload.bias ? workload.M : 0),
        k(workload.B, workload.Hkv, workload.M, workload.D),
        v(workload.B, workload.Hkv, workload.M, workload.D) {
    fill_random(q, 1);
    fill_random(k, 2);
    fill_random(v, 3);
    fill_random(bias, 4);
    out.setZero();
    if (workload.threads > 1) {
      pool = std::make_unique<Eigen::ThreadPool>(workload.threads);
      device = std::make_unique<Eigen::ThreadPoolDevice>(pool.get(), workload.threads);
    }
  }
  Problem(const Problem&) = delete;
  Problem& operator=(const Problem&) = delete;

  /// The memory that a decode step reads.
  std::vector<Bytes> caches() const {
    const auto bytes = [](const auto& t) { return std::as_bytes(std::span(t.data(), std::size_t(t.size()))); };
    return {bytes(k), bytes(v)};
  }
};

/// One run of a given operator on the problem's tensors.
template <class Cache, class Attend>
std::function<void()> heed_call(Problem<Cache>& problem, Attend attend) {
  if (problem.device) return [&p = problem, attend] { attend(*p.device, p.q, p.k, p.v, heed::into(p.out)); };
  return [&p = problem, attend] { attend(p.q, p.k, p.v, heed::into(p.out)); };
}

/// One run of the operator that the workload names.
template <class Cache>
std::function<void()> heed_call(Problem<Cache>& problem) {
  const Workload& w = problem.workload;
  const int special = int(w.causal) + int(w.bias) + int(w.score);
  if (special == 0) return heed_call(problem, heed::softmax_attention());
  // Every rule is a kernel of its own to compile, so that only the combinations with a workload are here.
  if constexpr (std::same_as<Cache, float>) {
    if (special == 1) {
      if (w.score) return heed_call(problem, heed::softmax_attention(heed::score(UserScore{}), heed::everything()));
      if (w.bias) return heed_call(problem, heed::softmax_attention(heed::bias(problem.bias)));
      if (w.window > 0)
        return heed_call(problem, heed::softmax_attention(heed::causal() && heed::window_left(w.window - 1)));
      return heed_call(problem, heed::softmax_attention(heed::causal()));
    }
  }
  throw std::invalid_argument("no kernel was compiled for this workload: " + w.name);
}

}  // namespace bench

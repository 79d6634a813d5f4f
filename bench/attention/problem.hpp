// SPDX-License-Identifier: Apache-2.0
// A workload with its tensors, and the heed operator that it asks for.
#pragma once

#include <concepts>
#include <functional>
#include <memory>
#include <stdexcept>
#include <type_traits>

#include "../common.hpp"
#include "heed/attention/backward.hpp"
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
  heed::Tensor<float, 4> q, out, bias;  // out of a backward: the gradients of q, k and v one after the other
  heed::Tensor<float, 4> forward_out, d_out;
  heed::Tensor<float, 3> lse;
  heed::Tensor<Cache, 4> k, v;
  std::unique_ptr<Eigen::ThreadPool> pool;
  std::unique_ptr<Eigen::ThreadPoolDevice> device;  // none: serial

  explicit Problem(Workload w)
      : workload(std::move(w)),
        q(workload.B, workload.H, workload.N, workload.D),
        out((workload.backward ? 3 : 1) * workload.B, workload.H, workload.N, workload.D),
        bias(1, workload.H, workload.bias ? workload.N : 0, workload.bias ? workload.M : 0),
        k(workload.B, workload.Hkv, workload.M, workload.D),
        v(workload.B, workload.Hkv, workload.M, workload.D) {
    fill_random(q, 1);
    fill_random(k, 2);
    fill_random(v, 3);
    fill_random(bias, 4);
    if (workload.backward) {
      d_out.resize(q.dimensions());
      fill_random(d_out, 5);
    }
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

/// One run of a given operator's backward, from the results of its forward.
template <class Attend>
std::function<void()> backward_call(Problem<float>& problem, Attend attend) {
  std::tie(problem.forward_out, problem.lse) = attend.with_lse(problem.q, problem.k, problem.v);
  return [&p = problem, attend] {
    const std::array<Eigen::Index, 4> shape = heed::const_view(p.q).sizes;
    const auto gradient = [&](Eigen::Index which) {
      return heed::View<float, 4>(p.out.data() + which * p.q.size(), shape);
    };
    p.out.setZero();
    const heed::AttentionGradients<float> target{gradient(0), gradient(1), gradient(2)};
    const auto run = [&](const auto& device) {
      heed::softmax_attention_backward(device, attend, p.q, p.k, p.v, p.forward_out, p.lse, p.d_out, {}, target);
    };
    if (p.device) return run(*p.device);
    run(Eigen::DefaultDevice());
  };
}

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
  if constexpr (std::same_as<Cache, float>) {
    if (w.backward && special == 0) return backward_call(problem, heed::softmax_attention());
    if (w.backward && special == 1 && w.causal && w.window == 0)
      return backward_call(problem, heed::softmax_attention(heed::causal()));
    if (w.backward) throw std::invalid_argument("no kernel was compiled for this workload: " + w.name);
  }
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

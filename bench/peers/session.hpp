// SPDX-License-Identifier: Apache-2.0
// A workload opened for timing: one repetition of heed, of plain Eigen or of the machine's limit at a time, so that a
// caller can take them in turn.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "plain_eigen.hpp"

namespace bench {

struct Session {
  Workload workload;
  std::function<double()> heed, eigen;  // seconds of one call
  std::function<double()> limit;        // FLOP/s or bytes/s of one core
  double difference = 0;                // largest, between the results of heed and of Eigen

  /// FLOPs, or bytes where memory is the limit.
  double work() const { return workload.bound_by_memory() ? workload.cache_bytes() : workload.flops(); }

  /// Share of the limit of as many cores as the workload has threads.
  double share(double seconds, double limit_figure) const {
    return work() / seconds / (limit_figure * workload.threads);
  }
};

/// Opens a workload for a given operator, or, without one, for the operator that it names.
template <class Cache, class... Attend>
Session open_session(const Workload& workload, const Attend&... attend) {
  struct Tensors {
    Problem<Cache> problem;
    heed::Tensor<float, 4> eigen_out;
    explicit Tensors(const Workload& w) : problem(w) {}
  };
  const auto tensors = std::make_shared<Tensors>(workload);
  const Clock clock = workload.wall ? Clock::wall : clock_for(workload.threads);
  const auto repetition = [tensors, clock](std::function<void()> call) {
    return [tensors, timed = Timed(std::move(call), clock)] { return timed.repetition(); };
  };
  Session session{.workload = workload, .heed = {}, .eigen = {}, .limit = {}};
  session.heed = repetition(heed_call(tensors->problem, attend...));
  session.eigen = repetition(plain_eigen_call(tensors->problem, tensors->eigen_out));
  if (workload.bound_by_memory())
    session.limit = [tensors, bandwidth = ReadBandwidth(tensors->problem.caches())] { return bandwidth.repetition(); };
  else
    session.limit = multiply_add_peak<float>;
  for (Eigen::Index i = 0; i < tensors->eigen_out.size(); ++i) {
    const double gap = std::abs(double(tensors->problem.out.data()[i]) - double(tensors->eigen_out.data()[i]));
    session.difference = std::isnan(gap) ? std::numeric_limits<double>::infinity() : std::max(session.difference, gap);
  }
  return session;
}

}  // namespace bench

// SPDX-License-Identifier: Apache-2.0
// task_channel_scaling: each task rescales the channels of every token in its own way.
#pragma once

#include <vector>

#include "heed/block/gate.hpp"

namespace heed::inline HEED_ISA {

/// out_t = x * gate_t for each task t, gate_t = linear(h_t; gate{t}), or its sigmoid; h_t = gelu(proj{t}(x)), or, with
/// one projection for all, the t-th C channels of gelu(proj(x)).
///
///   heed::TaskChannelScaling<float> scaling{{.num_tasks = 3}};
///
/// x (B, N, C), each gate and out (B, N, C); proj{t}.weight (C, C), or with `split` off proj.weight (T C, C), and
/// gate{t}.weight (C, C), all with biases. A gate without the sigmoid is unbounded and may change sign. Throws
/// heed::Error for shapes and options that do not fit. Time O(B N C^2 T). The same bits for any number of threads.
/// Source: M3Net 2025, its task-oriented channel scaling.
template <Real T>
struct TaskChannelScaling {
  struct Options {
    Index num_tasks = 3;  ///< 1 or more
    bool split = true;    ///< a projection for each task
    bool sigmoid = false;
  };
  template <class Tokens>
  struct Result {
    std::vector<Tokens> gate, out;  ///< one for each task
  };

  Options options;
  std::vector<Linear<T>> proj, gate;

  explicit TaskChannelScaling(const Options& o = {}) : options(o) {
    require(o.num_tasks > 0, kName, "num_tasks must be 1 or more, got ", o.num_tasks);
    proj.resize(o.split ? std::size_t(o.num_tasks) : 1);
    gate.resize(std::size_t(o.num_tasks));
  }

  template <class F>
  void for_each_parameter(F&& f) {
    for (std::size_t t = 0; t < proj.size(); ++t)
      visit_part(options.split ? "proj" + std::to_string(t) + "." : std::string("proj."), proj[t], f);
    for (std::size_t t = 0; t < gate.size(); ++t) visit_part("gate" + std::to_string(t) + ".", gate[t], f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::TaskChannelScaling: x is (B, N, C)");
    const Index channels = sizes_of(x)[2];
    for (const Linear<T>& layer : proj)
      require_parameter(kName, "proj.weight", layer.weight,
                        {options.split ? channels : options.num_tasks * channels, channels});
    auto hidden = gelu(device, proj[0](device, x));
    Result<decltype(hidden)> result;
    for (std::size_t t = 0; t < gate.size(); ++t) {
      require_parameter(kName, "gate" + std::to_string(t) + ".weight", gate[t].weight, {channels, channels});
      if (options.split && t > 0) hidden = gelu(device, proj[t](device, x));
      const auto logits = gate[t](device, view(hidden).slice(2, options.split ? 0 : Index(t) * channels, channels));
      result.gate.push_back(options.sigmoid ? heed::sigmoid(device, logits) : logits);
      result.out.push_back(multiply(device, x, result.gate.back()));
    }
    return result;
  }

 private:
  static constexpr std::string_view kName = "task_channel_scaling";
};

}  // namespace heed::inline HEED_ISA

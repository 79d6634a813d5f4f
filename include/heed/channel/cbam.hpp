// SPDX-License-Identifier: Apache-2.0
// cbam: a channel gate, then a spatial gate.
#pragma once

#include "heed/channel/channel_gate.hpp"
#include "heed/channel/spatial_gate.hpp"

namespace heed::inline HEED_ISA {

/// out = spatial(channel(x)), or channel(x) with `no_spatial`.
///
/// x (B, C, h, w), out as x; parameters, options, errors and cost of the two gates, whose options are those of
/// `channel` and `spatial`.
/// Source: Woo et al. 2018.
template <Real T>
struct Cbam {
  struct Options {
    bool no_spatial = false;
  };

  Options options = {};
  ChannelGate<T> channel = {};
  SpatialGate<T> spatial = {};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_part("channel.", channel, f);
    if (options.no_spatial) {
      visit_part("spatial.", spatial, f, heed::optional);
    } else {
      visit_part("spatial.", spatial, f);
    }
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    auto gated = channel(device, x);
    if (options.no_spatial) return gated;
    return spatial(device, gated);
  }
};

}  // namespace heed::inline HEED_ISA

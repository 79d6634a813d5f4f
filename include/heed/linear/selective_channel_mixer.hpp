// SPDX-License-Identifier: Apache-2.0
// selective_channel_mixer: the bidirectional selective token mixer with tokens and channels exchanged.
#pragma once

#include "heed/linear/selective_token_mixer.hpp"

namespace heed::inline HEED_ISA {

/// out^T = SelectiveTokenMixer(x^T), bidirectional: the scan runs along the channels, and the tokens are its features.
///
/// x and out (B, L, C); the parameters are those of SelectiveTokenMixer with bwd., of L channels: in.weight and
/// gate.weight (E, L), out.weight (L, E), .. They fix the number of tokens, which may be 1; C may be any. Nothing is
/// copied to transpose. Errors, cost (with L and C exchanged) and threads of SelectiveTokenMixer.
/// Source: Behrouz, Santacatterina and Zabih 2024 (MambaMixer); transcription: no code was released.
template <Real T>
struct SelectiveChannelMixer {
  SelectiveTokenMixer<T> mixer{{.bidirectional = true}};

  template <class F>
  void for_each_parameter(F&& f) {
    visit_part("", mixer, f);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::SelectiveChannelMixer: x is (B, L, C)");
    auto out = make_output<T, 3>("selective_channel_mixer", sizes_of(x), x);
    mixer(device, view(x).permute({0, 2, 1}), view(out).permute({0, 2, 1}));
    return out;
  }
};

}  // namespace heed::inline HEED_ISA

// SPDX-License-Identifier: Apache-2.0
// block_local_attention: attention within blocks of tokens and their neighbours.
#pragma once

#include "heed/attention/mask/block_window.hpp"
#include "heed/attention/softmax_attention.hpp"

namespace heed::inline HEED_ISA {

/// softmax(scale * q k^T) v over the keys of the query's own block of block_size tokens, look_back blocks before it and
/// look_forward behind it, and, if causal, no key behind the query.
///
///   heed::BlockLocalAttention attend{{.block_size = 256, .look_back = 1, .causal = true}};
///   auto out = attend(q, k, v);                             // or attend(device, q, k, v)
///
/// q (B, H, N, D), k (B, Hk, N, D), v (B, Hk, N, Dv), out (B, H, N, Dv). Key j is visible to query i when
/// floor(i / b) - look_back <= floor(j / b) <= floor(i / b) + look_forward. Blocks are counted from token 0; the last
/// one may be short; b >= N is full attention. Every query sees itself. Errors, storage and threads as
/// softmax_attention. Time O(N b (1 + look_back + look_forward) D), no copies. Source: our reading of the general
/// scheme, as in blockwise and local-attention transformers (Qiu et al. 2019; Roy et al. 2020).
struct BlockLocalAttention {
  struct Options {
    Index block_size = 0;    ///< b, tokens, 1 or more
    Index look_back = 0;     ///< blocks, 0 or more
    Index look_forward = 0;  ///< blocks, 0 or more
    bool causal = false;
    std::optional<double> scale = std::nullopt;  ///< none: 1 / sqrt(D)
  };

  Options options = {};

  template <Operand Q, Operand K, Operand V>
  auto operator()(const Q& q, const K& k, const V& v) const {
    return (*this)(DeviceRef(), q, k, v);
  }
  template <Device D, Operand Q, Operand K, Operand V>
  auto operator()(const D& device, const Q& q, const K& k, const V& v) const {
    static_assert(kOperandRank<Q> == 4, "heed::BlockLocalAttention: q, k and v are (B, H, N, D)");
    constexpr std::string_view name = "block_local_attention";
    const Options& o = options;
    require(o.block_size > 0, name, "block_size must be 1 or more, got ", o.block_size);
    require(o.look_back >= 0 && o.look_forward >= 0, name, "look_back and look_forward must be 0 or more, got ",
            o.look_back, " and ", o.look_forward);
    require(sizes_of(q)[2] == sizes_of(k)[2], name, "q and k must have as many tokens, got ", sizes_of(q)[2], " and ",
            sizes_of(k)[2]);
    const Index size = std::min(o.block_size, std::max<Index>(1, sizes_of(q)[2]));
    return softmax_attention(block_window(size, o.look_back, o.look_forward) && when(o.causal, causal(0)),
                             {.scale = o.scale})(device, q, k, v);
  }
};

}  // namespace heed::inline HEED_ISA

// SPDX-License-Identifier: Apache-2.0
// residual_vector_quantization: nearest-code quantisation, repeated on what is left.
#pragma once

#include "heed/block/elementwise.hpp"
#include "heed/block/embedding.hpp"
#include "heed/block/nearest_code.hpp"
#include "heed/block/straight_through.hpp"

namespace heed::inline HEED_ISA {

/// r = x, s = 0; for each level the nearest code c of r: r = r - c, s = s + c. out = s.
///
///   heed::ResidualVectorQuantization<float> quantize{{.depth = 4}};
///   auto [y, codes] = quantize(x);                          // or quantize(device, x)
///
/// x and out (B, N, C), codes (B, N, depth) int32, codebook (depth, K, C), or (1, K, C) where it is shared by all
/// levels. On a tie the lowest index. Gradient: straight through, that of out at x; the codebook has none (it is
/// trained by moving averages). Throws heed::Error for shapes and options that do not fit. Time O(N K C depth). The
/// same bits for any number of threads. Source: Lee et al. 2022 (RQ-VAE), Song et al. 2025 (DualToken), the authors'
/// RQBottleneck.
template <Real T>
struct ResidualVectorQuantization {
  struct Options {
    Index depth = 1;
    bool shared_codebook = false;
  };
  template <class Out>
  struct Result {
    Out out;
    Tensor<std::int32_t, 3> codes;
  };

  Options options = {};
  Tensor<T, 3> codebook = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("codebook", codebook);
  }

  template <Operand X>
  auto operator()(const X& x) const {
    return (*this)(DeviceRef(), x);
  }
  template <Device D, Operand X>
  auto operator()(const D& device, const X& x) const {
    static_assert(kOperandRank<X> == 3, "heed::ResidualVectorQuantization: x is (B, N, C)");
    const auto s = sizes_of(x);
    const Index levels = options.shared_codebook ? 1 : options.depth;
    require(options.depth > 0, kName, "depth must be 1 or more, got ", options.depth);
    require(codebook.dimension(0) == levels && codebook.dimension(2) == s[2], kName, "codebook must have shape (",
            levels, ", K, ", s[2], "), got ", shape_text(const_view(codebook).sizes));
    Tensor<T, 3> rest(s), sum(s);
    scale(device, values_of(x), 1, rest);
    sum.setZero();
    Tensor<std::int32_t, 3> codes(s[0], s[1], options.depth);
    for (Index d = 0; d < options.depth; ++d) {
      const auto level = const_view(codebook).select(0, levels == 1 ? 0 : d);
      const auto nearest = nearest_code(device, rest, level);
      const auto found = embedding(device, level, nearest);
      elementwise(Difference(), device, rest, found, rest);
      elementwise(Sum(), device, sum, found, sum);
      for (Index i = 0; i < nearest.size(); ++i) codes.data()[i * options.depth + d] = nearest.data()[i];
    }
    auto out = straight_through(x, std::move(sum));
    return Result<decltype(out)>{std::move(out), std::move(codes)};
  }

 private:
  static constexpr std::string_view kName = "residual_vector_quantization";
};

}  // namespace heed::inline HEED_ISA

// SPDX-License-Identifier: Apache-2.0
// prompt_token_replace: masked visual tokens replaced by learned ones.
#pragma once

#include "heed/block/assignment.hpp"
#include "heed/block/copy_as.hpp"
#include "heed/block/elementwise.hpp"
#include "heed/block/gather.hpp"
#include "heed/block/masked_fill.hpp"

namespace heed::inline HEED_ISA {

/// out(b, n) = visual(b, n), or where replace_mask is set the pool entry that is assigned to it by Euclidean distance,
/// for each sample on its own.
///
/// visual (B, N, D), which the caller brings to length 1; replace_mask (B, N) of std::uint8_t (the authors mask a
/// random 3/4); prompt_pool (K, D); out (B, N, D); prompt_index (B, N) int32, -1 where the token is kept. kHungarian
/// assigns one to one with the least total distance, as the paper does, and needs no more masked tokens than K;
/// kNearest is the released code, where entries may repeat, ties to the lower index. The assignment has no gradient;
/// what is taken from the pool and kept has. A replaced token never changes a result but by the choice. Throws
/// heed::Error for shapes and masks that do not fit. Time O(masked K D), and O(masked^2 K) for kHungarian. Source: Xie
/// et al. 2024 (Croc); kHungarian is a transcription.
template <Real T>
struct PromptTokenReplace {
  enum class Assignment { kHungarian, kNearest };
  struct Options {
    Assignment assignment = Assignment::kHungarian;
  };
  template <class X>
  struct Result {
    X out;
    Tensor<std::int32_t, 2> prompt_index;
  };

  Options options = {};
  Tensor<T, 2> prompt_pool = {};

  template <class F>
  void for_each_parameter(F&& f) {
    f("prompt_pool", prompt_pool);
  }

  template <Operand X, TensorLike M>
  auto operator()(const X& visual, const M& replace_mask) const {
    return (*this)(DeviceRef(), visual, replace_mask);
  }
  template <Device D, Operand X, TensorLike M>
  auto operator()(const D& device, const X& visual, const M& replace_mask) const {
    static_assert(kOperandRank<X> == 3 && kRankOf<M> == 2 && std::same_as<ScalarOf<M>, std::uint8_t>,
                  "heed::PromptTokenReplace: visual is (B, N, D), replace_mask (B, N) of std::uint8_t");
    constexpr std::string_view name = "prompt_token_replace";
    const auto sizes = sizes_of(visual);
    const auto mask = const_view(replace_mask);
    require_shape(name, "replace_mask", mask.sizes, std::array<Index, 2>{sizes[0], sizes[1]});
    require(prompt_pool.dimension(1) == sizes[2], name, "prompt_pool must have shape (K, D) with D = ", sizes[2],
            ", got ", shape_text(const_view(prompt_pool).sizes));
    auto index = choose(device, values_of(visual), mask);
    Tensor<std::uint8_t, 3> keep(sizes[0], sizes[1], 1);
    for (Index i = 0; i < index.size(); ++i) keep.data()[i] = index.data()[i] < 0;
    const auto entries =
        gather(device, parameter_with(prompt_pool, visual), View<const std::int32_t, 1>(index.data(), {index.size()}));
    auto out = add(device, masked_fill(device, visual, keep, 0), view(entries).template reshape<3>(sizes));
    return Result<decltype(out)>{std::move(out), std::move(index)};
  }

 private:
  template <Device D>
  Tensor<std::int32_t, 2> choose(const D& device, const View<const T, 3>& visual,
                                 const View<const std::uint8_t, 2>& mask) const {
    Tensor<std::int32_t, 2> result(mask.size(0), mask.size(1));
    result.setConstant(-1);
    for (Index b = 0; b < mask.size(0); ++b) {
      std::vector<std::int32_t> masked;
      for (Index n = 0; n < mask.size(1); ++n)
        if (mask(b, n) != 0) masked.push_back(std::int32_t(n));
      const auto tokens =
          gather(device, visual.select(0, b), View<const std::int32_t, 1>(masked.data(), {Index(masked.size())}));
      const auto entry = options.assignment == Assignment::kHungarian ? assign_rows(tokens, prompt_pool)
                                                                      : nearest_rows(tokens, prompt_pool);
      for (std::size_t i = 0; i < masked.size(); ++i) result(b, masked[i]) = entry(Index(i));
    }
    return result;
  }
};

}  // namespace heed::inline HEED_ISA

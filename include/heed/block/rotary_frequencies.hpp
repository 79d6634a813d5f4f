// SPDX-License-Identifier: Apache-2.0
// The frequencies of rotary position embedding, and how long contexts stretch them.
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>

#include "heed/core/error.hpp"
#include "heed/core/scalar.hpp"

namespace heed::inline HEED_ISA {

/// How frequencies are stretched for contexts longer than those of the training.
enum class RotaryScaling {
  kNone,
  kLinear,      ///< all divided by `factor` (position interpolation, Chen et al. 2023)
  kNtk,         ///< base * factor^(r/(r-2)) (NTK-aware)
  kDynamicNtk,  ///< the same, growing with the largest position beyond original_max_position
  kYarn         ///< low frequencies divided, high ones kept, a ramp between (Peng et al. 2023)
};

struct RotaryOptions {
  Index rotary_dim = 0;  ///< r: rotated channels, even, the first of D; 0: all D
  double base = 10000;
  bool interleaved = false;  ///< pairs are channels (2c, 2c+1); otherwise (c, c + r/2)
  bool inverse = false;      ///< rotates back (the attention factor of kYarn is not undone)
  RotaryScaling scaling = RotaryScaling::kNone;
  double factor = 1;                                      ///< context length over the one of the training, > 0
  Index original_max_position = 0;                        ///< P, of the training; kDynamicNtk and kYarn need it
  double beta_fast = 32;                                  ///< kYarn: turns over P from which a frequency is kept
  double beta_slow = 1;                                   ///< kYarn: turns over P up to which it is divided
  std::optional<double> attention_factor = std::nullopt;  ///< kYarn: length of a rotated unit; none: 0.1 ln(factor) + 1
};

/// The options for channels of a certain width, checked once, with the frequencies that follow:
/// frequency(c) = base^(-2c/r) for pair c, stretched by the scaling. All of it in double.
///
/// No gradient: positions and options are not learned; rotate has that of what it rotates.
class RotaryFrequencies {
 public:
  /// `length` is one more than the largest position that will be asked for; only kDynamicNtk depends on it. Throws
  /// heed::Error naming `where`.
  RotaryFrequencies(const RotaryOptions& options, Index width, Index length, std::string_view where)
      : options_(options), rotary_dim_(options.rotary_dim == 0 ? width : options.rotary_dim) {
    check(width, where);
    const double r = double(rotary_dim_), p = double(options_.original_max_position);
    base_ = options_.base;
    switch (options_.scaling) {
      case RotaryScaling::kNone:
      case RotaryScaling::kLinear:
        break;
      case RotaryScaling::kNtk:
        base_ *= std::pow(options_.factor, r / (r - 2));
        break;
      case RotaryScaling::kDynamicNtk: {
        const double longest = std::max(p, double(length));
        base_ *= std::pow(options_.factor * longest / p - (options_.factor - 1), r / (r - 2));
        break;
      }
      case RotaryScaling::kYarn: {
        const auto channel = [&](double turns) {
          return r * std::log(p / (2 * std::numbers::pi * turns)) / (2 * std::log(options_.base));
        };
        ramp_start_ = std::max(0.0, std::floor(channel(options_.beta_fast)));
        const double end = std::min(r - 1, std::ceil(channel(options_.beta_slow)));
        ramp_length_ = end == ramp_start_ ? 0.001 : end - ramp_start_;
      }
    }
  }

  Index rotary_dim() const { return rotary_dim_; }
  Index pairs() const { return rotary_dim_ / 2; }

  /// Radians per position of pair c.
  double frequency(Index c) const {
    const double omega = std::pow(base_, -2.0 * double(c) / double(rotary_dim_));
    if (options_.scaling == RotaryScaling::kLinear) return omega / options_.factor;
    if (options_.scaling != RotaryScaling::kYarn) return omega;
    const double ramp = std::clamp((double(c) - ramp_start_) / ramp_length_, 0.0, 1.0);
    return ramp * omega / options_.factor + (1 - ramp) * omega;
  }

  /// The factor of every rotated pair: 1 but for kYarn.
  double attention_factor() const {
    if (options_.scaling != RotaryScaling::kYarn) return 1;
    return options_.attention_factor.value_or(0.1 * std::log(options_.factor) + 1);
  }

 private:
  void check(Index width, std::string_view where) const {
    const RotaryOptions& o = options_;
    require(rotary_dim_ >= 2 && rotary_dim_ % 2 == 0 && rotary_dim_ <= width, where,
            "rotary_dim must be even and in 2 .. D = ", width, ", got ", rotary_dim_);
    require(std::isfinite(o.base) && o.base > 0, where, "base must be positive and finite, got ", o.base);
    if (o.scaling == RotaryScaling::kNone) return;
    require(std::isfinite(o.factor) && o.factor > 0, where, "factor must be positive and finite, got ", o.factor);
    if (o.scaling == RotaryScaling::kNtk || o.scaling == RotaryScaling::kDynamicNtk)
      require(rotary_dim_ > 2, where, "the ntk scalings need a rotary_dim of 4 or more, got ", rotary_dim_);
    if (o.scaling == RotaryScaling::kDynamicNtk || o.scaling == RotaryScaling::kYarn)
      require(o.original_max_position > 0, where, "original_max_position must be 1 or more for this scaling, got ",
              o.original_max_position);
    if (o.scaling != RotaryScaling::kYarn) return;
    require(o.base != 1, where, "base must not be 1 for the yarn scaling");
    require(o.beta_fast > 0 && o.beta_slow > 0 && std::isfinite(o.beta_fast) && std::isfinite(o.beta_slow), where,
            "beta_fast and beta_slow must be positive and finite, got ", o.beta_fast, " and ", o.beta_slow);
    require(!o.attention_factor || std::isfinite(*o.attention_factor), where, "attention_factor must be finite");
  }

  RotaryOptions options_;
  Index rotary_dim_;
  double base_ = 0, ramp_start_ = 0, ramp_length_ = 1;
};

}  // namespace heed::inline HEED_ISA

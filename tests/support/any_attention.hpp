// SPDX-License-Identifier: Apache-2.0
// Attention whose score and rule are chosen at run time: many compositions for one instantiation of the kernels, which
// takes seconds to compile.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "heed/attention/softmax_attention.hpp"
#include "support/any_rule.hpp"
#include "support/reference.hpp"

namespace heed::test {

/// Any score modifier that lays out up to two planes.
class ErasedScore : public ScoreModifierBase {
 public:
  static constexpr int kPlanes = 2;

  template <ScoreModifier F>
  requires(!std::same_as<F, ErasedScore>) ErasedScore(F modifier)  // NOLINT: implicit, as std::function is
      : held_(std::make_shared<Held<F>>(std::move(modifier))) {
    static_assert(heed::detail::kPlanesOf<F> <= kPlanes);
  }

  template <Real T, Lanes L>
  simd::Batch<T> operator()(simd::Batch<T> s, const At<T, L>& at) const {
    return held_->score(s, at);
  }
  template <Real T>
  void fill(const PairTile& tile, T* plane, Index plane_size) const {
    held_->fill(tile, plane, plane_size);
  }
  template <Real T>
  T extra_logit(Index batch, Index head) const {
    return held_->extra_logit(T(), batch, head);
  }
  void check(const AttentionShape& shape) const { held_->check(shape); }

 private:
  struct Base {
    virtual ~Base() = default;
    virtual simd::Batch<float> score(simd::Batch<float>, const At<float, Lanes::kQueries>&) const = 0;
    virtual simd::Batch<float> score(simd::Batch<float>, const At<float, Lanes::kKeys>&) const = 0;
    virtual simd::Batch<double> score(simd::Batch<double>, const At<double, Lanes::kQueries>&) const = 0;
    virtual simd::Batch<double> score(simd::Batch<double>, const At<double, Lanes::kKeys>&) const = 0;
    virtual void fill(const PairTile&, float*, Index) const = 0;
    virtual void fill(const PairTile&, double*, Index) const = 0;
    virtual float extra_logit(float, Index batch, Index head) const = 0;
    virtual double extra_logit(double, Index batch, Index head) const = 0;
    virtual void check(const AttentionShape&) const = 0;
  };
  template <class F>
  struct Held final : Base {
    explicit Held(F f) : modifier(std::move(f)) {}
    template <class T>
    T logit(Index batch, Index head) const {
      if constexpr (heed::detail::HasExtraLogit<F>) {
        return modifier.template extra_logit<T>(batch, head);
      } else {
        return -std::numeric_limits<T>::infinity();
      }
    }
    simd::Batch<float> score(simd::Batch<float> s, const At<float, Lanes::kQueries>& at) const override {
      return modifier(s, at);
    }
    simd::Batch<float> score(simd::Batch<float> s, const At<float, Lanes::kKeys>& at) const override {
      return modifier(s, at);
    }
    simd::Batch<double> score(simd::Batch<double> s, const At<double, Lanes::kQueries>& at) const override {
      return modifier(s, at);
    }
    simd::Batch<double> score(simd::Batch<double> s, const At<double, Lanes::kKeys>& at) const override {
      return modifier(s, at);
    }
    void fill(const PairTile& tile, float* plane, Index size) const override {
      heed::detail::fill_planes(modifier, tile, plane, size);
    }
    void fill(const PairTile& tile, double* plane, Index size) const override {
      heed::detail::fill_planes(modifier, tile, plane, size);
    }
    float extra_logit(float, Index b, Index h) const override { return logit<float>(b, h); }
    double extra_logit(double, Index b, Index h) const override { return logit<double>(b, h); }
    void check(const AttentionShape& shape) const override { heed::detail::check_part(modifier, shape); }
    F modifier;
  };

  std::shared_ptr<const Base> held_;
};

/// {out, lse}, which were NaN before. Without a score the kernels' shorter path for plain scores is taken. Defined in
/// tests/attention/any_attention.cpp for float and double.
template <Real T>
struct AnyResult {
  Tensor<T, 4> out;
  Tensor<T, 3> lse;
};
template <Real T>
AnyResult<T> attend_any(const std::optional<ErasedScore>& score, const ErasedRule& rule, const View<const T, 4>& q,
                        const View<const T, 4>& k, const View<const T, 4>& v, const SoftmaxOptions& options = {},
                        const Eigen::ThreadPoolDevice* device = nullptr);

template <TensorLike Q, TensorLike K, TensorLike V>
auto attend_any(const std::optional<ErasedScore>& score, const ErasedRule& rule, const Q& q, const K& k, const V& v,
                const SoftmaxOptions& options = {}, const Eigen::ThreadPoolDevice* device = nullptr) {
  return attend_any<ScalarOf<Q>>(score, rule, const_view(q), const_view(k), const_view(v), options, device);
}

/// Whether two tensors hold the same bits.
template <class T, int Rank>
bool same_bits(const Tensor<T, Rank>& a, const Tensor<T, Rank>& b) {
  return a.dimensions() == b.dimensions() &&
         (a.size() == 0 || std::memcmp(a.data(), b.data(), std::size_t(a.size()) * sizeof(T)) == 0);
}

/// Whether row (b, h, i) of two results holds the same bits.
template <class T>
bool same_row(const AnyResult<T>& a, const AnyResult<T>& b, Index batch, Index head, Index query) {
  const std::size_t width = std::size_t(a.out.dimension(3)) * sizeof(T);
  return std::memcmp(&a.out(batch, head, query, 0), &b.out(batch, head, query, 0), width) == 0 &&
         std::memcmp(&a.lse(batch, head, query), &b.lse(batch, head, query), sizeof(T)) == 0;
}

/// Random q (B, H, N, D), k (B, Hk, M, D), v (B, Hk, M, Dv).
template <Real T>
struct Inputs {
  Tensor<T, 4> q, k, v;
  Inputs(Index b, Index h, Index hk, Index n, Index m, Index d, Index dv, unsigned seed)
      : q(random_tensor<T, 4>({b, h, n, d}, seed)),
        k(random_tensor<T, 4>({b, hk, m, d}, seed + 1)),
        v(random_tensor<T, 4>({b, hk, m, dv}, seed + 2)) {}
};

/// How far results may be from the reference (see error_of): the sums of the tests are of up to 500 terms of order 1.
template <Real T>
inline constexpr double kTolerance = std::same_as<T, float> ? 2e-6 : 4e-15;

}  // namespace heed::test

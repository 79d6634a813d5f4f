// SPDX-License-Identifier: Apache-2.0
// activate: an elementwise function with its derivative, and the usual ones: relu, sigmoid, tanh, silu, gelu, ...
#pragma once

#include "heed/core/operand.hpp"
#include "heed/kernel/elementwise.hpp"
#include "heed/simd/math.hpp"

namespace heed::inline HEED_ISA {

/// A function of one number and its derivative, both on batches of float and of double:
///
///   struct Cube {
///     template <Real T> Batch<T> value(Batch<T> x) const { return x * x * x; }
///     template <Real T> Batch<T> derivative(Batch<T> x) const { return T(3) * x * x; }
///   };
template <class F>
concept ActivationFunction = requires(const F& f, simd::Batch<float> x, simd::Batch<double> y) {
  { f.template value<float>(x) } -> std::same_as<simd::Batch<float>>;
  { f.template derivative<double>(y) } -> std::same_as<simd::Batch<double>>;
};

namespace detail {

// Named, not lambdas: one for all shapes and kinds of tensor.
template <Real T, class F>
struct ActivationValue {
  F f;
  simd::Batch<T> operator()(simd::Batch<T> x) const { return f.template value<T>(x); }
};
template <Real T, class F>
struct ActivationSlope {
  F f;
  simd::Batch<T> operator()(simd::Batch<T> x, simd::Batch<T> d) const { return f.template derivative<T>(x) * d; }
};

}  // namespace detail

/// out = f(x), element by element: any rank, strides and storage; out has x's shape and type, and may be x. Throws
/// heed::Error for shapes that do not fit. An element has the same bits wherever it stands and for any device.
/// Gradient: to x, by activate_backward.
template <Device D, ActivationFunction F, TensorLike X, TensorLike O>
void activate(const D& device, const F& f, const X& x, O&& out) {
  using T = Compute<ScalarOf<X>>;
  require_shape("activate", "out", view(out).sizes, const_view(x).sizes);
  kernel::elementwise<kernel::Write::kAssign, T>(device, detail::ActivationValue<T, F>{f}, view(out), const_view(x));
}
template <Device D, ActivationFunction F, Operand X>
auto activate(const D& device, const F& f, const X& x) {
  auto out = make_output<OperandScalar<X>, kOperandRank<X>>("activate", sizes_of(x), x);
  activate(device, f, x, out);
  return out;
}
template <ActivationFunction F, Operand X>
auto activate(const F& f, const X& x) {
  return activate(DeviceRef(), f, x);
}

/// Adds f'(x) * d_out to d_x, all of one shape; nothing if d_x has no data.
template <Device D, ActivationFunction F, TensorLike X, TensorLike G, TensorLike DX>
void activate_backward(const D& device, const F& f, const X& x, const G& d_out, DX&& d_x) {
  using T = Compute<ScalarOf<X>>;
  const auto sum = view(d_x);
  require_shape("activate_backward", "d_out", const_view(d_out).sizes, const_view(x).sizes);
  if (!sum.data) return;
  require_shape("activate_backward", "d_x", sum.sizes, const_view(x).sizes);
  kernel::elementwise<kernel::Write::kAdd, T>(device, detail::ActivationSlope<T, F>{f}, sum, const_view(x),
                                              const_view(d_out));
}

/// max(x, 0); its derivative at 0 is 0.
struct Relu {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return simd::select(x < simd::Batch<T>(T(0)), simd::Batch<T>(T(0)), x);
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    return simd::select(x > simd::Batch<T>(T(0)), simd::Batch<T>(T(1)), simd::Batch<T>(T(0)));
  }
};

/// x between low and high, which may be infinite; the derivative is 1 from low to high, both included, and 0 beyond.
struct Clamp {
  double low = 0, high = 1;

  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    const simd::Batch<T> least(static_cast<T>(low)), most(static_cast<T>(high));
    return simd::select(x < least, least, simd::select(x > most, most, x));
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    const simd::Batch<T> zero(T(0)), one(T(1));
    return simd::select(x < simd::Batch<T>(T(low)), zero, simd::select(x > simd::Batch<T>(T(high)), zero, one));
  }
};

/// e^x.
struct Exp {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return simd::exp<T>(x);
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    return simd::exp<T>(x);
  }
};

struct Tanh {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return simd::tanh<T>(x);
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    const simd::Batch<T> t = simd::tanh<T>(x);
    return simd::Batch<T>(T(1)) - t * t;
  }
};

/// 1 / (1 + e^-x).
struct Sigmoid {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return simd::Batch<T>(T(1)) / (simd::Batch<T>(T(1)) + simd::exp<T>(-x));
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    const simd::Batch<T> e = simd::exp<T>(-simd::abs(x)), s = simd::Batch<T>(T(1)) / (simd::Batch<T>(T(1)) + e);
    return e * s * s;  // of -|x|: the difference 1 - s would lose the tail
  }
};

/// x / (1 + e^-x), also known as swish.
struct Silu {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return x * Sigmoid().value<T>(x);
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    return simd::fma(x, Sigmoid().derivative<T>(x), Sigmoid().value<T>(x));
  }
};

/// log(1 + e^x), without overflow.
struct Softplus {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return Relu().value<T>(x) + simd::log1p<T>(simd::exp<T>(-simd::abs(x)));
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    return Sigmoid().value<T>(x);
  }
};

/// x P(X <= x) for a standard normal X: x/2 (1 + erf(x / sqrt 2)). Source: Hendrycks and Gimpel 2016.
struct Gelu {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return x * below<T>(x);
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    constexpr T inverse_sqrt_2_pi = T(0.398942280401432677939946059934L);
    const simd::Batch<T> density = simd::exp<T>(x * x * T(-0.5)) * inverse_sqrt_2_pi;
    return simd::fma(x, density, below<T>(x));
  }

 private:
  template <Real T>
  static simd::Batch<T> below(simd::Batch<T> x) {
    constexpr T inverse_sqrt_2 = T(0.707106781186547524400844362105L);
    return simd::fma(simd::erf<T>(x * inverse_sqrt_2), simd::Batch<T>(T(0.5)), simd::Batch<T>(T(0.5)));
  }
};

/// The approximation of Gelu by x/2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), up to 5e-4 from it.
struct GeluTanh {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return x * Sigmoid().value<T>(inner<T>(x));
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    x = -simd::max_or_nan(simd::Batch<T>(T(-20)), -simd::max_or_nan(simd::Batch<T>(T(-20)), x));  // 0 or 1 beyond
    const simd::Batch<T> u = inner<T>(x);
    const simd::Batch<T> slope = simd::fma(x * x, simd::Batch<T>(3 * kCubic<T>), simd::Batch<T>(kLinear<T>));
    return simd::fma(x * slope, Sigmoid().derivative<T>(u), Sigmoid().value<T>(u));
  }

 private:
  // (1 + tanh(u)) / 2 is the sigmoid of 2u.
  template <Real T>
  static constexpr T kLinear = T(1.595769121605730711759784239737L);
  template <Real T>
  static constexpr T kCubic = T(0.044715L * 1.595769121605730711759784239737L);
  template <Real T>
  static simd::Batch<T> inner(simd::Batch<T> x) {
    return x * simd::fma(x * x, simd::Batch<T>(kCubic<T>), simd::Batch<T>(kLinear<T>));
  }
};

// As functions of a tensor, or of a recorded variable: relu(x) is activate(Relu(), x), with the device first if there
// is one.

template <Operand X>
auto relu(const X& x) {
  return activate(Relu(), x);
}
template <Device D, Operand X>
auto relu(const D& device, const X& x) {
  return activate(device, Relu(), x);
}

template <Operand X>
auto sigmoid(const X& x) {
  return activate(Sigmoid(), x);
}
template <Device D, Operand X>
auto sigmoid(const D& device, const X& x) {
  return activate(device, Sigmoid(), x);
}

template <Operand X>
auto tanh(const X& x) {
  return activate(Tanh(), x);
}
template <Device D, Operand X>
auto tanh(const D& device, const X& x) {
  return activate(device, Tanh(), x);
}

template <Operand X>
auto silu(const X& x) {
  return activate(Silu(), x);
}
template <Device D, Operand X>
auto silu(const D& device, const X& x) {
  return activate(device, Silu(), x);
}

template <Operand X>
auto gelu(const X& x) {
  return activate(Gelu(), x);
}
template <Device D, Operand X>
auto gelu(const D& device, const X& x) {
  return activate(device, Gelu(), x);
}

template <Operand X>
auto gelu_tanh(const X& x) {
  return activate(GeluTanh(), x);
}
template <Device D, Operand X>
auto gelu_tanh(const D& device, const X& x) {
  return activate(device, GeluTanh(), x);
}

template <Operand X>
auto softplus(const X& x) {
  return activate(Softplus(), x);
}
template <Device D, Operand X>
auto softplus(const D& device, const X& x) {
  return activate(device, Softplus(), x);
}

template <Operand X>
auto exp(const X& x) {
  return activate(Exp(), x);
}
template <Device D, Operand X>
auto exp(const D& device, const X& x) {
  return activate(device, Exp(), x);
}

/// x between low and high: activate(Clamp{low, high}, x).
template <Operand X>
auto clamp(const X& x, double low, double high) {
  return activate(Clamp{low, high}, x);
}
template <Device D, Operand X>
auto clamp(const D& device, const X& x, double low, double high) {
  return activate(device, Clamp{low, high}, x);
}

}  // namespace heed::inline HEED_ISA

// SPDX-License-Identifier: Apache-2.0
// Functions of elements for activate: log, inverse square root, sine, floors, shifts, and tests for one value.
#pragma once

#include "heed/block/activation.hpp"

namespace heed::inline HEED_ISA {

/// log(x + eps); -infinity where that is 0, NaN below.
///
/// Gradient: to x, as of all of these, by activate_backward.
struct Log {
  double eps = 0;

  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return simd::log<T>(x + simd::Batch<T>(T(eps)));
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    return simd::Batch<T>(T(1)) / (x + simd::Batch<T>(T(eps)));
  }
};

/// 1 / sqrt(x + eps).
struct InverseSqrt {
  double eps = 0;

  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return simd::Batch<T>(T(1)) / simd::sqrt<T>(x + simd::Batch<T>(T(eps)));
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    return simd::Batch<T>(T(-0.5)) * value<T>(x) / (x + simd::Batch<T>(T(eps)));
  }
};

/// sin x.
struct Sine {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return simd::sin<T>(x);
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    return simd::cos<T>(x);
  }
};

/// cos x.
struct Cosine {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return simd::cos<T>(x);
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    return -simd::sin<T>(x);
  }
};

/// x where it is positive, e^x - 1 elsewhere. Source: Clevert et al. 2016.
struct Elu {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return simd::select(x > simd::Batch<T>(T(0)), x, simd::exp<T>(x) - simd::Batch<T>(T(1)));
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    return simd::select(x > simd::Batch<T>(T(0)), simd::Batch<T>(T(1)), simd::exp<T>(x));
  }
};

/// max(x, floor); its derivative at the floor is 0.
struct AtLeast {
  double floor = 0;

  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return simd::select(x < simd::Batch<T>(T(floor)), simd::Batch<T>(T(floor)), x);
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    return simd::select(x > simd::Batch<T>(T(floor)), simd::Batch<T>(T(1)), simd::Batch<T>(T(0)));
  }
};

/// x, but 0 where it is `hidden`, with the derivative 0 there.
struct ZeroWhere {
  double hidden = 0;

  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return simd::select(x == simd::Batch<T>(T(hidden)), simd::Batch<T>(T(0)), x);
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    return simd::select(x == simd::Batch<T>(T(hidden)), simd::Batch<T>(T(0)), simd::Batch<T>(T(1)));
  }
};

/// 1 where x is not `value`, 0 where it is; the derivative is 0.
struct Differs {
  double from = 0;

  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return simd::select(x == simd::Batch<T>(T(from)), simd::Batch<T>(T(0)), simd::Batch<T>(T(1)));
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T>) const {
    return simd::Batch<T>(T(0));
  }
};

/// x + addend.
struct AddConstant {
  double addend = 0;

  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    return x + simd::Batch<T>(T(addend));
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T>) const {
    return simd::Batch<T>(T(1));
  }
};

/// x + 1 for x > 0 and e^x elsewhere, elu(x) + 1: positive features of linear attention.
struct EluPlusOne {
  template <Real T>
  simd::Batch<T> value(simd::Batch<T> x) const {
    const simd::Batch<T> zero(T(0));
    return simd::select(x > zero, x + simd::Batch<T>(T(1)), simd::exp<T>(x));
  }
  template <Real T>
  simd::Batch<T> derivative(simd::Batch<T> x) const {
    return simd::select(x > simd::Batch<T>(T(0)), simd::Batch<T>(T(1)), simd::exp<T>(x));
  }
};

}  // namespace heed::inline HEED_ISA

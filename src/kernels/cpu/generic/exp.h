// e^x over `Vector` (included before).
#pragma once

#include "kernels/ops.h"

namespace sluice::kernels {
namespace {

// Relative error below 2e-7 for x ≥ -87; 0 below that, and at most e^88.
// x = n·ln 2 + r, |r| ≤ ln 2 / 2; e^r by its Taylor polynomial of degree 6 in Horner's form with
// ln 2 in two parts (Cody, Waite 1980).
inline Vector::Floats exponential(Vector::Floats x) {
  using V = Vector;
  x = V::min(V::max(x, V::set(-104.0f)), V::set(88.0f));
  const V::Floats n = V::round(V::mul(x, V::set(1.44269504f)));
  V::Floats r = V::fma(n, V::set(-0.693359375f), x);
  r = V::fma(n, V::set(2.12194440e-4f), r);
  V::Floats p = V::set(1.0f / 720);
  p = V::fma(p, r, V::set(1.0f / 120));
  p = V::fma(p, r, V::set(1.0f / 24));
  p = V::fma(p, r, V::set(1.0f / 6));
  p = V::fma(p, r, V::set(0.5f));
  p = V::fma(p, r, V::set(1.0f));
  p = V::fma(p, r, V::set(1.0f));
  return V::scale_by_power(p, n);
}

}  // namespace
}  // namespace sluice::kernels

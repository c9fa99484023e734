// What the kernels of generic/*.inc are written in: vectors of AVX2 with the dot product of
// AVX-VNNI, which does not saturate. Internal linkage.
#pragma once

#include "kernels/cpu/avx2/avx2_vector.h"

namespace sluice::kernels {
namespace {

struct Vector : Avx2Vector {
  static constexpr bool kWideDot = true;  // dot() takes all unsigned bytes

  static Ints dot(Ints sum, Ints weights, Ints x) {
    return _mm256_dpbusd_avx_epi32(sum, weights, x);
  }
};

}  // namespace
}  // namespace sluice::kernels

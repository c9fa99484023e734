// What the kernels of generic/*.inc are written in. Internal linkage.
#pragma once

#include "kernels/cpu/avx2/avx2_vector.h"

namespace sluice::kernels {
namespace {

using Vector = Avx2Vector;

}  // namespace
}  // namespace sluice::kernels

#include "target.h"
PS_TARGET("avx2,fma,f16c")
#define PS_DOTS 0
#include "simd_avx2.h"
//
#include "linear.inl"

namespace ps {
const LinearKernels kLinearAvx2 = {run_block, prepare};
}  // namespace ps
PS_TARGET_END

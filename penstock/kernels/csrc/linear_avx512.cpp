#include "target.h"
PS_TARGET("avx512f,avx512bw,avx512vl,avx512dq,fma,f16c")
#define PS_DOTS 0
#include "simd_avx512.h"
//
#include "linear.inl"

namespace ps {
const LinearKernels kLinearAvx512 = {run_block, prepare};
}  // namespace ps
PS_TARGET_END

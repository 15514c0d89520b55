#include "target.h"
PS_TARGET("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni,fma,f16c")
#define PS_DOTS 1
#include "simd_avx512.h"
//
#include "linear.inl"

namespace ps {
const LinearKernels kLinearAvx512Bf16 = {run_block, prepare};
}  // namespace ps
PS_TARGET_END

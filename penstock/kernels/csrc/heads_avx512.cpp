#include "target.h"
PS_TARGET("avx512f,avx512bw,avx512vl,avx512dq,fma,f16c")
#define PS_DOTS 0
#include "simd_avx512.h"
//
#include "heads.inl"

namespace ps {
const HeadKernels kHeadsAvx512 = {codes};
}  // namespace ps
PS_TARGET_END

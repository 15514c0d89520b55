#include "target.h"
PS_TARGET("avx2,fma,f16c")
#define PS_DOTS 0
#include "simd_avx2.h"
//
#include "heads.inl"

namespace ps {
const HeadKernels kHeadsAvx2 = {codes};
}  // namespace ps
PS_TARGET_END

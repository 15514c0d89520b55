#include "target.h"
PS_TARGET("avx2,fma,f16c")
#define PS_DOTS 0
#include "simd_avx2.h"
//
#include "rows.inl"

namespace ps {
const RowKernels kRowsAvx2 = {rms_norm, rotate, gate};
}  // namespace ps
PS_TARGET_END

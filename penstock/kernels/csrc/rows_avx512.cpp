#include "target.h"
PS_TARGET("avx512f,avx512bw,avx512vl,avx512dq,fma,f16c")
#define PS_DOTS 0
#include "simd_avx512.h"
//
#include "rows.inl"

namespace ps {
const RowKernels kRowsAvx512 = {rms_norm, rotate, gate};
}  // namespace ps
PS_TARGET_END

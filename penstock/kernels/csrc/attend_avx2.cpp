#include "target.h"
PS_TARGET("avx2,fma,f16c")
#define PS_DOTS 0
#include "simd_avx2.h"
//
#include "attend.inl"

namespace ps {
const AttendKernels kAttendAvx2 = {run_unit, run_join};
}  // namespace ps
PS_TARGET_END

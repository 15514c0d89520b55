#include "target.h"
PS_TARGET("avx512f,avx512bw,avx512vl,avx512dq,fma,f16c")
#define PS_DOTS 0
#include "simd_avx512.h"
//
#include "attend.inl"

namespace ps {
const AttendKernels kAttendAvx512 = {run_unit, run_join};
}  // namespace ps
PS_TARGET_END

#include "target.h"
PS_TARGET("avx2,fma,f16c")
#define PS_DOTS 0
#include "simd_avx2.h"
//
#include "experts.inl"

namespace ps {
void combine_avx2(const void* pairs, int64_t ld, int32_t type, const int64_t* places, const float* weights,
                  int64_t top_k, int64_t e, void* out) {
    combine(pairs, ld, type, places, weights, top_k, e, out);
}
}  // namespace ps
PS_TARGET_END

#include "target.h"
PS_TARGET("avx2,fma")
#include "sample.inl"

namespace ps {
int64_t gumbel_argmax_avx2(const float* logits, int64_t v, double temperature, uint64_t key) {
    return gumbel_argmax(logits, v, temperature, key);
}
void restrain_avx2(float* logits, int64_t v, const uint32_t* mask) { restrain(logits, v, mask); }
}  // namespace ps
PS_TARGET_END

#include "target.h"
PS_TARGET("avx512f,avx512bw,avx512vl,avx512dq,fma")
#include "sample.inl"

namespace ps {
int64_t gumbel_argmax_avx512(const float* logits, int64_t v, double temperature, uint64_t key) {
    return gumbel_argmax(logits, v, temperature, key);
}
}  // namespace ps
PS_TARGET_END

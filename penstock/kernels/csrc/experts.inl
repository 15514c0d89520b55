// The sum of a row's experts over `Simd`.
#include "api.h"
#include "experts.h"
#include "strips.inl"

namespace ps {
namespace {

template <class T>
void combine_of(const T* pairs, int64_t ld, const int64_t* places, const float* weights, int64_t top_k,
                int64_t e, T* out) {
    strips(e, [&](int64_t j, int n) {
        Simd::F total = Simd::mul(take(pairs + places[0] * ld + j, n), Simd::set(weights[0]));
        for (int64_t k = 1; k < top_k; ++k)
            total = Simd::fma(take(pairs + places[k] * ld + j, n), Simd::set(weights[k]), total);
        put(out + j, total, n);
    });
}

void combine(const void* pairs, int64_t ld, int32_t type, const int64_t* places, const float* weights,
             int64_t top_k, int64_t e, void* out) {
    if (type == PS_F32)
        combine_of(static_cast<const float*>(pairs), ld, places, weights, top_k, e, static_cast<float*>(out));
    else
        combine_of(static_cast<const uint16_t*>(pairs), ld, places, weights, top_k, e,
                   static_cast<uint16_t*>(out));
}

}  // namespace
}  // namespace ps

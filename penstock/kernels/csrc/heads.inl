// The int8 form of a head over `Simd`.
#include <cmath>

#include "heads.h"
#include "strips.inl"

namespace ps {
namespace {

template <class T>
float codes_of(const T* from, int64_t dim, int8_t* codes) {
    using F = Simd::F;
    const F infinite = Simd::set(INFINITY);
    F top = Simd::zero(), wild = Simd::zero();
    strips(dim, [&](int64_t j, int n) {
        F size = Simd::absolute(take(from + j, n));
        top = Simd::max(size, top);
        // A maximum may pass over a NaN; a sum does not.
        wild = Simd::add(wild, Simd::if_less(size, infinite, Simd::zero(), size));
    });
    float odd = Simd::sum(wild), scale = (odd == 0.0f ? Simd::top(top) : odd) / 127.0f;
    const F step = Simd::set(scale > 0 ? scale : 1.0f), most = Simd::set(127.5f);
    strips(dim, [&](int64_t j, int n) {
        F code = Simd::round(Simd::div(take(from + j, n), step));
        put(codes + j, Simd::if_less(Simd::absolute(code), most, code, Simd::zero()), n);
    });
    return scale;
}

float codes(const void* from, int32_t type, int64_t dim, int8_t* codes) {
    if (type == PS_F32) return codes_of(static_cast<const float*>(from), dim, codes);
    return codes_of(static_cast<const uint16_t*>(from), dim, codes);
}

}  // namespace
}  // namespace ps

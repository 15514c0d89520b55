// Norms, rotations and gates over `Simd`. Sums run in vectors and then across them: always in the same order.
#include <cmath>

#include "rows.h"
#include "math.inl"
#include "strips.inl"

namespace ps {
namespace {

using F = Simd::F;

template <class T>
void rms_norm_of(const T* x, const T* add, T* sum, const T* weight, float eps, float offset, int64_t k, T* out) {
    F squares = Simd::zero();
    strips(k, [&](int64_t j, int n) {
        F value = take(x + j, n);
        if (add != nullptr) {
            put(sum + j, Simd::add(value, take(add + j, n)), n);
            value = take(sum + j, n);  // as stored, so that whoever reads the sum later sees the same
        }
        squares = Simd::fma(value, value, squares);
    });
    const T* from = add != nullptr ? sum : x;
    F scale = Simd::set(1.0f / std::sqrt(Simd::sum(squares) / static_cast<float>(k) + eps)), shift = Simd::set(offset);
    strips(k, [&](int64_t j, int n) {
        F value = Simd::mul(take(from + j, n), scale);
        put(out + j, Simd::mul(value, Simd::add(take(weight + j, n), shift)), n);
    });
}

template <class T>
void rotate_of(T* heads, int64_t h, int64_t d, const float* cos, const float* sin, int64_t r) {
    for (T* head = heads; head < heads + h * d; head += d)
        strips(r, [&](int64_t j, int n) {
            F a = take(head + j, n), b = take(head + r + j, n), c = take(cos + j, n), s = take(sin + j, n);
            put(head + j, Simd::fnma(b, s, Simd::mul(a, c)), n);
            put(head + r + j, Simd::fma(a, s, Simd::mul(b, c)), n);
        });
}

template <class T>
void gate_of(const T* gate, const T* up, int32_t act, int64_t k, T* out) {
    strips(k, [&](int64_t j, int n) { put(out + j, Simd::mul(activate(act, take(gate + j, n)), take(up + j, n)), n); });
}

void rms_norm(const void* x, const void* add, void* sum, const void* weight, float eps, float offset, int32_t type,
              int64_t k, void* out) {
    if (type == PS_F32)
        rms_norm_of(static_cast<const float*>(x), static_cast<const float*>(add), static_cast<float*>(sum),
                    static_cast<const float*>(weight), eps, offset, k, static_cast<float*>(out));
    else
        rms_norm_of(static_cast<const uint16_t*>(x), static_cast<const uint16_t*>(add), static_cast<uint16_t*>(sum),
                    static_cast<const uint16_t*>(weight), eps, offset, k, static_cast<uint16_t*>(out));
}

void rotate(void* heads, int32_t type, int64_t h, int64_t d, const float* cos, const float* sin, int64_t r) {
    if (type == PS_F32) rotate_of(static_cast<float*>(heads), h, d, cos, sin, r);
    else rotate_of(static_cast<uint16_t*>(heads), h, d, cos, sin, r);
}

void gate(const void* gate, const void* up, int32_t act, int32_t type, int64_t k, void* out) {
    if (type == PS_F32)
        gate_of(static_cast<const float*>(gate), static_cast<const float*>(up), act, k, static_cast<float*>(out));
    else
        gate_of(static_cast<const uint16_t*>(gate), static_cast<const uint16_t*>(up), act, k,
                static_cast<uint16_t*>(out));
}

}  // namespace
}  // namespace ps

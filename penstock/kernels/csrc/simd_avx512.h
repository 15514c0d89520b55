// Vectors of 16 floats, in an anonymous namespace: each file that includes this has its own copy, compiled for
// its own instruction set. PS_DOTS says whether bf16 and int8 dot products are instructions.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace ps {
namespace {

struct Simd {
    using F = __m512;
    using I = __m512i;
    static constexpr int kWidth = 16;
    static constexpr int kVectors = 4;  // of one row of a panel, taken at once
#if PS_DOTS
    static constexpr int kRows = 6;  // 24 sums, 4 weights, an activation: 29 of 32 registers
    static constexpr int kCodeRows = 3;
    using Weights = __m512bh;
    using Pair = __m512bh;
#else
    static constexpr int kRows = 4;
    static constexpr int kCodeRows = 2;
    struct Weights { F low, high; };
    using Pair = Weights;
#endif

    static F zero() { return _mm512_setzero_ps(); }
    static I zeros() { return _mm512_setzero_si512(); }
    static F set(float x) { return _mm512_set1_ps(x); }
    static F load(const float* p) { return _mm512_loadu_ps(p); }
    static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
    static I load_codes(const void* p) { return _mm512_loadu_si512(p); }
    static F half(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
    static F to_float(I x) { return _mm512_cvtepi32_ps(x); }
    static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
    static F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
    static F add(F a, F b) { return _mm512_add_ps(a, b); }
    static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
    static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
    static F div(F a, F b) { return _mm512_div_ps(a, b); }
    static F max(F a, F b) { return _mm512_max_ps(a, b); }
    static F min(F a, F b) { return _mm512_min_ps(a, b); }
    static float sum(F a) { return _mm512_reduce_add_ps(a); }
    static float top(F a) { return _mm512_reduce_max_ps(a); }
    // The sums of as many vectors as a vector has numbers; whichever vector it is, in the same order.
    static F sums(const F (&a)[16]) {
        F b[8], c[4], d[2];
        for (int i = 0; i < 8; ++i)
            b[i] = add(_mm512_shuffle_f32x4(a[i], a[i + 8], 0x44), _mm512_shuffle_f32x4(a[i], a[i + 8], 0xee));
        for (int i = 0; i < 4; ++i)
            c[i] = add(_mm512_shuffle_f32x4(b[i], b[i + 4], 0x88), _mm512_shuffle_f32x4(b[i], b[i + 4], 0xdd));
        for (int i = 0; i < 2; ++i)
            d[i] = add(_mm512_shuffle_ps(c[i], c[i + 2], 0x44), _mm512_shuffle_ps(c[i], c[i + 2], 0xee));
        F mixed = add(_mm512_shuffle_ps(d[0], d[1], 0x88), _mm512_shuffle_ps(d[0], d[1], 0xdd));
        return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15), mixed);
    }
    static F absolute(F a) { return _mm512_abs_ps(a); }
    static F if_less(F a, F b, F yes, F no) {
        return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
    }
    static F round(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
    static F power_of_two(F n) {
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
    }

    static F load(const uint16_t* p) {  // bfloat16
        return _mm512_castsi512_ps(_mm512_slli_epi32(
            _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
    }
    static F load(const int8_t* p) {
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
    }
    static void store(uint16_t* p, F x) {
        // Round to nearest even by hand, which is the same on every processor; a NaN stays one.
        I bits = _mm512_castps_si512(x);
        I odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
        I rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
        __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
        rounded = _mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc0));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(rounded));
    }
    static void store(int8_t* p, F x) {  // rounded, saturated
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x)));
    }

#if PS_DOTS
    static Weights weights(const void* p) { return (__m512bh)_mm512_loadu_si512(p); }
    static Pair pair(uint32_t two) { return (__m512bh)_mm512_set1_epi32(static_cast<int>(two)); }
    static F dot(F sum, Weights w, Pair x) { return _mm512_dpbf16_ps(sum, w, x); }
    static I dot(I sum, I codes, I x) { return _mm512_dpbusd_epi32(sum, codes, x); }
#else
    static Weights split(I both) {
        return {_mm512_castsi512_ps(_mm512_slli_epi32(both, 16)),
                _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(static_cast<int>(0xffff0000u))))};
    }
    static Weights weights(const void* p) { return split(_mm512_loadu_si512(p)); }
    static Pair pair(uint32_t two) { return split(_mm512_set1_epi32(static_cast<int>(two))); }
    static F dot(F sum, Weights w, Pair x) { return fma(w.high, x.high, fma(w.low, x.low, sum)); }
    static I dot(I sum, I codes, I x) {  // in 16 bits, where the products of bytes cannot overflow
        I even = _mm512_madd_epi16(_mm512_and_si512(codes, _mm512_set1_epi16(0xff)),
                                   _mm512_srai_epi16(_mm512_slli_epi16(x, 8), 8));
        I odd = _mm512_madd_epi16(_mm512_srli_epi16(codes, 8), _mm512_srai_epi16(x, 8));
        return _mm512_add_epi32(sum, _mm512_add_epi32(even, odd));
    }
#endif
    static I four(uint32_t bytes) { return _mm512_set1_epi32(static_cast<int>(bytes)); }
    static I low_half(I x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
    static I high_half(I x) { return _mm512_and_si512(_mm512_srli_epi16(x, 4), _mm512_set1_epi8(15)); }
};

}  // namespace
}  // namespace ps

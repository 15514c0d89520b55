// Vectors of 8 floats; see simd_avx512.h.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace ps {
namespace {

struct Simd {
    using F = __m256;
    using I = __m256i;
    static constexpr int kWidth = 8;
    static constexpr int kVectors = 2;
    static constexpr int kRows = 3;
    static constexpr int kCodeRows = 2;
    struct Weights { F low, high; };
    using Pair = Weights;

    static F zero() { return _mm256_setzero_ps(); }
    static I zeros() { return _mm256_setzero_si256(); }
    static F set(float x) { return _mm256_set1_ps(x); }
    static F load(const float* p) { return _mm256_loadu_ps(p); }
    static void store(float* p, F x) { _mm256_storeu_ps(p, x); }
    static I load_codes(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
    static F half(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
    static F to_float(I x) { return _mm256_cvtepi32_ps(x); }
    static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
    static F fnma(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
    static F add(F a, F b) { return _mm256_add_ps(a, b); }
    static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
    static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
    static F div(F a, F b) { return _mm256_div_ps(a, b); }
    static F max(F a, F b) { return _mm256_max_ps(a, b); }
    static F min(F a, F b) { return _mm256_min_ps(a, b); }
    static float sum(F a) {
        __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
        x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
    }
    static float top(F a) {
        __m128 x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
        x = _mm_max_ps(x, _mm_movehl_ps(x, x));
        return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
    }
    static F sums(const F (&a)[8]) {
        F b[4], c[2];
        for (int i = 0; i < 4; ++i)
            b[i] = add(_mm256_permute2f128_ps(a[i], a[i + 4], 0x20), _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
        for (int i = 0; i < 2; ++i)
            c[i] = add(_mm256_shuffle_ps(b[i], b[i + 2], 0x44), _mm256_shuffle_ps(b[i], b[i + 2], 0xee));
        return _mm256_permute_ps(add(_mm256_shuffle_ps(c[0], c[1], 0x88), _mm256_shuffle_ps(c[0], c[1], 0xdd)), 0xd8);
    }
    static F if_less(F a, F b, F yes, F no) { return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
    static F absolute(F a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
    static F round(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
    static F power_of_two(F n) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
    }

    static F load(const uint16_t* p) {  // bfloat16
        return _mm256_castsi256_ps(
            _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
    }
    static F load(const int8_t* p) {
        return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
    }
    static void store(uint16_t* p, F x) {
        I bits = _mm256_castps_si256(x);
        I odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
        I rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
        F nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
        rounded = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc0), _mm256_castps_si256(nan));
        __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
    }
    static void store(int8_t* p, F x) {
        I whole = _mm256_cvtps_epi32(x);
        __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
        _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
    }

    static Weights split(I both) {
        return {_mm256_castsi256_ps(_mm256_slli_epi32(both, 16)),
                _mm256_castsi256_ps(_mm256_and_si256(both, _mm256_set1_epi32(static_cast<int>(0xffff0000u))))};
    }
    static Weights weights(const void* p) { return split(load_codes(p)); }
    static Pair pair(uint32_t two) { return split(_mm256_set1_epi32(static_cast<int>(two))); }
    static F dot(F sum, Weights w, Pair x) { return fma(w.high, x.high, fma(w.low, x.low, sum)); }
    static I dot(I sum, I codes, I x) {  // in 16 bits, where the products of bytes cannot overflow
        I even = _mm256_madd_epi16(_mm256_and_si256(codes, _mm256_set1_epi16(0xff)),
                                   _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8));
        I odd = _mm256_madd_epi16(_mm256_srli_epi16(codes, 8), _mm256_srai_epi16(x, 8));
        return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
    }
    static I four(uint32_t bytes) { return _mm256_set1_epi32(static_cast<int>(bytes)); }
    static I low_half(I x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }
    static I high_half(I x) { return _mm256_and_si256(_mm256_srli_epi16(x, 4), _mm256_set1_epi8(15)); }
};

}  // namespace
}  // namespace ps

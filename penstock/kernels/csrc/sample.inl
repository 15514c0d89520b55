// Counter-based Gumbel noise over a row of logits. Plain loops without branches, which the compiler turns into
// vectors of the instruction set that the including file names; the arithmetic is that of
// penstock/runtime/sampler/noise.py, to the bit but for the last one of a logarithm.
#include <cstring>
#include <limits>

#include "sample.h"

namespace ps {
namespace {

constexpr uint64_t kGolden = 0x9E3779B97F4A7C15ull;
constexpr int64_t kStrip = 512;  // scores that are kept at a time
constexpr int64_t kBlock = 64;   // tokens that are passed over together where none is allowed
constexpr float kNever = -std::numeric_limits<float>::infinity();

template <class To, class From>
inline To bits_of(From from) {
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
}

inline uint64_t mix(uint64_t x) {  // SplitMix64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

// Natural logarithm of a positive, normal number to within 1 ulp: the series of fdlibm's e_log.c.
inline double logarithm(double x) {
    constexpr uint64_t kMantissa = (1ull << 52) - 1;
    uint64_t bits = bits_of<uint64_t>(x);
    // Center the mantissa on 1: values above sqrt(2) are halved, and count to the next power of two.
    uint64_t high = ((bits & kMantissa) + 0x95F6400000000ull) >> 52;
    double m = bits_of<double>((bits & kMantissa) | ((1023ull - high) << 52));
    // The exponent as a double without a conversion, which AVX2 lacks.
    double e = bits_of<double>(((bits >> 52) + high) | 0x4330000000000000ull) - (4503599627370496.0 + 1023.0);
    double f = m - 1.0, s = f / (2.0 + f), z = s * s, half = 0.5 * f * f;
    double r = 1.479819860511658591e-01;
    r = r * z + 1.531383769920937332e-01;
    r = r * z + 1.818357216161805012e-01;
    r = r * z + 2.222219843214978396e-01;
    r = r * z + 2.857142874366239149e-01;
    r = r * z + 3.999999999940941908e-01;
    r = r * z + 6.666666666666735130e-01;
    r = r * z;
    return e * 6.93147180369123816490e-01 - ((half - (s * (half + r) + e * 1.90821492927058770002e-10)) - f);
}

bool none_allowed(const float* logits, int64_t count) {
    bool any = false;
    for (int64_t j = 0; j < count; ++j) any |= logits[j] > kNever;
    return !any;
}

void restrain(float* logits, int64_t v, const uint32_t* mask) {
    for (int64_t start = 0; start < v; start += 32) {
        uint32_t bits = mask[start / 32];
        if (bits == ~0u) continue;
        int64_t count = v - start < 32 ? v - start : 32;
        for (int64_t j = 0; j < count; ++j) logits[start + j] = (bits >> j) & 1 ? logits[start + j] : kNever;
    }
}

int64_t gumbel_argmax(const float* logits, int64_t v, double temperature, uint64_t key) {
    double best = -std::numeric_limits<double>::infinity();
    int64_t found = 0;
    alignas(64) double scores[kStrip];
    for (int64_t start = 0; start < v; start += kStrip) {
        int64_t count = v - start < kStrip ? v - start : kStrip;
        for (int64_t block = 0; block < count; block += kBlock) {
            int64_t end = block + kBlock < count ? block + kBlock : count;
            if (none_allowed(logits + start + block, end - block)) {
                for (int64_t j = block; j < end; ++j) scores[j] = kNever;
                continue;
            }
            for (int64_t j = block; j < end; ++j) {
                uint64_t bits = mix(static_cast<uint64_t>(start + j + 1) * kGolden + key);
                // The upper 52 bits, and half a unit: a number in (0, 1), exactly.
                double u = (bits_of<double>((bits >> 12) | 0x3FF0000000000000ull) - 1.0) + 0x1p-53;
                scores[j] = static_cast<double>(logits[start + j]) / temperature - logarithm(-logarithm(u));
            }
        }
        double top[8];
        for (double& one : top) one = -std::numeric_limits<double>::infinity();
        int64_t j = 0;
        for (; j + 8 <= count; j += 8)
            for (int lane = 0; lane < 8; ++lane) top[lane] = scores[j + lane] > top[lane] ? scores[j + lane] : top[lane];
        for (; j < count; ++j) top[0] = scores[j] > top[0] ? scores[j] : top[0];
        double highest = top[0];
        for (double one : top) highest = one > highest ? one : highest;
        if (highest > best) {  // the lowest token among equals
            best = highest;
            for (found = start; scores[found - start] != highest;) ++found;
        }
    }
    return found;
}

}  // namespace
}  // namespace ps

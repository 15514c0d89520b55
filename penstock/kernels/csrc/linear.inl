// The matrix product over `Simd`. A tile is `rows` rows times one panel of 64 outputs; sums stay in registers
// over all inputs, then go through a small buffer to the epilogue.
#include <algorithm>
#include <cstring>

#include "linear.h"
#include "math.inl"

namespace ps {
namespace {

using F = Simd::F;
using I = Simd::I;
constexpr int kV = Simd::kVectors, kW = Simd::kWidth, kSpan = kV * kW;

inline uint32_t word(const void* p) {
    uint32_t value;
    std::memcpy(&value, p, 4);
    return value;
}

// sums[R][64] = x[R, k] @ panel, for float32 and bfloat16.
template <int R, int Format>
void product(const char* x, int64_t row_bytes, const char* panel, int64_t steps, float* sums) {
    for (int span = 0; span < kBlock; span += kSpan) {
        F sum[R][kV];
        for (auto& row : sum)
            for (F& s : row) s = Simd::zero();
        const char* w = panel + span * 4;
        for (int64_t step = 0; step < steps; ++step, w += kBlock * 4) {
            if constexpr (Format == PS_W_BF16) {
                typename Simd::Pair pair[R];
                for (int r = 0; r < R; ++r) pair[r] = Simd::pair(word(x + r * row_bytes + step * 4));
                for (int v = 0; v < kV; ++v) {
                    auto weights = Simd::weights(w + v * kW * 4);
                    for (int r = 0; r < R; ++r) sum[r][v] = Simd::dot(sum[r][v], weights, pair[r]);
                }
            } else {
                for (int v = 0; v < kV; ++v) {
                    F weights = Simd::load(reinterpret_cast<const float*>(w) + v * kW);
                    for (int r = 0; r < R; ++r) {
                        float value;
                        std::memcpy(&value, x + r * row_bytes + step * 4, 4);
                        sum[r][v] = Simd::fma(Simd::set(value), weights, sum[r][v]);
                    }
                }
            }
        }
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < kV; ++v) Simd::store(sums + r * kBlock + span + v * kW, sum[r][v]);
    }
}

// The same for codes: integer sums within a group, weighed and added up in float32.
template <int R, int Format>
void product_codes(const LinearCall& call, int64_t block, int64_t m0, float* sums) {
    const ps_weight& w = *call.weight;
    const int64_t step_k = step_of(Format), steps = padded_k(Format, w.k) / step_k;
    const int64_t per_group = w.group / step_k, columns = padded_n(w.gated, w.n);
    const char* panel = static_cast<const char*>(w.codes) + block * panel_bytes(Format, w.k);
    const auto* x = static_cast<const char*>(call.x) + m0 * call.stride;
    const F zero = Simd::set(static_cast<float>(w.zero));
    for (int span = 0; span < kBlock; span += kSpan) {
        F total[R][kV];
        for (auto& row : total)
            for (F& t : row) t = Simd::zero();
        for (int64_t g = 0; g < call.groups; ++g) {
            I sum[R][kV];
            for (auto& row : sum)
                for (I& s : row) s = Simd::zeros();
            int64_t step = g * per_group, end = std::min(steps, step + per_group);
            const char* p = panel + step * kBlock * 4 + span * 4;
            for (; step < end; ++step, p += kBlock * 4) {
                I first[R], second[R];
                for (int r = 0; r < R; ++r) {
                    first[r] = Simd::four(word(x + r * call.stride + step * step_k));
                    if constexpr (Format == PS_W_U4)
                        second[r] = Simd::four(word(x + r * call.stride + step * step_k + 4));
                }
                for (int v = 0; v < kV; ++v) {
                    I codes = Simd::load_codes(p + v * kW * 4);
                    for (int r = 0; r < R; ++r) {
                        if constexpr (Format == PS_W_U4) {
                            sum[r][v] = Simd::dot(sum[r][v], Simd::low_half(codes), first[r]);
                            sum[r][v] = Simd::dot(sum[r][v], Simd::high_half(codes), second[r]);
                        } else {
                            sum[r][v] = Simd::dot(sum[r][v], codes, first[r]);
                        }
                    }
                }
            }
            for (int v = 0; v < kV; ++v) {
                int64_t at = g * columns + block * kBlock + span + v * kW;
                F scale = Simd::half(w.scales + at);
                for (int r = 0; r < R; ++r) {
                    F codes_sum = Simd::set(call.sums_mg[(m0 + r) * call.groups + g]);
                    F value = Simd::to_float(sum[r][v]);
                    if (w.offsets != nullptr) {
                        total[r][v] = Simd::fma(scale, value, total[r][v]);
                        total[r][v] = Simd::fnma(Simd::half(w.offsets + at), codes_sum, total[r][v]);
                    } else {
                        total[r][v] = Simd::fma(scale, Simd::fnma(zero, codes_sum, value), total[r][v]);
                    }
                }
            }
        }
        for (int r = 0; r < R; ++r) {
            F scale = Simd::set(call.scale_m[m0 + r]);
            for (int v = 0; v < kV; ++v)
                Simd::store(sums + r * kBlock + span + v * kW, Simd::mul(total[r][v], scale));
        }
    }
}

// Write `count` outputs of one row, starting at `column`: values + residual, in the output's type.
template <class T>
void write(const LinearCall& call, int64_t m, int64_t column, int64_t count, float* values) {
    T* out = static_cast<T*>(call.out) + m * call.ldo + column;
    const T* more = call.residual ? static_cast<const T*>(call.residual) + m * call.ldr + column : nullptr;
    T padded[kBlock], edge[kBlock];
    T* to = out;
    if (count % kW) {  // the last block of a width that is no multiple of the vectors: through a buffer
        to = edge;
        if (more != nullptr) more = static_cast<T*>(std::memcpy(padded, more, count * sizeof(T)));
    }
    for (int64_t j = 0; j < count; j += kW) {
        F value = Simd::load(values + j);
        if (more != nullptr) value = Simd::add(value, Simd::load(more + j));
        Simd::store(to + j, value);
    }
    if (to != out) std::memcpy(out, edge, count * sizeof(T));
}

void finish(const LinearCall& call, int64_t block, int64_t m0, int rows, float* sums) {
    const ps_weight& w = *call.weight;
    int64_t width = w.gated ? w.n / 2 : w.n, span = w.gated ? 32 : kBlock;
    int64_t column = block * span, count = std::min(span, width - column);
    for (int r = 0; r < rows; ++r) {
        float* row = sums + r * kBlock;
        if (w.bias != nullptr)
            for (int64_t j = 0; j < kBlock; j += kW)
                Simd::store(row + j, Simd::add(Simd::load(row + j), Simd::load(w.bias + block * kBlock + j)));
        for (int64_t j = 0; j < span && call.act != PS_NONE; j += kW)
            Simd::store(row + j, activate(call.act, Simd::load(row + j)));
        for (int64_t j = 0; j < span && w.gated; j += kW)
            Simd::store(row + j, Simd::mul(Simd::load(row + j), Simd::load(row + 32 + j)));
        if (call.out_type == PS_F32) write<float>(call, m0 + r, column, count, row);
        else write<uint16_t>(call, m0 + r, column, count, row);
    }
}

template <int R, int Format>
void tile(const LinearCall& call, int64_t block, int64_t m0) {
    alignas(64) float sums[R * kBlock];
    const ps_weight& w = *call.weight;
    if constexpr (Format == PS_W_F32 || Format == PS_W_BF16) {
        constexpr int64_t size = Format == PS_W_F32 ? 4 : 2;
        const char* panel = static_cast<const char*>(w.codes) + block * panel_bytes(Format, w.k);
        const char* x = static_cast<const char*>(call.x) + m0 * call.stride * size;
        product<R, Format>(x, call.stride * size, panel, padded_k(Format, w.k) / step_of(Format), sums);
    } else {
        product_codes<R, Format>(call, block, m0, sums);
    }
    finish(call, block, m0, R, sums);
}

// Cover [m0, m1) with tiles of at most R rows.
template <int R, int Format>
void tiles(const LinearCall& call, int64_t block, int64_t m0, int64_t m1) {
    for (; m1 - m0 >= R; m0 += R) tile<R, Format>(call, block, m0);
    if constexpr (R > 1)
        if (m0 < m1) tiles<R - 1, Format>(call, block, m0, m1);
}

void run_block(const LinearCall& call, int64_t block, int64_t m0, int64_t m1) {
    switch (call.weight->format) {
        case PS_W_F32: return tiles<Simd::kRows, PS_W_F32>(call, block, m0, m1);
        case PS_W_BF16: return tiles<Simd::kRows, PS_W_BF16>(call, block, m0, m1);
        case PS_W_U8: return tiles<Simd::kCodeRows, PS_W_U8>(call, block, m0, m1);
        default: return tiles<Simd::kCodeRows, PS_W_U4>(call, block, m0, m1);
    }
}

template <class T>
float largest(const T* x, int64_t k) {
    F top = Simd::zero();
    int64_t j = 0;
    for (; j + kW <= k; j += kW) top = Simd::max(top, Simd::absolute(Simd::load(x + j)));
    float found = Simd::top(top);
    for (; j < k; ++j) {
        T last[kW] = {};
        last[0] = x[j];
        found = std::max(found, Simd::top(Simd::absolute(Simd::load(last))));
    }
    return found;
}

// Copy a row in another type, padded with zeros.
template <class To, class From>
void convert(const From* x, int64_t k, int64_t padded, F scale, To* out) {
    int64_t j = 0;
    for (; j + kW <= k; j += kW) Simd::store(out + j, Simd::mul(Simd::load(x + j), scale));
    if (j < padded) {
        From from[kW] = {};
        To to[kW];
        for (; j < padded; j += kW) {
            std::fill(from, from + kW, From{});
            if (j < k) std::memcpy(from, x + j, (k - j) * sizeof(From));
            Simd::store(to, Simd::mul(Simd::load(from), scale));
            std::memcpy(out + j, to, std::min<int64_t>(kW, padded - j) * sizeof(To));
        }
    }
}

template <class From>
void prepare_from(int32_t format, const From* x, int64_t k, int64_t padded, int64_t group, void* out, float* scale,
                  float* sums) {
    const F one = Simd::set(1.0f);
    if (format == PS_W_F32) return convert(x, k, padded, one, static_cast<float*>(out));
    if (format == PS_W_BF16) return convert(x, k, padded, one, static_cast<uint16_t*>(out));
    float top = largest(x, k);
    auto* codes = static_cast<int8_t*>(out);
    *scale = top / 127.0f;
    convert(x, k, padded, Simd::set(top > 0 ? 127.0f / top : 0.0f), codes);
    for (int64_t start = 0, g = 0; start < padded; start += group, ++g) {
        int32_t total = 0;
        for (int64_t j = start; j < std::min(padded, start + group); ++j) total += codes[j];
        sums[g] = static_cast<float>(total);
    }
}

void prepare(int32_t format, const void* x, int32_t x_type, int64_t k, int64_t padded, int64_t group, void* out,
             float* scale, float* sums) {
    if (x_type == PS_F32) prepare_from(format, static_cast<const float*>(x), k, padded, group, out, scale, sums);
    else prepare_from(format, static_cast<const uint16_t*>(x), k, padded, group, out, scale, sums);
}

}  // namespace
}  // namespace ps

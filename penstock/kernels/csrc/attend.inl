// Attention over `Simd`: scores of a block of keys, its step of the online softmax, its values.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "attend.h"
#include "math.inl"

namespace ps {
namespace {

using F = Simd::F;
constexpr int kW = Simd::kWidth;
constexpr int kSums = kW == 16 ? 16 : 8;  // vectors that stay in registers
constexpr int64_t kDirectRows = 8;        // up to here a key is not read often enough to convert it first

// What one unit works on; memory from the scratch of its thread.
struct Work {
    int64_t folded = 0, dim = 0, state = 0, columns = 0;  // columns: scores per row, padded
    float *q = nullptr, *sums = nullptr, *segment = nullptr, *scores = nullptr, *fade = nullptr;
    float *keys = nullptr, *values = nullptr;      // of a block, if converted
    int64_t *low = nullptr, *high = nullptr;       // visible keys of each row
    const void **k_rows = nullptr, **v_rows = nullptr;
};

template <class T>
T* carve(char*& at, int64_t count) {
    T* found = reinterpret_cast<T*>(at);
    at += (count * sizeof(T) + 63) / 64 * 64;
    return found;
}

Work carve_work(const ps_attention& a, int64_t folded, void* scratch) {
    auto* at = static_cast<char*>(scratch);
    int64_t block = block_tokens(a.page), dim = padded_dim(a.dim), state = state_floats(a.dim);
    Work w;
    w.folded = folded;
    w.dim = dim;
    w.state = state;
    w.columns = (block + 15) / 16 * 16 + 16;
    w.q = carve<float>(at, folded * dim);
    w.sums = carve<float>(at, folded * state);
    w.segment = carve<float>(at, folded * state);
    w.scores = carve<float>(at, folded * w.columns);
    w.fade = carve<float>(at, folded);
    w.keys = carve<float>(at, block * dim);
    w.values = carve<float>(at, block * dim);
    w.low = carve<int64_t>(at, folded);
    w.high = carve<int64_t>(at, folded);
    w.k_rows = carve<const void*>(at, block);
    w.v_rows = carve<const void*>(at, block);
    return w;
}

// Copy `count` numbers times a factor into floats, padded with zeros.
template <class T>
void widen(const T* from, int64_t count, int64_t padded, float factor, float* to) {
    const F scale = Simd::set(factor);
    int64_t j = 0;
    for (; j + kW <= count; j += kW) Simd::store(to + j, Simd::mul(Simd::load(from + j), scale));
    for (; j < padded; j += kW) {
        T edge[kW] = {};
        if (j < count) std::memcpy(edge, from + j, (count - j) * sizeof(T));
        Simd::store(to + j, Simd::mul(Simd::load(edge), scale));
    }
}

void reset(float* states, int64_t rows, const Work& w) {
    std::memset(states, 0, rows * w.state * sizeof(float));
    for (int64_t r = 0; r < rows; ++r) states[r * w.state + w.dim] = -INFINITY;
}

// scores[R, t0 .. t1] = q . k. The sum of a score runs over the dims in vectors, then across them. The values of the
// same tokens are fetched meanwhile, if they are still in the pages.
template <int R, class T>
void score(const float* q, const void* const* k_rows, const void* const* v_rows, int64_t t0, int64_t t1, const Work& w,
           float* scores) {
    constexpr int C = kW / R;
    for (int64_t t = t0; t < t1; t += C) {
        const T* k[C];
        F sum[kW];
        for (F& s : sum) s = Simd::zero();
        for (int c = 0; c < C; ++c) {
            int64_t token = std::min(t + c, t1 - 1);
            k[c] = static_cast<const T*>(k_rows[token]);
            if (v_rows == nullptr) continue;
            const auto* v = static_cast<const char*>(v_rows[token]);
            for (int64_t byte = 0; byte < w.dim * static_cast<int64_t>(sizeof(T)); byte += 64)
                __builtin_prefetch(v + byte);
        }
        for (int64_t d = 0; d < w.dim; d += kW) {
            F x[R];
            for (int r = 0; r < R; ++r) x[r] = Simd::load(q + r * w.dim + d);
            for (int c = 0; c < C; ++c) {
                F y = Simd::load(k[c] + d);
                for (int r = 0; r < R; ++r) sum[r * C + c] = Simd::fma(x[r], y, sum[r * C + c]);
            }
        }
        alignas(64) float out[kW];
        Simd::store(out, Simd::sums(sum));
        for (int r = 0; r < R; ++r) std::memcpy(scores + r * w.columns + t, out + r * C, C * sizeof(float));
    }
}

template <class T>
void score_rows(const Work& w, bool direct, int64_t t0, int64_t t1) {
    int64_t r = 0;
    const void* const* ahead = direct ? w.v_rows : nullptr;
    auto run = [&](auto rows) {
        constexpr int R = decltype(rows)::value;
        for (; r + R <= w.folded; r += R)
            score<R, T>(w.q + r * w.dim, w.k_rows, ahead, t0, t1, w, w.scores + r * w.columns);
    };
    run(std::integral_constant<int, 4>{});
    run(std::integral_constant<int, 2>{});
    run(std::integral_constant<int, 1>{});
}

// Turn one row's scores into weights: keys [low, high) of the block are visible, [t0, t1) is all that is in use.
void weigh(float* s, int64_t t0, int64_t t1, int64_t low, int64_t high, float softcap, float* state, float* fade) {
    int64_t start = t0 / kW * kW, stop = (t1 + kW - 1) / kW * kW;
    *fade = 1.0f;
    if (low >= high) return std::fill(s + start, s + stop, 0.0f);
    if (softcap > 0)
        for (int64_t t = start; t < stop; t += kW) {
            F cap = Simd::set(softcap);
            Simd::store(s + t, Simd::mul(cap, tangent(Simd::div(Simd::load(s + t), cap))));
        }
    std::fill(s + start, s + low, -INFINITY);
    std::fill(s + high, s + stop, -INFINITY);
    F top = Simd::set(state[0]);
    for (int64_t t = start; t < stop; t += kW) top = Simd::max(top, Simd::load(s + t));
    float most = Simd::top(top);
    if (most == -INFINITY) return std::fill(s + start, s + stop, 0.0f);
    const F shift = Simd::set(most);
    for (int64_t t = start; t < stop; t += kW) Simd::store(s + t, exponential(Simd::sub(Simd::load(s + t), shift)));
    std::fill(s + start, s + low, 0.0f);
    std::fill(s + high, s + stop, 0.0f);
    F total = Simd::zero();
    for (int64_t t = start; t < stop; t += kW) total = Simd::add(total, Simd::load(s + t));
    if (most != state[0]) {
        alignas(64) float once[kW];
        Simd::store(once, exponential(Simd::set(state[0] - most)));
        *fade = once[0];
    }
    state[1] = state[1] * *fade + Simd::sum(total);
    state[0] = most;
}

// sums[R, V vectors] = sums * fade + weights . values, from the first key to the last.
template <int R, int V, class T>
void accumulate(const float* weights, const void* const* rows, int64_t t0, int64_t t1, int64_t d, const Work& w,
                const float* fade, float* sums) {
    F sum[R][V];
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v)
            sum[r][v] = Simd::mul(Simd::load(sums + r * w.state + d + v * kW), Simd::set(fade[r]));
    for (int64_t t = t0; t < t1; ++t) {
        const T* row = static_cast<const T*>(rows[t]) + d;
        F weight[R];
        for (int r = 0; r < R; ++r) weight[r] = Simd::set(weights[r * w.columns + t]);
        for (int v = 0; v < V; ++v) {
            F value = Simd::load(row + v * kW);
            for (int r = 0; r < R; ++r) sum[r][v] = Simd::fma(weight[r], value, sum[r][v]);
        }
    }
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) Simd::store(sums + r * w.state + d + v * kW, sum[r][v]);
}

template <int R, int V, class T>
void accumulate_from(int64_t d, const float* weights, int64_t t0, int64_t t1, const Work& w, const float* fade,
                     float* sums) {
    for (; d + V * kW <= w.dim; d += V * kW) accumulate<R, V, T>(weights, w.v_rows, t0, t1, d, w, fade, sums);
    if constexpr (V > 1)
        if (d < w.dim) accumulate_from<R, V / 2, T>(d, weights, t0, t1, w, fade, sums);
}

template <class T>
void accumulate_rows(const Work& w, int64_t t0, int64_t t1, float* states) {
    int64_t r = 0;
    auto run = [&](auto rows) {
        constexpr int R = decltype(rows)::value;
        for (; r + R <= w.folded; r += R)
            accumulate_from<R, std::min(8, kSums / R), T>(0, w.scores + r * w.columns, t0, t1, w, w.fade + r,
                                                         states + r * w.state);
    };
    run(std::integral_constant<int, 4>{});
    run(std::integral_constant<int, 2>{});
    run(std::integral_constant<int, 1>{});
}

// Merge the state of one row's segment into the state of all before it. A segment not seen changes nothing.
void absorb(float* all, const float* one, int64_t dim) {
    float before = all[dim], here = one[dim], most = std::max(before, here);
    if (here == -INFINITY) return;
    alignas(64) float fade[kW], gain[kW];
    Simd::store(fade, exponential(Simd::set(before - most)));
    Simd::store(gain, exponential(Simd::set(here - most)));
    const F f = Simd::set(fade[0]), g = Simd::set(gain[0]);
    for (int64_t d = 0; d < dim; d += kW)
        Simd::store(all + d, Simd::fma(Simd::load(one + d), g, Simd::mul(Simd::load(all + d), f)));
    all[dim] = most;
    all[dim + 1] = all[dim + 1] * fade[0] + one[dim + 1] * gain[0];
}

// Write one row and head from its state.
template <class T>
void finish(const ps_attention& a, int64_t row, int64_t head, const float* state) {
    int64_t dim = padded_dim(a.dim);
    float total = state[dim + 1];
    T* out = static_cast<T*>(a.out) + (row * a.heads + head) * a.dim;
    const F divisor = Simd::set(total > 0 ? total : 1.0f);
    for (int64_t d = 0; d < a.dim; d += kW) {
        T part[kW];
        Simd::store(part, Simd::div(Simd::load(state + d), divisor));
        std::memcpy(out + d, part, std::min<int64_t>(kW, a.dim - d) * sizeof(T));
    }
    a.lse[row * a.heads + head] = total > 0 ? state[dim] + std::log(total) : -INFINITY;
}

template <class T>
void finish_unit(const ps_attention& a, const ps_attend_unit& u, int64_t head, const float* states) {
    int64_t share = a.heads / a.kv_heads, state = state_floats(a.dim);
    for (int64_t r = 0; r < u.rows * share; ++r)
        finish<T>(a, u.row + r / share, head * share + r % share, states + r * state);
}

// Point at the keys and values [t0, t1) of a block that starts at `start`, converted unless read directly.
template <class K>
void find_keys(const ps_attention& a, const ps_attend_unit& u, int64_t head, int64_t start, int64_t t0, int64_t t1,
               bool direct, const Work& w) {
    const int32_t* table = a.table + u.sequence * a.ld_table;
    for (int64_t t = t0; t < t1; ++t) {
        int64_t position = start + t, block = table[position / a.page];
        int64_t at = ((block * a.kv_heads + head) * a.page + position % a.page) * a.dim;
        const K *k = static_cast<const K*>(a.k) + at, *v = static_cast<const K*>(a.v) + at;
        w.k_rows[t] = k;
        w.v_rows[t] = v;
        if (direct) continue;
        bool codes = a.kv_type == PS_INT8;
        widen(k, a.dim, w.dim, codes ? a.k_scale[at / a.dim] : 1.0f, w.keys + t * w.dim);
        widen(v, a.dim, w.dim, codes ? a.v_scale[at / a.dim] : 1.0f, w.values + t * w.dim);
        w.k_rows[t] = w.keys + t * w.dim;
        w.v_rows[t] = w.values + t * w.dim;
    }
}

template <class K>
void run_block(const ps_attention& a, const ps_attend_unit& u, int64_t head, int64_t start, const Work& w,
               float* states) {
    int64_t block = block_tokens(a.page), t0 = block, t1 = 0;
    for (int64_t r = 0; r < w.folded; ++r) {
        int64_t low = std::max<int64_t>(w.low[r] - start, 0), high = std::min(w.high[r] - start, block);
        if (low >= high) continue;
        t0 = std::min(t0, low);
        t1 = std::max(t1, high);
    }
    if (t0 >= t1) return;
    bool direct = w.folded <= kDirectRows && a.dim == w.dim && a.kv_type != PS_INT8;
    find_keys<K>(a, u, head, start, t0, t1, direct, w);
    if (direct) score_rows<K>(w, true, t0, t1);
    else score_rows<float>(w, false, t0, t1);
    for (int64_t r = 0; r < w.folded; ++r)
        weigh(w.scores + r * w.columns, t0, t1, std::max<int64_t>(w.low[r] - start, 0),
              std::min(w.high[r] - start, block), a.softcap, states + r * w.state + w.dim, w.fade + r);
    if (direct) accumulate_rows<K>(w, t0, t1, states);
    else accumulate_rows<float>(w, t0, t1, states);
}

template <class T, class K>
void unit_of(const ps_attention& a, const ps_attend_unit& u, int64_t head, float* parts, void* scratch) {
    int64_t share = a.heads / a.kv_heads;
    Work w = carve_work(a, u.rows * share, scratch);
    for (int64_t r = 0; r < w.folded; ++r) {
        int64_t row = u.row + r / share, position = a.positions[row];
        const T* q = static_cast<const T*>(a.q) + row * a.ldq + (head * share + r % share) * a.dim;
        widen(q, a.dim, w.dim, a.scale, w.q + r * w.dim);
        w.low[r] = a.window > 0 ? std::max<int64_t>(position - a.window + 1, 0) : 0;
        w.high[r] = std::min(position + 1, a.lengths[u.sequence]);
    }
    reset(w.sums, w.folded, w);
    for (int64_t segment = u.from; segment < u.to; ++segment) {
        float* states = parts == nullptr ? w.segment : parts + (segment - u.from) * w.folded * w.state;
        reset(states, w.folded, w);
        for (int64_t b = 0; b < kSegmentBlocks; ++b)
            run_block<K>(a, u, head, (segment * kSegmentBlocks + b) * block_tokens(a.page), w, states);
        for (int64_t r = 0; r < w.folded && parts == nullptr; ++r)
            absorb(w.sums + r * w.state, states + r * w.state, w.dim);
    }
    if (parts == nullptr) finish_unit<T>(a, u, head, w.sums);
}

void run_unit(const ps_attention& a, const ps_attend_unit& u, int64_t head, float* parts, void* scratch) {
    bool codes = a.kv_type == PS_INT8;
    if (a.type == PS_F32 && codes) unit_of<float, int8_t>(a, u, head, parts, scratch);
    else if (a.type == PS_F32) unit_of<float, float>(a, u, head, parts, scratch);
    else if (codes) unit_of<uint16_t, int8_t>(a, u, head, parts, scratch);
    else unit_of<uint16_t, uint16_t>(a, u, head, parts, scratch);
}

void run_join(const ps_attention& a, const ps_attend_unit& u, int64_t head, float* parts) {
    int64_t share = a.heads / a.kv_heads, rows = u.rows * share, state = state_floats(a.dim), dim = padded_dim(a.dim);
    // The first segment takes in the others: merged into an empty state it would be itself, to the bit.
    for (int64_t s = 1; s < u.to - u.from; ++s)
        for (int64_t r = 0; r < rows; ++r) absorb(parts + r * state, parts + (s * rows + r) * state, dim);
    if (a.type == PS_F32) finish_unit<float>(a, u, head, parts);
    else finish_unit<uint16_t>(a, u, head, parts);
}

}  // namespace
}  // namespace ps

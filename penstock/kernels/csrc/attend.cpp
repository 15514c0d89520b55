// Entries of attention: the plan of a step, its units over the team, and the writing of keys and values.
#include "attend.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "isa.h"
#include "team.h"

namespace ps {
namespace {

const AttendKernels* kernels() {
    switch (current_isa()) {
        case kAvx512Bf16:
        case kAvx512: return &kAttendAvx512;
        case kAvx2: return &kAttendAvx2;
        default: return nullptr;
    }
}

// Scratch of the calling thread, as long as it lives.
void* own_scratch(std::size_t bytes) {
    thread_local Scratch held;
    return held.at_least(bytes);
}

// The segments that rows [first, first + rows) of a sequence see, and what they cost.
ps_attend_unit make_unit(const int64_t* positions, int64_t sequence, int64_t first, int64_t rows, int64_t length,
                         int64_t group, int64_t page, int64_t window) {
    int64_t low = length, high = 0;
    for (int64_t r = first; r < first + rows; ++r) {
        int64_t from = window > 0 ? std::max<int64_t>(positions[r] - window + 1, 0) : 0;
        int64_t to = std::min(positions[r] + 1, length);
        if (from >= to) continue;
        low = std::min(low, from);
        high = std::max(high, to);
    }
    int64_t segment = segment_tokens(page);
    if (low >= high) return {sequence, first, rows, 0, 0, -1, 1};
    // Fetching a key costs about as much as eight rows' work on it.
    int64_t cost = (high - low + 32) * (rows * group + 8);
    return {sequence, first, rows, low / segment, (high + segment - 1) / segment, -1, cost};
}

float number(const char* from, int32_t type, int64_t i) {
    uint32_t bits = 0;
    if (type == PS_F32) {
        std::memcpy(&bits, from + i * 4, 4);
    } else {
        std::memcpy(reinterpret_cast<char*>(&bits) + 2, from + i * 2, 2);
    }
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

// Round numbers to int8; returns their scale. A NaN makes the scale one, so that the row stays NaN.
float put_codes(const char* from, int32_t type, int64_t dim, int8_t* codes) {
    float top = 0;
    for (int64_t i = 0; i < dim; ++i) {
        float size = std::fabs(number(from, type, i));
        if (size > top || size != size) top = size;
    }
    float scale = top / 127.0f, step = scale > 0 ? scale : 1.0f;
    constexpr float whole = 12582912.0f;  // adding it leaves no bits for fractions: rounds to nearest even
    for (int64_t i = 0; i < dim; ++i) {
        float code = number(from, type, i) / step + whole - whole;
        codes[i] = static_cast<int8_t>(code >= -127.0f && code <= 127.0f ? code : 0.0f);
    }
    return scale;
}

}  // namespace

int64_t attend_scratch(const ps_attention& a, int64_t folded) {
    int64_t block = block_tokens(a.page), dim = padded_dim(a.dim), columns = block + 32;
    int64_t floats = folded * (dim + 2 * state_floats(a.dim) + columns + 1 + 4) + 2 * block * dim;
    return floats * 4 + block * 16 + 16 * 64;
}

}  // namespace ps

using namespace ps;

extern "C" int32_t ps_attend_plan(const int64_t* q_lens, const int64_t* lengths, const int64_t* positions,
                                  int64_t sequences, int64_t heads, int64_t kv_heads, int64_t page, int64_t window,
                                  ps_attend_unit* units, int64_t capacity, int64_t* counts) {
    int64_t group = heads / kv_heads, most = std::max<int64_t>(1, kTileRows / group), threads = Team::size();
    int64_t count = 0, total = 0, joins = 0, states = 0, pieces = 0;
    for (int64_t s = 0, row = 0; s < sequences; row += q_lens[s++])
        for (int64_t q = 0; q < q_lens[s]; q += most, ++count) {
            if (count >= capacity) continue;
            units[count] = make_unit(positions, s, row + q, std::min(most, q_lens[s] - q), lengths[s], group, page, window);
            total += units[count].cost;
        }
    // Four units a thread balance well; a unit that is much larger than that is divided by segments.
    int64_t target = std::max<int64_t>(1, total * kv_heads / (4 * threads));
    auto parts_of = [&](const ps_attend_unit& u) {
        if (threads == 1 || u.cost * 2 <= target * 3) return int64_t{1};
        return std::max<int64_t>(1, std::min(u.to - u.from, (u.cost + target - 1) / target));
    };
    for (int64_t i = 0; i < std::min(count, capacity); ++i) {
        int64_t parts = parts_of(units[i]);
        pieces += parts;
        joins += parts > 1;
    }
    counts[0] = pieces;
    counts[1] = joins;
    if (count > capacity || pieces + joins > capacity) {
        counts[0] = std::max(count, pieces);
        return -1;
    }
    // From the back, so that the pieces do not overwrite what is still to be divided.
    int64_t join = pieces, piece = pieces;
    for (int64_t i = count; i-- > 0;) {
        ps_attend_unit u = units[i];
        int64_t parts = parts_of(u), segments = u.to - u.from, rows = u.rows * group;
        if (parts > 1) {
            u.part = states;
            states += segments * rows;
            units[join++] = u;
        }
        for (int64_t p = parts; p-- > 0;) {
            ps_attend_unit one = u;
            if (parts > 1) {
                one.from = u.from + segments * p / parts;
                one.to = u.from + segments * (p + 1) / parts;
                one.part = u.part + (one.from - u.from) * rows;
                one.cost = u.cost / parts;
            }
            units[--piece] = one;
        }
    }
    counts[2] = states;
    std::sort(units, units + pieces, [](const ps_attend_unit& a, const ps_attend_unit& b) {
        return a.cost != b.cost ? a.cost > b.cost : a.row != b.row ? a.row < b.row : a.from < b.from;
    });
    return 0;
}

extern "C" int32_t ps_attend(const ps_attention* call, const ps_attend_unit* units, const int64_t* counts) {
    const AttendKernels* kernel = kernels();
    if (kernel == nullptr) return -1;
    const ps_attention& a = *call;
    int64_t group = a.heads / a.kv_heads, state = state_floats(a.dim);
    auto* parts = counts[1] ? static_cast<float*>(Team::scratch(counts[2] * a.kv_heads * state * 4)) : nullptr;
    auto place = [&](const ps_attend_unit& u, int64_t head) {
        return u.part < 0 ? nullptr : parts + (head * counts[2] + u.part) * state;
    };
    share(counts[0] * a.kv_heads, [&](int64_t item, int) {
        const ps_attend_unit& u = units[item / a.kv_heads];
        int64_t head = item % a.kv_heads;
        kernel->unit(a, u, head, place(u, head), own_scratch(attend_scratch(a, u.rows * group)));
    });
    share(counts[1] * a.kv_heads, [&](int64_t item, int) {
        const ps_attend_unit& u = units[counts[0] + item / a.kv_heads];
        kernel->join(a, u, item % a.kv_heads, place(u, item % a.kv_heads));
    });
    return 0;
}

extern "C" int32_t ps_kv_write(const void* k, const void* v, int64_t ldk, int64_t ldv, int32_t type,
                               const int64_t* slots, int64_t rows, int64_t kv_heads, int64_t dim, int64_t page,
                               void* k_plane, void* v_plane, float* k_scale, float* v_scale) {
    int64_t size = type == PS_F32 ? 4 : 2;
    auto put = [&](const void* from, int64_t ld, void* plane, float* scales, int64_t row) {
        const char* source = static_cast<const char*>(from) + row * ld * size;
        for (int64_t h = 0; h < kv_heads; ++h, source += dim * size) {
            int64_t at = (slots[row] / page * kv_heads + h) * page + slots[row] % page;
            if (scales == nullptr) std::memcpy(static_cast<char*>(plane) + at * dim * size, source, dim * size);
            else scales[at] = put_codes(source, type, dim, static_cast<int8_t*>(plane) + at * dim);
        }
    };
    int64_t at_once = 1 + 32768 / (kv_heads * dim * size + 1);
    share((rows + at_once - 1) / at_once, [&](int64_t item, int) {
        for (int64_t r = item * at_once; r < rows && r < (item + 1) * at_once; ++r) {
            put(k, ldk, k_plane, k_scale, r);
            put(v, ldv, v_plane, v_scale, r);
        }
    });
    return 0;
}

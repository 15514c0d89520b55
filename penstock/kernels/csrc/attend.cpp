// Entries of attention: the plan of a step, its units over the team.
#include "attend.h"

#include <algorithm>

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

// How weight matrices [n, k] lie in memory.
//
// Outputs are cut into blocks of 64; a block is one contiguous panel in which the inputs run outermost, so that
// a product streams through memory and every load fills a vector:
//   F32   [block][k][64]           float32
//   BF16  [block][k / 2][64][2]    bfloat16, the inputs in pairs
//   U8    [block][k / 4][64][4]    one byte a code, the inputs in fours
//   U4    [block][k / 8][64][4]    byte j of an eight holds input j (low half) and input 4 + j (high half)
// n is padded to 64 and k to the inputs taken at once; the padding is zero (for codes: whatever; the
// activations there are zero). Whoever changes any of this raises kLayoutVersion.
#pragma once
#include <cstdint>

#include "api.h"

namespace ps {

constexpr int32_t kLayoutVersion = 1;
constexpr int64_t kBlock = 64;

constexpr int64_t up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Inputs that one row of a panel holds.
constexpr int64_t step_of(int32_t format) {
    return format == PS_W_F32 ? 1 : format == PS_W_BF16 ? 2 : format == PS_W_U8 ? 4 : 8;
}

// Bytes of a panel's row.
constexpr int64_t row_bytes(int32_t) { return kBlock * 4; }

constexpr int64_t padded_k(int32_t format, int64_t k) { return up(k, step_of(format)); }

constexpr int64_t panel_bytes(int32_t format, int64_t k) {
    return padded_k(format, k) / step_of(format) * row_bytes(format);
}

constexpr bool quantised(int32_t format) { return format == PS_W_U8 || format == PS_W_U4; }

// The checkpoint's row that is output `column` of the packed matrix: gate and up alternate every 32 rows.
inline int64_t source_row(bool gated, int64_t n, int64_t column) {
    if (!gated) return column < n ? column : -1;
    int64_t half = n / 2, block = column / kBlock, place = column % kBlock;
    int64_t row = block * 32 + place % 32;
    if (row >= half) return -1;
    return place < 32 ? row : half + row;
}

// Packed outputs: a gated matrix whose half is no multiple of 32 has holes, so it may need a block more.
inline int64_t padded_n(bool gated, int64_t n) { return gated ? up(n / 2, 32) * 2 : up(n, kBlock); }

}  // namespace ps

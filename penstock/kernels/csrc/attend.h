// Attention between its entries (`attend.cpp`) and its kernels (`attend_<isa>.cpp`).
//
// Order of sums. Keys lie in blocks (whole pages, about 64 tokens) and segments (8 blocks), both counted from
// position 0. A row's softmax runs online over the blocks of a segment, and the segments' states are merged from the
// first to the last. A block or segment that a row does not see leaves its state as it was. So a row's result depends
// on its query and its keys only: neither on the rows beside it, nor on how the work is divided.
//
// Legend: R folded rows (query x member of the KV head's group).
#pragma once
#include "api.h"

namespace ps {

constexpr int64_t kTileRows = 64;  // folded rows of a unit, unless a group alone has more
constexpr int64_t kSegmentBlocks = 8;

// Static: each instruction set has its own copy.
static inline int64_t block_tokens(int64_t page) { return page * ((64 + page - 1) / page); }
static inline int64_t segment_tokens(int64_t page) { return kSegmentBlocks * block_tokens(page); }
static inline int64_t padded_dim(int64_t dim) { return (dim + 15) / 16 * 16; }
// Floats of the state of a row: sums of values, then the largest score and the sum of weights.
static inline int64_t state_floats(int64_t dim) { return padded_dim(dim) + 16; }
// Bytes of scratch of one unit.
int64_t attend_scratch(const ps_attention& call, int64_t folded);

struct AttendKernels {
    // One unit and KV head. `states` takes the state of each row in each segment; null: to the outputs.
    void (*unit)(const ps_attention& call, const ps_attend_unit& unit, int64_t head, float* states, void* scratch);
    // Merge the states of a unit whose segments were divided, to the outputs.
    void (*join)(const ps_attention& call, const ps_attend_unit& unit, int64_t head, float* states);
};

extern const AttendKernels kAttendAvx2, kAttendAvx512;

}  // namespace ps

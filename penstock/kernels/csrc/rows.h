// Work done row by row between its entries (`rows.cpp`) and its kernels (`rows_<isa>.cpp`).
#pragma once
#include "api.h"

namespace ps {

struct RowKernels {
    // One row of ps_rms_norm.
    void (*rms_norm)(const void* x, const void* add, void* sum, const void* weight, float eps, float offset,
                     int32_t type, int64_t k, void* out);
    // All heads of one row of ps_rotate.
    void (*rotate)(void* heads, int32_t type, int64_t h, int64_t d, const float* cos, const float* sin, int64_t r);
    // One row of a gate: out = act(gate) * up.
    void (*gate)(const void* gate, const void* up, int32_t act, int32_t type, int64_t k, void* out);
};

extern const RowKernels kRowsAvx2, kRowsAvx512;

// Those in use; null where the processor has no instruction set for them.
const RowKernels* row_kernels();

}  // namespace ps

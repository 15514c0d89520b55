// The matrix product between its entry (`linear.cpp`) and its kernels (`linear_<isa>.cpp`).
#pragma once
#include "weights.h"

namespace ps {

// One call, as the kernels see it: activations are of the type that the format needs.
struct LinearCall {
    const ps_weight* weight;
    const void* x;         // float32, bfloat16 or int8 by format, [m, stride], padded to the format's step
    int64_t stride;
    const float* scale_m;  // of quantised rows
    const float* sums_mg;  // of a quantised row's codes, by group
    int64_t groups;
    int64_t m;
    void* out;
    int32_t out_type;
    int64_t ldo;
    const void* residual;
    int64_t ldr;
    int32_t act;
};

struct LinearKernels {
    // Rows [m0, m1) times one panel, epilogue included.
    void (*block)(const LinearCall& call, int64_t block, int64_t m0, int64_t m1);
    // Prepare one row of activations for a format: convert, pad or quantise (then writes scale and sums).
    void (*prepare)(int32_t format, const void* x, int32_t x_type, int64_t k, int64_t padded, int64_t group,
                    void* out, float* scale, float* sums);
};

extern const LinearKernels kLinearAvx2, kLinearAvx512, kLinearAvx512Bf16;

// Those of the instruction set in use; null where there is none.
const LinearKernels* linear_kernels();

// How a matrix takes its activations.
struct Form {
    int64_t padded;         // inputs
    int64_t group, groups;
    int64_t stride, bytes;  // from row to row, in elements and bytes
};

Form form_of(const ps_weight& w);

// Whether rows of that type are in this form already.
bool takes(const ps_weight& w, int32_t type);

}  // namespace ps

// Heads on their way from a layer's product into its pages: between the entries (`heads.cpp`) and the kernels
// (`heads_<isa>.cpp`). Norms and rotation are those of `rows.h`, so their bits are, too.
#pragma once
#include "api.h"

namespace ps {

struct HeadKernels {
    // Round the numbers of a head to int8, their largest size to 127; returns the scale. Where a number is infinite or
    // NaN the scale is, too.
    float (*codes)(const void* from, int32_t type, int64_t dim, int8_t* codes);
};

extern const HeadKernels kHeadsAvx2, kHeadsAvx512;

}  // namespace ps

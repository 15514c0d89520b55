// A mixture of experts between its entry (`experts.cpp`) and its kernels (`experts_<isa>.cpp`, and those of
// linear.h).
//
// A pair is a row and one of its experts. Pairs are sorted by expert; the gated products of all experts are
// one list of work, then their down products, then each row sums up its pairs. Values are rounded where
// experts called one by one round them: activations into the form of the weights, as ps_linear does; the
// gated and the down product of each pair to the type of x; the sum of a row to that type. The sum itself runs
// in float32 from the row's first expert to its last, with fused multiply-adds. None of this depends on the
// other rows.
#pragma once
#include <cstdint>

namespace ps {

// The pairs of one row, weighed and summed: out[e] = sum over k of weights[k] * pairs[places[k], e].
// Pairs are `ld` elements apart.
using Combine = void (*)(const void* pairs, int64_t ld, int32_t type, const int64_t* places,
                         const float* weights, int64_t top_k, int64_t e, void* out);

void combine_avx2(const void* pairs, int64_t ld, int32_t type, const int64_t* places, const float* weights,
                  int64_t top_k, int64_t e, void* out);
void combine_avx512(const void* pairs, int64_t ld, int32_t type, const int64_t* places, const float* weights,
                    int64_t top_k, int64_t e, void* out);

}  // namespace ps

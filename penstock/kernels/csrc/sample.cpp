// Entry of token choice: rows over the team.
#include "sample.h"

#include "api.h"
#include "isa.h"
#include "team.h"

using namespace ps;

extern "C" int32_t ps_gumbel_argmax(const float* logits, int64_t rows, int64_t v, const double* temperatures,
                                    const uint64_t* keys, int64_t* tokens) {
    Isa isa = current_isa();
    if (isa == kNone) return -1;
    GumbelArgmax choose = isa >= kAvx512 ? gumbel_argmax_avx512 : gumbel_argmax_avx2;
    share(rows, [&](int64_t r, int) { tokens[r] = choose(logits + r * v, v, temperatures[r], keys[r]); });
    return 0;
}

extern "C" int32_t ps_restrain(float* logits, int64_t v, int64_t ld, const int64_t* rows, int64_t count,
                               const uint32_t* masks, int64_t words) {
    Isa isa = current_isa();
    if (isa == kNone) return -1;
    Restrain apply = isa >= kAvx512 ? restrain_avx512 : restrain_avx2;
    share(count, [&](int64_t x, int) { apply(logits + rows[x] * ld, v, masks + x * words); });
    return 0;
}

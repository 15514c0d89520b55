// Entry of the matrix product: activations into the form that the weights need, then panels over the team.
#include "linear.h"

#include "isa.h"
#include "team.h"

namespace ps {
namespace {

// Rows that one task takes: few enough that the activations stay in the second-level cache beside a panel.
int64_t rows_per_task(int64_t m, int64_t blocks) {
    int64_t most = 192;
    int64_t wanted = 4 * Team::size();  // tasks enough to balance
    if (blocks >= wanted || m <= 48) return m < most ? m : most;
    int64_t cut = (m * blocks + wanted - 1) / wanted;
    return cut < 48 ? 48 : (cut < most ? (cut + 5) / 6 * 6 : most);
}

}  // namespace

const LinearKernels* linear_kernels() {
    switch (current_isa()) {
        case kAvx512Bf16: return &kLinearAvx512Bf16;
        case kAvx512: return &kLinearAvx512;
        case kAvx2: return &kLinearAvx2;
        default: return nullptr;
    }
}

Form form_of(const ps_weight& w) {
    int64_t padded = padded_k(w.format, w.k), stride = up(padded, 64);
    int64_t group = quantised(w.format) ? w.group : padded;
    int64_t size = w.format == PS_W_F32 ? 4 : w.format == PS_W_BF16 ? 2 : 1;
    return {padded, group, (padded + group - 1) / group, stride, stride * size};
}

bool takes(const ps_weight& w, int32_t type) {
    if (quantised(w.format)) return false;
    return type == (w.format == PS_W_F32 ? PS_F32 : PS_BF16) && padded_k(w.format, w.k) == w.k;
}

}  // namespace ps

using namespace ps;

extern "C" int32_t ps_linear(const ps_weight* w, const void* x, int32_t x_type, int64_t m, int64_t ldx, void* out,
                             int32_t out_type, int64_t ldo, const void* residual, int64_t ldr, int32_t act) {
    const LinearKernels* k = linear_kernels();
    if (k == nullptr) return -1;
    if (m <= 0) return 0;
    LinearCall call{w, x, ldx, nullptr, nullptr, 0, m, out, out_type, ldo, residual, ldr, act};
    if (!takes(*w, x_type)) {
        Form form = form_of(*w);
        auto* memory = static_cast<char*>(Team::scratch(m * (form.bytes + (1 + form.groups) * sizeof(float))));
        auto* scale = reinterpret_cast<float*>(memory + m * form.bytes);
        auto* sums = scale + m;
        call.groups = form.groups;
        call.stride = form.stride;
        call.x = memory;
        call.scale_m = scale;
        call.sums_mg = sums;
        int64_t bytes = x_type == PS_F32 ? 4 : 2, at_once = 8;
        auto prepare = [&](int64_t item, int) {
            for (int64_t r = item * at_once; r < m && r < (item + 1) * at_once; ++r)
                k->prepare(w->format, static_cast<const char*>(x) + r * ldx * bytes, x_type, w->k, form.padded,
                           form.group, memory + r * form.bytes, scale + r, sums + r * form.groups);
        };
        share((m + at_once - 1) / at_once, prepare);
    }
    int64_t blocks = padded_n(w->gated, w->n) / kBlock, rows = rows_per_task(m, blocks);
    int64_t parts = (m + rows - 1) / rows;
    share(blocks * parts, [&](int64_t item, int) {
        // Neighbouring tasks share their activations, which the caches then hold.
        int64_t part = item / blocks, block = item % blocks, m0 = part * rows;
        k->block(call, block, m0, m0 + rows < m ? m0 + rows : m);
    });
    return 0;
}

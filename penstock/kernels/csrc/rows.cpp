// Entries of the row work: rows over the team, a few at a time.
#include "rows.h"

#include <type_traits>

#include "isa.h"
#include "team.h"

namespace ps {

const RowKernels* row_kernels() {
    switch (current_isa()) {
        case kAvx512Bf16:
        case kAvx512: return &kRowsAvx512;
        case kAvx2: return &kRowsAvx2;
        default: return nullptr;
    }
}

namespace {

template <class Pointer>
Pointer at(Pointer p, int64_t elements, int32_t type) {
    using Byte = std::conditional_t<std::is_const_v<std::remove_pointer_t<Pointer>>, const char, char>;
    return p == nullptr ? p : static_cast<Pointer>(static_cast<Byte*>(p) + elements * (type == PS_F32 ? 4 : 2));
}

}  // namespace
}  // namespace ps

using namespace ps;

extern "C" int32_t ps_rms_norm(const void* x, const void* add, void* sum, const void* weight, float eps, float offset,
                               int32_t type, int64_t rows, int64_t k, int64_t ldx, void* out) {
    const RowKernels* kernel = row_kernels();
    if (kernel == nullptr) return -1;
    share_rows(rows, k * 4, [&](int64_t r) {
        kernel->rms_norm(at(x, r * ldx, type), at(add, r * k, type), at(sum, r * k, type), weight, eps, offset, type, k,
                         at(out, r * k, type));
    });
    return 0;
}

extern "C" int32_t ps_rotate(void* heads, int32_t type, int64_t rows, int64_t h, int64_t d, int64_t ld,
                             const float* cos, const float* sin, int64_t r) {
    const RowKernels* kernel = row_kernels();
    if (kernel == nullptr) return -1;
    share_rows(rows, h * d * 4, [&](int64_t row) {
        kernel->rotate(at(heads, row * ld, type), type, h, d, cos + row * r, sin + row * r, r);
    });
    return 0;
}

extern "C" int32_t ps_gate(const void* gate, const void* up, int32_t act, int32_t type, int64_t rows, int64_t k,
                           int64_t ldg, int64_t ldu, void* out) {
    const RowKernels* kernel = row_kernels();
    if (kernel == nullptr) return -1;
    share_rows(rows, k * 4, [&](int64_t r) {
        kernel->gate(at(gate, r * ldg, type), at(up, r * ldu, type), act, type, k, at(out, r * k, type));
    });
    return 0;
}

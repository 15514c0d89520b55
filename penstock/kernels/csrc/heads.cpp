// Entries of the work on heads: rows over the team, a few at a time.
#include "heads.h"

#include <cstring>

#include "isa.h"
#include "rows.h"
#include "team.h"

namespace ps {
namespace {

const HeadKernels* kernels() {
    switch (current_isa()) {
        case kAvx512Bf16:
        case kAvx512: return &kHeadsAvx512;
        case kAvx2: return &kHeadsAvx2;
        default: return nullptr;
    }
}

int64_t bytes(int32_t type) { return type == PS_F32 ? 4 : 2; }

// Where keys or values of a layer lie.
struct Plane {
    void* numbers;
    float* scales;  // of int8, or null
    int64_t kv_heads, page, dim;

    // Store the heads of one row at a slot.
    void put(const HeadKernels& kernel, const char* from, int32_t type, int64_t slot) const {
        for (int64_t h = 0; h < kv_heads; ++h, from += dim * bytes(type)) {
            int64_t at = (slot / page * kv_heads + h) * page + slot % page;
            if (scales == nullptr)
                std::memcpy(static_cast<char*>(numbers) + at * dim * bytes(type), from, dim * bytes(type));
            else
                scales[at] = kernel.codes(from, type, dim, static_cast<int8_t*>(numbers) + at * dim);
        }
    }
};

// Norm and rotate the queries and keys of a row, in place.
void prepare(const RowKernels& kernel, const ps_head_prep& a, char* row, int64_t r) {
    auto norm = [&](int64_t first, int64_t count, const void* weight) {
        char* head = row + first * a.dim * bytes(a.type);
        for (int64_t h = 0; weight != nullptr && h < count; ++h, head += a.dim * bytes(a.type))
            kernel.rms_norm(head, nullptr, nullptr, weight, a.eps, a.offset, a.type, a.dim, head);
    };
    norm(0, a.heads, a.q_norm);
    norm(a.heads, a.kv_heads, a.k_norm);
    if (a.cos != nullptr)
        kernel.rotate(row, a.type, a.heads + a.kv_heads, a.dim, a.cos + r * a.half, a.sin + r * a.half, a.half);
}

}  // namespace
}  // namespace ps

using namespace ps;

extern "C" int32_t ps_heads(const ps_head_prep* call) {
    const RowKernels* rows = row_kernels();
    const HeadKernels* kernel = kernels();
    if (rows == nullptr || kernel == nullptr) return -1;
    const ps_head_prep& a = *call;
    const Plane k{a.k_plane, a.k_scale, a.kv_heads, a.page, a.dim}, v{a.v_plane, a.v_scale, a.kv_heads, a.page, a.dim};
    int64_t head = a.dim * bytes(a.type);
    share_rows(a.rows, (a.heads + 2 * a.kv_heads) * head, [&](int64_t r) {
        char* row = static_cast<char*>(a.qkv) + r * a.ld * bytes(a.type);
        prepare(*rows, a, row, r);
        if (r >= a.stored) return;
        k.put(*kernel, row + a.heads * head, a.type, a.slots[r]);
        v.put(*kernel, row + (a.heads + a.kv_heads) * head, a.type, a.slots[r]);
    });
    return 0;
}

extern "C" int32_t ps_kv_write(const void* k, const void* v, int64_t ldk, int64_t ldv, int32_t type,
                               const int64_t* slots, int64_t rows, int64_t kv_heads, int64_t dim, int64_t page,
                               void* k_plane, void* v_plane, float* k_scale, float* v_scale) {
    const HeadKernels* kernel = kernels();
    if (kernel == nullptr) return -1;
    const Plane keys{k_plane, k_scale, kv_heads, page, dim}, values{v_plane, v_scale, kv_heads, page, dim};
    share_rows(rows, 2 * kv_heads * dim * bytes(type), [&](int64_t r) {
        keys.put(*kernel, static_cast<const char*>(k) + r * ldk * bytes(type), type, slots[r]);
        values.put(*kernel, static_cast<const char*>(v) + r * ldv * bytes(type), type, slots[r]);
    });
    return 0;
}

// Rows of a packed matrix, read back: so that a tied embedding needs no copy beside the output head.
#include <cstring>

#include "team.h"
#include "weights.h"

namespace ps {
namespace {

// Rows that one thread gathers in one go: fewer are not worth waking anybody for.
constexpr int64_t kRowsAtOnce = 16;

// Gather matrix row `row` out of its panel, `Value` bits by `Value` bits: `step` inputs lie side by side.
template <class Value>
void gather(const ps_weight* w, int64_t row, Value* out) {
    const int64_t step = step_of(w->format);
    const char* panel = static_cast<const char*>(w->codes) + row / kBlock * panel_bytes(w->format, w->k);
    const auto* from = reinterpret_cast<const Value*>(panel) + row % kBlock * step;
    int64_t k = 0;
    for (; k + step <= w->k; k += step, from += kBlock * step)
        for (int64_t j = 0; j < step; ++j) out[k + j] = from[j];
    for (int64_t j = 0; k + j < w->k; ++j) out[k + j] = from[j];
}

}  // namespace
}  // namespace ps

using namespace ps;

extern "C" int32_t ps_embed(const ps_weight* w, const int64_t* ids, int64_t count, void* out, int64_t ldo) {
    if (quantised(w->format) || w->gated) return -1;
    for (int64_t i = 0; i < count; ++i)
        if (ids[i] < 0 || ids[i] >= w->n) return -2;
    share((count + kRowsAtOnce - 1) / kRowsAtOnce, [&](int64_t item, int) {
        for (int64_t i = item * kRowsAtOnce; i < count && i < (item + 1) * kRowsAtOnce; ++i) {
            if (w->format == PS_W_F32)
                gather(w, ids[i], static_cast<uint32_t*>(out) + i * ldo);
            else
                gather(w, ids[i], static_cast<uint16_t*>(out) + i * ldo);
        }
    });
    return 0;
}

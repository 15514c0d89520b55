// Entry of the mixture: pairs sorted by expert, then three lists of work over the team.
#include "experts.h"

#include <algorithm>

#include "isa.h"
#include "linear.h"
#include "team.h"

namespace ps {
namespace {

// Memory that a call may take; more rows than it holds are taken in turns.
constexpr int64_t kMost = 64 << 20;
// Rows that a task takes: enough to make the reading of a panel worth it, few enough to stay in the
// second-level cache beside it. All are multiples of every kernel's tile, so that only an expert's last rows
// make a lesser one.
constexpr int64_t kLeastRows = 48, kMostRows = 192, kTileRows = 12;
// What a row's arithmetic with a panel costs, by input, in bytes of panel that are read in the same time.
constexpr int64_t kRowCost = 16;

// Pairs [m0, m1), in their sorted order, that meet an expert's panels together.
struct Part {
    int64_t expert, m0, m1;
};

// Activations in the form of a matrix.
struct Rows {
    char* x;
    float* scale;
    float* sums;
};

// Hands out aligned pieces of memory; from null, it finds out how much they take.
struct Carver {
    char* base;
    int64_t used = 0;
    template <class T>
    T* take(int64_t count) {
        T* piece = base == nullptr ? nullptr : reinterpret_cast<T*>(base + used);
        used += up(count * static_cast<int64_t>(sizeof(T)), 64);
        return piece;
    }
    Rows take_rows(const Form& form, int64_t count) {
        auto* x = take<char>(count * form.bytes);
        auto* scale = take<float>(count);
        return {x, scale, take<float>(count * form.groups)};
    }
};

struct Layer {
    const ps_weight *const *gated, *const *down;
    int64_t experts;
    int32_t type, act;
    int64_t item = type == PS_F32 ? 4 : 2;  // bytes of a number
    int64_t e = down[0]->n;
    // From pair to pair, of the gated and of the down products.
    int64_t ld_hidden = up(down[0]->k, 64), ld_outs = up(e, 64);
    // How the gated and the down matrices take their activations.
    Form in = form_of(*gated[0]), mid = form_of(*down[0]);
    bool direct = takes(*down[0], type);  // the gated product is in the latter form as it is
};

struct Memory {
    int64_t* starts;  // [experts + 1]: the first pair of each
    int64_t* places;  // [pairs]: where in the sorted order each is
    Part* parts;
    Rows in, mid;
    char *hidden, *outs;
};

Memory lay_out(Carver& carver, const Layer& layer, int64_t pairs) {
    Memory memory{};
    memory.starts = carver.take<int64_t>(layer.experts + 1);
    memory.places = carver.take<int64_t>(pairs);
    memory.parts = carver.take<Part>(std::min(layer.experts, pairs) + pairs / kLeastRows);
    memory.in = carver.take_rows(layer.in, pairs);
    memory.hidden = carver.take<char>(pairs * layer.ld_hidden * layer.item);
    if (!layer.direct) memory.mid = carver.take_rows(layer.mid, pairs);
    memory.outs = carver.take<char>(pairs * layer.ld_outs * layer.item);
    return memory;
}

// Counting sort; pairs of one expert stay in order.
void sort_pairs(const int64_t* ids, int64_t pairs, int64_t experts, const Memory& memory) {
    int64_t* starts = memory.starts;
    std::fill(starts, starts + experts + 1, 0);
    for (int64_t p = 0; p < pairs; ++p) ++starts[ids[p]];
    for (int64_t x = 0, before = 0; x <= experts; ++x) {
        int64_t count = starts[x];
        starts[x] = before;
        before += count;
    }
    for (int64_t p = 0; p < pairs; ++p) memory.places[p] = starts[ids[p]]++;
    for (int64_t x = experts; x > 0; --x) starts[x] = starts[x - 1];
    starts[0] = 0;
}

// Cut each expert's pairs into parts such that the panels' bytes and the rows' arithmetic make four tasks or
// more for each thread, the largest first. Few rows are never divided: then every panel in use is read once.
int64_t cut(const ps_weight& w, int64_t experts, const Memory& memory) {
    const int64_t panel = panel_bytes(w.format, w.k), row = w.k * kRowCost, threads = Team::size();
    int64_t total = 0, count = 0, most = kMostRows;
    for (int64_t x = 0; x < experts; ++x) {
        int64_t rows = memory.starts[x + 1] - memory.starts[x];
        if (rows > 0) total += (panel + rows * row) * (padded_n(w.gated, w.n) / kBlock);
    }
    if (threads > 1) {
        int64_t rows = (total / (4 * threads) - panel) / row / kTileRows * kTileRows;
        most = std::clamp(rows, kLeastRows, kMostRows);
    }
    for (int64_t x = 0; x < experts; ++x) {
        int64_t from = memory.starts[x], to = memory.starts[x + 1];
        int64_t pieces = (to - from + most - 1) / most;
        if (pieces == 0) continue;
        int64_t rows = pieces == 1 ? to - from : up((to - from + pieces - 1) / pieces, kTileRows);
        for (; from < to; from += rows) memory.parts[count++] = {x, from, std::min(from + rows, to)};
    }
    std::sort(memory.parts, memory.parts + count, [](const Part& a, const Part& b) {
        int64_t rows_a = a.m1 - a.m0, rows_b = b.m1 - b.m0;
        return rows_a != rows_b ? rows_a > rows_b : a.m0 < b.m0;
    });
    return count;
}

// The products of all experts: every panel of every part is a task.
void multiply(const ps_weight* const* weights, int64_t experts, const LinearCall& call,
              const Memory& memory) {
    const LinearKernels* kernels = linear_kernels();
    const int64_t blocks = padded_n(weights[0]->gated, weights[0]->n) / kBlock;
    share(cut(*weights[0], experts, memory) * blocks, [&](int64_t item, int) {
        const Part& part = memory.parts[item / blocks];
        LinearCall own = call;
        own.weight = weights[part.expert];
        kernels->block(own, item % blocks, part.m0, part.m1);
    });
}

void prepare(const ps_weight& w, const Form& form, const void* x, int32_t type, const Rows& to, int64_t at) {
    linear_kernels()->prepare(w.format, x, type, w.k, form.padded, form.group, to.x + at * form.bytes,
                              to.scale + at, to.sums + at * form.groups);
}

// Bring rows into the form of the gated matrices, once each, and copy them to their places.
void spread(const Layer& layer, const char* x, int64_t rows, int64_t ldx, int64_t top_k,
            const Memory& memory) {
    const Form& form = layer.in;
    const Rows& to = memory.in;
    share_rows(rows, top_k * form.bytes, [&](int64_t r) {
        int64_t first = memory.places[r * top_k];
        prepare(*layer.gated[0], form, x + r * ldx * layer.item, layer.type, to, first);
        for (int64_t k = 1; k < top_k; ++k) {
            int64_t at = memory.places[r * top_k + k];
            std::copy_n(to.x + first * form.bytes, form.bytes, to.x + at * form.bytes);
            if (!quantised(layer.gated[0]->format)) continue;
            to.scale[at] = to.scale[first];
            std::copy_n(to.sums + first * form.groups, form.groups, to.sums + at * form.groups);
        }
    });
}

// Let the products read these rows.
void read(LinearCall& call, const Rows& rows, const Form& form) {
    call.x = rows.x;
    call.stride = form.stride;
    call.scale_m = rows.scale;
    call.sums_mg = rows.sums;
    call.groups = form.groups;
}

void run(const Layer& layer, const char* x, int64_t rows, int64_t ldx, const float* weights,
         const int64_t* ids, int64_t top_k, char* out, const Memory& memory) {
    const int64_t pairs = rows * top_k;
    sort_pairs(ids, pairs, layer.experts, memory);
    spread(layer, x, rows, ldx, top_k, memory);
    LinearCall call{};
    call.m = pairs;
    read(call, memory.in, layer.in);
    call.out = memory.hidden;
    call.out_type = layer.type;
    call.ldo = layer.ld_hidden;
    call.act = layer.act;
    multiply(layer.gated, layer.experts, call, memory);
    call.x = memory.hidden;
    call.stride = layer.ld_hidden;
    if (!layer.direct) {
        const int64_t bytes = layer.ld_hidden * layer.item;
        share_rows(pairs, bytes, [&](int64_t p) {
            prepare(*layer.down[0], layer.mid, memory.hidden + p * bytes, layer.type, memory.mid, p);
        });
        read(call, memory.mid, layer.mid);
    }
    call.out = memory.outs;
    call.ldo = layer.ld_outs;
    call.act = PS_NONE;
    multiply(layer.down, layer.experts, call, memory);
    Combine combine = current_isa() >= kAvx512 ? combine_avx512 : combine_avx2;
    share_rows(rows, top_k * layer.e * layer.item, [&](int64_t r) {
        combine(memory.outs, layer.ld_outs, layer.type, memory.places + r * top_k, weights + r * top_k, top_k,
                layer.e, out + r * layer.e * layer.item);
    });
}

}  // namespace
}  // namespace ps

using namespace ps;

extern "C" int32_t ps_experts(const ps_weight* const* gated, const ps_weight* const* down, int64_t experts,
                              const void* x, int32_t type, int64_t m, int64_t ldx, const float* weights,
                              const int64_t* ids, int64_t top_k, void* out, int32_t act) {
    if (linear_kernels() == nullptr) return -1;
    auto none = [&](int64_t id) { return id < 0 || id >= experts; };
    if (top_k < 1 || std::any_of(ids, ids + m * top_k, none)) return -2;
    if (m <= 0) return 0;
    const Layer layer{gated, down, experts, type, act};
    Carver one{nullptr}, all{nullptr};
    lay_out(one, layer, top_k);
    int64_t at_once = std::max<int64_t>(1, std::min(m, kMost / one.used));
    lay_out(all, layer, at_once * top_k);
    Carver carver{static_cast<char*>(Team::scratch(all.used))};
    const Memory memory = lay_out(carver, layer, at_once * top_k);
    for (int64_t r = 0; r < m; r += at_once)
        run(layer, static_cast<const char*>(x) + r * ldx * layer.item, std::min(at_once, m - r), ldx,
            weights + r * top_k, ids + r * top_k, top_k,
            static_cast<char*>(out) + r * layer.e * layer.item, memory);
    return 0;
}

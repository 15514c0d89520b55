#include "isa.h"

#include <algorithm>

namespace ps {
namespace {

Isa detect() {
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool f16c = __builtin_cpu_supports("avx512f") || avx2;  // every processor with AVX2 has F16C
    if (!avx2 || !f16c) return kNone;
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (!avx512) return kAvx2;
    bool dots = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
    return dots ? kAvx512Bf16 : kAvx512;
#else
    return kNone;
#endif
}

Isa g_current = best_isa();

}  // namespace

Isa best_isa() {
    static const Isa found = detect();
    return found;
}

Isa current_isa() { return g_current; }

Isa force_isa(int wanted) {
    g_current = static_cast<Isa>(std::clamp(wanted, 0, static_cast<int>(best_isa())));
    return g_current;
}

}  // namespace ps

// Packing: plain loops, done once per matrix and shared over the team.
#include <cstring>

#include "team.h"
#include "weights.h"

namespace ps {
namespace {

// The four bytes of panel row `row` at packed output `column`.
uint32_t cell(int32_t format, const void* source, int64_t from, int64_t k, int64_t row) {
    if (from < 0) return 0;
    int64_t first = row * step_of(format);
    uint8_t bytes[4] = {0, 0, 0, 0};
    if (format == PS_W_F32) {
        std::memcpy(bytes, static_cast<const float*>(source) + from * k + first, 4);
    } else if (format == PS_W_BF16) {
        const auto* values = static_cast<const uint16_t*>(source) + from * k + first;
        std::memcpy(bytes, values, first + 1 < k ? 4 : 2);
    } else {
        const auto* codes = static_cast<const uint8_t*>(source) + from * k + first;
        for (int64_t j = 0; j < 4; ++j) {
            if (first + j < k) bytes[j] = codes[j];
            if (format == PS_W_U4 && first + 4 + j < k) bytes[j] |= static_cast<uint8_t>(codes[4 + j] << 4);
        }
    }
    uint32_t packed;
    std::memcpy(&packed, bytes, 4);
    return packed;
}

}  // namespace
}  // namespace ps

using namespace ps;

extern "C" int32_t ps_layout_version() { return kLayoutVersion; }

extern "C" int64_t ps_padded_n(int32_t gated, int64_t n) { return padded_n(gated, n); }

extern "C" int64_t ps_packed_bytes(int32_t format, int32_t gated, int64_t n, int64_t k) {
    return padded_n(gated, n) / kBlock * panel_bytes(format, k);
}

extern "C" void ps_pack(int32_t format, int32_t gated, int64_t n, int64_t k, const void* source, void* packed) {
    int64_t rows = padded_k(format, k) / step_of(format);
    share(padded_n(gated, n) / kBlock, [&](int64_t block, int) {
        auto* panel = reinterpret_cast<uint32_t*>(static_cast<char*>(packed) + block * panel_bytes(format, k));
        int64_t from[kBlock];
        for (int64_t j = 0; j < kBlock; ++j) from[j] = source_row(gated, n, block * kBlock + j);
        // Sixteen panel rows at a time: a cache line of each source row is read once.
        for (int64_t low = 0; low < rows; low += 16)
            for (int64_t j = 0; j < kBlock; ++j)
                for (int64_t row = low; row < rows && row < low + 16; ++row)
                    panel[row * kBlock + j] = cell(format, source, from[j], k, row);
    });
}

// Runs of numbers of any length over `Simd`.
#include <cstring>

namespace ps {
namespace {

// Call body(offset, count) for whole vectors and then for what is left.
template <class Body>
void strips(int64_t k, const Body& body) {
    constexpr int kW = Simd::kWidth;
    int64_t j = 0;
    for (; j + kW <= k; j += kW) body(j, kW);
    if (j < k) body(j, static_cast<int>(k - j));
}

template <class T>
Simd::F take(const T* p, int count) {
    if (count == Simd::kWidth) return Simd::load(p);
    T padded[Simd::kWidth] = {};
    std::memcpy(padded, p, count * sizeof(T));
    return Simd::load(padded);
}

template <class T>
void put(T* p, Simd::F value, int count) {
    if (count == Simd::kWidth) return Simd::store(p, value);
    T padded[Simd::kWidth];
    Simd::store(padded, value);
    std::memcpy(p, padded, count * sizeof(T));
}

}  // namespace
}  // namespace ps

// Elementary functions over `Simd`, shared by the kernels.
namespace ps {
namespace {

// exp to about 1 ulp: 2^n * p(r) with r = x - n ln 2 in two parts (Cody and Waite), minimax polynomial (Cephes).
inline Simd::F exponential(Simd::F x) {
    x = Simd::min(Simd::max(x, Simd::set(-87.3f)), Simd::set(88.3f));
    Simd::F n = Simd::round(Simd::mul(x, Simd::set(1.44269504f)));
    Simd::F r = Simd::fnma(n, Simd::set(0.693359375f), x);
    r = Simd::fnma(n, Simd::set(-2.12194440e-4f), r);
    Simd::F p = Simd::set(1.9875691500e-4f);
    for (float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
        p = Simd::fma(p, r, Simd::set(c));
    p = Simd::fma(Simd::mul(p, r), r, Simd::add(r, Simd::set(1.0f)));
    return Simd::mul(p, Simd::power_of_two(n));
}

inline Simd::F sigmoid(Simd::F x) {
    Simd::F one = Simd::set(1.0f);
    return Simd::div(one, Simd::add(one, exponential(Simd::sub(Simd::zero(), x))));
}

// tanh to about 2 ulp: an odd polynomial near 0 (Cephes), by exponentials further out.
inline Simd::F tangent(Simd::F x) {
    Simd::F one = Simd::set(1.0f), size = Simd::absolute(x), square = Simd::mul(x, x);
    Simd::F p = Simd::set(-5.70498872745e-3f);
    for (float c : {2.06390887954e-2f, -5.37397155531e-2f, 1.33314422036e-1f, -3.33332819422e-1f})
        p = Simd::fma(p, square, Simd::set(c));
    Simd::F near = Simd::fma(Simd::mul(p, square), x, x);
    Simd::F e = exponential(Simd::mul(size, Simd::set(-2.0f)));
    Simd::F far = Simd::div(Simd::sub(one, e), Simd::add(one, e));
    far = Simd::if_less(x, Simd::zero(), Simd::sub(Simd::zero(), far), far);
    return Simd::if_less(size, Simd::set(0.625f), near, far);
}

inline Simd::F activate(int32_t act, Simd::F x) {
    switch (act) {
        case PS_SILU: return Simd::mul(x, sigmoid(x));
        case PS_RELU: return Simd::max(x, Simd::zero());
        case PS_GELU_TANH: {  // 0.5 x (1 + tanh(u)) = x sigmoid(2 u)
            Simd::F cube = Simd::mul(Simd::mul(x, x), x);
            Simd::F u = Simd::mul(Simd::fma(cube, Simd::set(0.044715f), x), Simd::set(1.5957691216f));
            return Simd::mul(x, sigmoid(u));
        }
        default: return x;
    }
}

}  // namespace
}  // namespace ps

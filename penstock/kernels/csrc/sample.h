// Choosing tokens between the entry (`sample.cpp`) and its kernels (`sample_<isa>.cpp`).
#pragma once
#include <cstdint>

namespace ps {

// The token with the largest logit / temperature + Gumbel(key, token); see ps_gumbel_argmax.
using GumbelArgmax = int64_t (*)(const float* logits, int64_t v, double temperature, uint64_t key);

int64_t gumbel_argmax_avx2(const float* logits, int64_t v, double temperature, uint64_t key);
int64_t gumbel_argmax_avx512(const float* logits, int64_t v, double temperature, uint64_t key);

// Minus infinity for the tokens whose bit is not set; see ps_restrain.
using Restrain = void (*)(float* logits, int64_t v, const uint32_t* mask);

void restrain_avx2(float* logits, int64_t v, const uint32_t* mask);
void restrain_avx512(float* logits, int64_t v, const uint32_t* mask);

}  // namespace ps

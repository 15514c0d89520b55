// The C interface of the library. All matrices are row-major; strides count elements.
// Legend: M rows of activations, K input features, N output features, G groups of inputs.
#pragma once
#include <cstdint>

extern "C" {

// Types of activations.
enum ps_type : int32_t { PS_F32 = 0, PS_BF16 = 1, PS_INT8 = 2 };  // int8: stored keys and values only

// How the weights of a linear layer are kept; see weights.h.
enum ps_format : int32_t { PS_W_F32 = 0, PS_W_BF16 = 1, PS_W_U8 = 2, PS_W_U4 = 3 };

// What is done to the sums before they are written.
enum ps_act : int32_t { PS_NONE = 0, PS_SILU = 1, PS_GELU_TANH = 2, PS_RELU = 3 };

// A packed weight matrix. Quantised weights mean  w[n, k] = scale[g, n] * (code[n, k] - zero)  or, with
// offsets,  scale[g, n] * code[n, k] - offset[g, n],  with g = k / group.
struct ps_weight {
    int32_t format;
    int32_t gated;        // rows are gate and up, interleaved by 32: the product has n / 2 columns
    int64_t n, k;         // as in the checkpoint; padded inside
    int64_t group;        // inputs per scale; 0 when not quantised
    int32_t zero;         // the code that means 0, without offsets
    int32_t reserved;
    const void* codes;    // packed
    const uint16_t* scales;   // float16 [G, padded n]
    const uint16_t* offsets;  // float16 [G, padded n], or null
    const float* bias;        // [padded n] or null
};

// Instruction sets, weakest first: 0 none usable, 1 avx2, 2 avx512, 3 avx512 with bf16 and vnni.
int32_t ps_isa_best();
int32_t ps_isa_current();
int32_t ps_isa_force(int32_t isa);  // returns what is used from now on: at most the best

// Start the compute threads (the caller is one of them); cpus may be null. Returns how many there are.
int32_t ps_team_start(int32_t threads, const int32_t* cpus, int32_t spin_us);
void ps_team_stop();

// Bytes of the packed codes of a matrix.
int64_t ps_packed_bytes(int32_t format, int32_t gated, int64_t n, int64_t k);
int64_t ps_padded_n(int32_t gated, int64_t n);  // outputs after padding: length of scales and bias
// The matrix row behind each packed output, or -1: how to arrange scales, offsets and bias.
void ps_source_rows(int32_t gated, int64_t n, int64_t* rows);
// Pack. `source` is [n, k]: float32, bfloat16 bits, or one code per byte (u8 and u4).
void ps_pack(int32_t format, int32_t gated, int64_t n, int64_t k, const void* source, void* packed);

// Raised with every change of what ps_pack, ps_source_rows or the formats make: packed weights are kept on disk.
int32_t ps_layout_version();
// out[count, k] = rows `ids` of a matrix kept as floats, not gated, bit for bit as they were packed. Returns 0, -1 if
// the matrix is of another kind, -2 if an id is no row of it.
int32_t ps_embed(const ps_weight* w, const int64_t* ids, int64_t count, void* out, int64_t ldo);

// out[M, n] = act(x @ w.T + bias) + residual;  with a gated weight out[M, n / 2] = act(gate) * up + residual.
// Returns 0, or -1 if no usable instruction set.
int32_t ps_linear(const ps_weight* w, const void* x, int32_t x_type, int64_t m, int64_t ldx, void* out,
                  int32_t out_type, int64_t ldo, const void* residual, int64_t ldr, int32_t act);

// out[M, E] = the sum over k of weights[m, k] * feed-forward ids[m, k] of row m, of a layer's `experts` of them:
// gated[x] is [2 F, E], down[x] [E, F]; within each of the two, all are of one format, group and size. x and out
// are of `type`. Returns 0, -1 if no usable instruction set, or -2 if an id is no expert's or top_k is below 1.
int32_t ps_experts(const ps_weight* const* gated, const ps_weight* const* down, int64_t experts,
                   const void* x, int32_t type, int64_t m, int64_t ldx, const float* weights,
                   const int64_t* ids, int64_t top_k, void* out, int32_t act);

// out = x / rms(x) * (weight + offset), over rows of k; with `add`, x + add is normalised and written to `sum`.
int32_t ps_rms_norm(const void* x, const void* add, void* sum, const void* weight, float eps, float offset,
                    int32_t type, int64_t rows, int64_t k, int64_t ldx, void* out);

// Rotate the first 2 * r of each head's d dims by half pairs (i, i + r), in place. heads are [rows, h, d].
int32_t ps_rotate(void* heads, int32_t type, int64_t rows, int64_t h, int64_t d, int64_t ld, const float* cos,
                  const float* sin, int64_t r);

// out = act(gate) * up, over rows of k.
int32_t ps_gate(const void* gate, const void* up, int32_t act, int32_t type, int64_t rows, int64_t k, int64_t ldg,
                int64_t ldu, void* out);

// Attention of one layer over paged keys and values; see attend.h for the order of its sums.
struct ps_attention {
    const void* q;             // [rows, heads, dim], of `type`
    void* out;                 // the same, contiguous
    float* lse;                // [rows, heads]
    const void* k;             // [blocks, kv_heads, page, dim], of `kv_type`
    const void* v;
    const float* k_scale;      // [blocks, kv_heads, page], of int8: a number is its code times its token's scale
    const float* v_scale;
    const int32_t* table;      // [sequences, ld_table] blocks in order
    const int64_t* positions;  // [rows]
    const int64_t* lengths;    // [sequences] keys
    int64_t ldq, ld_table, heads, kv_heads, dim, page;
    int64_t window;            // keys that a query sees, itself included; 0 is all
    float scale;
    float softcap;             // 0 is none
    int32_t type;
    int32_t kv_type;           // `type` or PS_INT8
};

// Rows of one sequence that go through a range of segments of keys together.
struct ps_attend_unit {
    int64_t sequence, row, rows;
    int64_t from, to;  // segments
    int64_t part;      // where the states of a divided range begin, in folded rows; -1: not divided
    int64_t cost;
};

// The work of a step for layers of one window and one number of heads. `counts` takes the number of units, of joins
// (which follow the units), and of states. Returns 0, or -1 if `capacity` is too small, with the counts wanted.
int32_t ps_attend_plan(const int64_t* q_lens, const int64_t* lengths, const int64_t* positions, int64_t sequences,
                       int64_t heads, int64_t kv_heads, int64_t page, int64_t window, ps_attend_unit* units,
                       int64_t capacity, int64_t* counts);
int32_t ps_attend(const ps_attention* call, const ps_attend_unit* units, const int64_t* counts);

// What is done to the heads of a layer between its product and attention.
struct ps_head_prep {
    void* qkv;             // [rows, heads + 2 * kv_heads, dim] of `type`: queries, keys, values
    const void* q_norm;    // [dim] of `type`: weight of the RMS norm of each query head, or null
    const void* k_norm;
    const float* cos;      // [rows, half], or null: no rotation
    const float* sin;
    const int64_t* slots;  // [stored]: block * page + offset
    void* k_plane;         // [blocks, kv_heads, page, dim] of `type`, or int8 if there are planes for scales
    void* v_plane;
    float* k_scale;        // [blocks, kv_heads, page], or null
    float* v_scale;
    int64_t rows;
    int64_t stored;        // rows from here on are padding
    int64_t ld;            // of qkv
    int64_t heads, kv_heads, dim;
    int64_t half;          // 2 * half dims of a head are rotated
    int64_t page;
    float eps, offset;     // of the norms
    int32_t type;
};

// Norm and rotate queries and keys in place, with the bits of ps_rms_norm and ps_rotate one after the other, and store
// keys and values like ps_kv_write. Returns 0, or -1 if no usable instruction set.
int32_t ps_heads(const ps_head_prep* call);

// Store rows k and v, [rows, kv_heads, dim] of `type`, at slots (block * page + offset) of the planes; as int8 (largest
// size of a row and head / 127 is the scale) if there are planes for scales.
int32_t ps_kv_write(const void* k, const void* v, int64_t ldk, int64_t ldv, int32_t type, const int64_t* slots,
                    int64_t rows, int64_t kv_heads, int64_t dim, int64_t page, void* k_plane, void* v_plane,
                    float* k_scale, float* v_scale);

// The token of each row with the largest  logit / temperature + Gumbel(key, token), the lowest among equals. The
// noise is that of penstock/runtime/sampler/noise.py. Logits are float32 [rows, v], finite or minus infinity.
int32_t ps_gumbel_argmax(const float* logits, int64_t rows, int64_t v, const double* temperatures,
                         const uint64_t* keys, int64_t* tokens);

// Set the logits of the tokens that a mask does not allow to minus infinity: `count` rows of float32 [v], `ld` apart, by
// their numbers; masks are [count, words], bit i (little end first) of a mask allows token i.
int32_t ps_restrain(float* logits, int64_t v, int64_t ld, const int64_t* rows, int64_t count, const uint32_t* masks,
                    int64_t words);
}

// Needs attention.cuh.
//
// Softmax attention in bfloat16 without a matrix of scores: tiles of queries and keys, products on tensor cores,
// everything else in float. q [b, n_q, heads d]; k, v [b, n_k, kv_heads d]; d at most D, zeros fill the rest.
//
// A block has 4 warps. A warp owns 16 rows: queries forward and for dq, keys for dk and dv. Nothing is added atomically, so
// p is computed once for dq and once for dk, dv.

#define ROWS 64

// c [16, 8] += a [16, 16] b [16, 8] over the lanes of a warp; lane = 4 g + t holds of
//   a: rows g, g + 8 of columns 2t, 2t + 1 (registers 0, 1), the same of columns + 8 (2, 3)
//   b: rows 2t, 2t + 1 of column g (register 0), the same rows + 8 (1)
//   c: row g, columns 2t, 2t + 1 (0, 1); row g + 8 (2, 3)
#ifndef COVFT_EMULATED
__device__ __forceinline__ void multiply(float* c, const unsigned* a, unsigned b0, unsigned b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#endif

__device__ __forceinline__ unsigned pack(float low, float high) {
    return bf16_bits(low) | bf16_bits(high) << 16;
}

// Tiles lie in shared memory with rows of D + 8 numbers: lanes then meet in no bank.
template <int D>
struct Tile {
    static const int STRIDE = D + 8;
    const bf16* at;

    __device__ unsigned pair(int row, int column) const {
        return *(const unsigned*)(at + row * STRIDE + column);
    }

    __device__ unsigned below(int row, int column) const {
        const bf16* one = at + row * STRIDE + column;
        return one[0].bits | (unsigned)one[STRIDE].bits << 16;
    }

    // Rows r.. + 16, columns k.. + 16 as the left factor.
    __device__ void left(unsigned* a, int r, int k) const {
        int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        a[0] = pair(r + g, k + 2 * t);
        a[1] = pair(r + g + 8, k + 2 * t);
        a[2] = pair(r + g, k + 2 * t + 8);
        a[3] = pair(r + g + 8, k + 2 * t + 8);
    }

    // c += a times the transpose of rows n.. + 8, columns k.. + 16.
    __device__ void times_rows(float* c, const unsigned* a, int n, int k) const {
        int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        multiply(c, a, pair(n + g, k + 2 * t), pair(n + g, k + 2 * t + 8));
    }

    // c += a times rows k.. + 16, columns n.. + 8.
    __device__ void times_columns(float* c, const unsigned* a, int k, int n) const {
        int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        multiply(c, a, below(k + 2 * t, n + g), below(k + 2 * t + 8, n + g));
    }
};

// Rows first.. + rows of one head into a tile; zeros beyond `limit` rows and d columns.
template <int D>
__device__ void fetch(bf16* tile, const bf16* base, int stride, int first, int rows, int limit, int d) {
    const int eighths = D / 8;
    bool whole = d % 8 == 0 && stride % 8 == 0 && (size_t)base % 16 == 0;
    for (int i = threadIdx.x; i < rows * eighths; i += WARPS * 32) {
        int row = i / eighths, column = i % eighths * 8;
        bf16* to = tile + row * Tile<D>::STRIDE + column;
        bool inside = first + row < limit;
        const bf16* from = base + (size_t)(first + row) * stride + column;
        if (inside && whole && column < d) {
            *(uint4*)to = *(const uint4*)from;
        } else {
            for (int j = 0; j < 8; ++j) to[j].bits = inside && column + j < d ? from[j].bits : (unsigned short)0;
        }
    }
}

// A warp's 16 rows r.. of c [16, D] times `by` of each half, into rows of one head.
template <int D>
__device__ void put(bf16* base, int stride, int r, int limit, int d, const float (*c)[4], float by_low, float by_high) {
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        int row = r + g + 8 * half;
        float by = half ? by_high : by_low;
        if (row >= limit) continue;
        bf16* to = base + (size_t)row * stride;
#pragma unroll
        for (int j = 0; j < D / 8; ++j) {
            int column = 8 * j + 2 * t;
            if (column < d) to[column] = narrow<bf16>(c[j][2 * half] * by);
            if (column + 1 < d) to[column + 1] = narrow<bf16>(c[j][2 * half + 1] * by);
        }
    }
}

// Grid (query tiles, heads, b). lse [b, heads, n_q]; +3e38 in rows that see nothing.
template <int D, int KEYS>
__device__ void attention_forward(const bf16* q, const bf16* k, const bf16* v, const int* lengths, bf16* out, float* lse, Attention s) {
    DYNAMIC_SHARED(memory);
    bf16* q_tile = (bf16*)memory;
    bf16* k_tile = q_tile + ROWS * Tile<D>::STRIDE;
    bf16* v_tile = k_tile + KEYS * Tile<D>::STRIDE;
    Tile<D> qs = {q_tile}, ks = {k_tile}, vs = {v_tile};
    int b = blockIdx.z, h = blockIdx.y, first = blockIdx.x * ROWS, kv = h / (s.heads / s.kv_heads);
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, r = threadIdx.x / 32 * 16;
    int width = s.heads * s.d, kv_width = s.kv_heads * s.d, valid = valid_keys(s, lengths, b);
    const bf16* k_base = k + (size_t)b * s.n_k * kv_width + kv * s.d;
    const bf16* v_base = v + (size_t)b * s.n_k * kv_width + kv * s.d;
    fetch<D>(q_tile, q + (size_t)b * s.n_q * width + h * s.d, width, first, ROWS, s.n_q, s.d);
    int until[2] = {seen(s, valid, first + r + g), seen(s, valid, first + r + g + 8)};
    int last = seen(s, valid, min(first + ROWS, s.n_q) - 1);
    float factor = s.scale * 1.4426950408889634f;
    float o[D / 8][4] = {}, largest[2] = {HIDDEN, HIDDEN}, sum[2] = {0, 0};
    for (int key = 0; key < last; key += KEYS) {
        __syncthreads();
        fetch<D>(k_tile, k_base, kv_width, key, KEYS, s.n_k, s.d);
        fetch<D>(v_tile, v_base, kv_width, key, KEYS, s.n_k, s.d);
        __syncthreads();
        float c[KEYS / 8][4] = {};
#pragma unroll
        for (int x = 0; x < D; x += 16) {
            unsigned a[4];
            qs.left(a, r, x);
#pragma unroll
            for (int j = 0; j < KEYS / 8; ++j) ks.times_rows(c[j], a, 8 * j, x);
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float top = HIDDEN;
#pragma unroll
            for (int j = 0; j < KEYS / 8; ++j) {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    float& score = c[j][2 * half + i];
                    score = key + 8 * j + 2 * t + i < until[half] ? score * factor : HIDDEN;
                    top = fmaxf(top, score);
                }
            }
            top = fmaxf(largest[half], row_max(top));
            float shrink = exp2f(largest[half] - top);
            largest[half] = top;
            sum[half] *= shrink;
#pragma unroll
            for (int j = 0; j < KEYS / 8; ++j) {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    float& score = c[j][2 * half + i];
                    score = key + 8 * j + 2 * t + i < until[half] ? exp2f(score - top) : 0.0f;
                    sum[half] += score;
                }
            }
#pragma unroll
            for (int j = 0; j < D / 8; ++j) {
                o[j][2 * half] *= shrink;
                o[j][2 * half + 1] *= shrink;
            }
        }
#pragma unroll
        for (int x = 0; x < KEYS; x += 16) {
            const float* one = c[x / 8];
            const float* two = c[x / 8 + 1];
            unsigned a[4] = {pack(one[0], one[1]), pack(one[2], one[3]), pack(two[0], two[1]), pack(two[2], two[3])};
#pragma unroll
            for (int j = 0; j < D / 8; ++j) vs.times_columns(o[j], a, x, 8 * j);
        }
    }
    float inverse[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float total = row_sum(sum[half]);
        inverse[half] = total > 0 ? 1.0f / total : total == 0 ? 0.0f : total;
        int row = first + r + g + 8 * half;
        if (t == 0 && row < s.n_q)
            lse[((size_t)b * s.heads + h) * s.n_q + row] = total == 0 ? 3.0e38f : largest[half] + log2f(total);
    }
    put<D>(out + (size_t)b * s.n_q * width + h * s.d, width, first + r, s.n_q, s.d, o, inverse[0], inverse[1]);
}

// dq = scale (p (grad v^T - delta)) k. Grid as forward.
template <int D, int KEYS>
__device__ void attention_query(
    const bf16* q, const bf16* k, const bf16* v, const int* lengths, const bf16* grad, const float* lse, const float* delta,
    bf16* dq, Attention s) {
    DYNAMIC_SHARED(memory);
    bf16* q_tile = (bf16*)memory;
    bf16* g_tile = q_tile + ROWS * Tile<D>::STRIDE;
    bf16* k_tile = g_tile + ROWS * Tile<D>::STRIDE;
    bf16* v_tile = k_tile + KEYS * Tile<D>::STRIDE;
    Tile<D> qs = {q_tile}, gs = {g_tile}, ks = {k_tile}, vs = {v_tile};
    int b = blockIdx.z, h = blockIdx.y, first = blockIdx.x * ROWS, kv = h / (s.heads / s.kv_heads);
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, r = threadIdx.x / 32 * 16;
    int width = s.heads * s.d, kv_width = s.kv_heads * s.d, valid = valid_keys(s, lengths, b);
    const bf16* k_base = k + (size_t)b * s.n_k * kv_width + kv * s.d;
    const bf16* v_base = v + (size_t)b * s.n_k * kv_width + kv * s.d;
    size_t head = (size_t)b * s.n_q * width + h * s.d;
    fetch<D>(q_tile, q + head, width, first, ROWS, s.n_q, s.d);
    fetch<D>(g_tile, grad + head, width, first, ROWS, s.n_q, s.d);
    float factor = s.scale * 1.4426950408889634f, total[2], centre[2];
    int until[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        int row = first + r + g + 8 * half;
        size_t at = ((size_t)b * s.heads + h) * s.n_q + min(row, s.n_q - 1);
        until[half] = seen(s, valid, row);
        total[half] = lse[at];
        centre[half] = delta[at];
    }
    int last = seen(s, valid, min(first + ROWS, s.n_q) - 1);
    float o[D / 8][4] = {};
    for (int key = 0; key < last; key += KEYS) {
        __syncthreads();
        fetch<D>(k_tile, k_base, kv_width, key, KEYS, s.n_k, s.d);
        fetch<D>(v_tile, v_base, kv_width, key, KEYS, s.n_k, s.d);
        __syncthreads();
        float c[KEYS / 8][4] = {}, p[KEYS / 8][4] = {};
#pragma unroll
        for (int x = 0; x < D; x += 16) {
            unsigned a[4], e[4];
            qs.left(a, r, x);
            gs.left(e, r, x);
#pragma unroll
            for (int j = 0; j < KEYS / 8; ++j) {
                ks.times_rows(c[j], a, 8 * j, x);
                vs.times_rows(p[j], e, 8 * j, x);
            }
        }
#pragma unroll
        for (int j = 0; j < KEYS / 8; ++j) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                int half = i / 2;
                bool visible = key + 8 * j + 2 * t + i % 2 < until[half];
                c[j][i] = visible ? exp2f(c[j][i] * factor - total[half]) * (p[j][i] - centre[half]) * s.scale : 0.0f;
            }
        }
#pragma unroll
        for (int x = 0; x < KEYS; x += 16) {
            const float* one = c[x / 8];
            const float* two = c[x / 8 + 1];
            unsigned a[4] = {pack(one[0], one[1]), pack(one[2], one[3]), pack(two[0], two[1]), pack(two[2], two[3])};
#pragma unroll
            for (int j = 0; j < D / 8; ++j) ks.times_columns(o[j], a, x, 8 * j);
        }
    }
    put<D>(dq + head, width, first + r, s.n_q, s.d, o, 1.0f, 1.0f);
}

// dv = p^T grad, dk = scale (p (grad v^T - delta))^T q, over all query heads of a key head. Grid (key tiles, kv_heads, b).
template <int D, int QUERIES>
__device__ void attention_keys(
    const bf16* q, const bf16* k, const bf16* v, const int* lengths, const bf16* grad, const float* lse, const float* delta,
    bf16* dk, bf16* dv, Attention s) {
    DYNAMIC_SHARED(memory);
    __shared__ float stats[2][QUERIES];
    bf16* k_tile = (bf16*)memory;
    bf16* v_tile = k_tile + ROWS * Tile<D>::STRIDE;
    bf16* q_tile = v_tile + ROWS * Tile<D>::STRIDE;
    bf16* g_tile = q_tile + QUERIES * Tile<D>::STRIDE;
    Tile<D> qs = {q_tile}, gs = {g_tile}, ks = {k_tile}, vs = {v_tile};
    int b = blockIdx.z, kv = blockIdx.y, first = blockIdx.x * ROWS, group = s.heads / s.kv_heads;
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, r = threadIdx.x / 32 * 16;
    int width = s.heads * s.d, kv_width = s.kv_heads * s.d, valid = valid_keys(s, lengths, b);
    size_t kv_head = (size_t)b * s.n_k * kv_width + kv * s.d;
    fetch<D>(k_tile, k + kv_head, kv_width, first, ROWS, s.n_k, s.d);
    fetch<D>(v_tile, v + kv_head, kv_width, first, ROWS, s.n_k, s.d);
    float factor = s.scale * 1.4426950408889634f;
    float to_k[D / 8][4] = {}, to_v[D / 8][4] = {};
    // The first query that sees the tile's first key; none if that key is padding.
    int from = s.causal ? max(0, first + s.n_q - s.n_k) / QUERIES * QUERIES : 0;
    if (first >= valid) from = s.n_q;
    for (int h = kv * group; h < (kv + 1) * group; ++h) {
        size_t head = (size_t)b * s.n_q * width + h * s.d;
        const float* lse_row = lse + ((size_t)b * s.heads + h) * s.n_q;
        const float* delta_row = delta + ((size_t)b * s.heads + h) * s.n_q;
        for (int query = from; query < s.n_q; query += QUERIES) {
            __syncthreads();
            fetch<D>(q_tile, q + head, width, query, QUERIES, s.n_q, s.d);
            fetch<D>(g_tile, grad + head, width, query, QUERIES, s.n_q, s.d);
            if (threadIdx.x < QUERIES) {
                int i = min(query + (int)threadIdx.x, s.n_q - 1);
                stats[0][threadIdx.x] = lse_row[i];
                stats[1][threadIdx.x] = delta_row[i];
            }
            __syncthreads();
            float c[QUERIES / 8][4] = {}, p[QUERIES / 8][4] = {};
#pragma unroll
            for (int x = 0; x < D; x += 16) {
                unsigned a[4], e[4];
                ks.left(a, r, x);
                vs.left(e, r, x);
#pragma unroll
                for (int j = 0; j < QUERIES / 8; ++j) {
                    qs.times_rows(c[j], a, 8 * j, x);
                    gs.times_rows(p[j], e, 8 * j, x);
                }
            }
#pragma unroll
            for (int j = 0; j < QUERIES / 8; ++j) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    int column = 8 * j + 2 * t + i % 2, key = first + r + g + 8 * (i / 2);
                    bool visible = key < seen(s, valid, query + column);
                    float share = visible ? exp2f(c[j][i] * factor - stats[0][column]) : 0.0f;
                    c[j][i] = share;
                    p[j][i] = visible ? share * (p[j][i] - stats[1][column]) * s.scale : 0.0f;
                }
            }
#pragma unroll
            for (int x = 0; x < QUERIES; x += 16) {
                const float* one = c[x / 8];
                const float* two = c[x / 8 + 1];
                unsigned a[4] = {pack(one[0], one[1]), pack(one[2], one[3]), pack(two[0], two[1]), pack(two[2], two[3])};
                one = p[x / 8];
                two = p[x / 8 + 1];
                unsigned e[4] = {pack(one[0], one[1]), pack(one[2], one[3]), pack(two[0], two[1]), pack(two[2], two[3])};
#pragma unroll
                for (int j = 0; j < D / 8; ++j) {
                    gs.times_columns(to_v[j], a, x, 8 * j);
                    qs.times_columns(to_k[j], e, x, 8 * j);
                }
            }
        }
    }
    put<D>(dk + kv_head, kv_width, first + r, s.n_k, s.d, to_k, 1.0f, 1.0f);
    put<D>(dv + kv_head, kv_width, first + r, s.n_k, s.d, to_v, 1.0f, 1.0f);
}

ENTRY void attention_delta_bf16(const bf16* out, const bf16* grad, float* delta, int rows, int n_q, int heads, int d) {
    attention_delta(out, grad, delta, rows, n_q, heads, d);
}

// How many keys or queries pass at a time: at 128 channels as many as fit 48 KiB of shared memory.
#define ATTENTION(D, KEYS, PASSING)                                                                                     \
    ENTRY void attention_forward_bf16_##D(                                                                                   \
        const bf16* q, const bf16* k, const bf16* v, const int* lengths, bf16* out, float* lse, SHAPE) {                \
        THE_SHAPE attention_forward<D, KEYS>(q, k, v, lengths, out, lse, s);                                                 \
    }                                                                                                                   \
    ENTRY void attention_query_bf16_##D(                                                                                     \
        const bf16* q, const bf16* k, const bf16* v, const int* lengths, const bf16* grad, const float* lse,            \
        const float* delta, bf16* dq, SHAPE) {                                                                          \
        THE_SHAPE attention_query<D, PASSING>(q, k, v, lengths, grad, lse, delta, dq, s);                                    \
    }                                                                                                                   \
    ENTRY void attention_keys_bf16_##D(                                                                                      \
        const bf16* q, const bf16* k, const bf16* v, const int* lengths, const bf16* grad, const float* lse,            \
        const float* delta, bf16* dk, bf16* dv, SHAPE) {                                                                \
        THE_SHAPE attention_keys<D, PASSING>(q, k, v, lengths, grad, lse, delta, dk, dv, s);                                 \
    }

ATTENTION(32, 32, 32)
ATTENTION(64, 32, 32)
ATTENTION(128, 32, 16)

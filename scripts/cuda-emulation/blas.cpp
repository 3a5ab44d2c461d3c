// The functions of cuBLAS that the tensor library calls, on the emulated card (card.cpp). Products are summed in float32, in
// order.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

extern "C" int covft_card_computes();
extern "C" void covft_card_product(void* stream, const char* name, int operands, const void* const* at, const std::size_t* bytes);

namespace {

enum { SUCCESS = 0, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum { PLAIN = 0 };
enum Type { FLOAT = 0, DOUBLE = 1, BFLOAT16 = 14 };
enum { COMPUTE_32F = 68, COMPUTE_TF32 = 77, COMPUTE_16BF = 75 };

struct Handle {
    void* stream = nullptr;
};

std::size_t size_of(int type) {
    return type == DOUBLE ? 8 : type == FLOAT ? 4 : 2;
}

template <class Real>
Real load(const void* at, std::size_t i, int type) {
    if (type == DOUBLE) return Real(static_cast<const double*>(at)[i]);
    if (type == FLOAT) return Real(static_cast<const float*>(at)[i]);
    std::uint32_t bits = std::uint32_t(static_cast<const std::uint16_t*>(at)[i]) << 16;
    float x;
    std::memcpy(&x, &bits, 4);
    return Real(x);
}

template <class Real>
void store(void* at, std::size_t i, int type, Real x) {
    if (type == DOUBLE) {
        static_cast<double*>(at)[i] = double(x);
    } else if (type == FLOAT) {
        static_cast<float*>(at)[i] = float(x);
    } else {
        auto narrow = float(x);
        std::uint32_t bits;
        std::memcpy(&bits, &narrow, 4);
        bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
        bits = nan ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1u);
        static_cast<std::uint16_t*>(at)[i] = std::uint16_t(bits >> 16);
    }
}

// op(source), `rows` by `columns`, column after column.
template <class Real>
std::vector<Real> packed(const void* source, int type, int op, int rows, int columns, int lead) {
    std::vector<Real> out(std::size_t(rows) * columns);
    for (int j = 0; j < columns; ++j) {
        for (int i = 0; i < rows; ++i) {
            std::size_t at = op == PLAIN ? std::size_t(j) * lead + i : std::size_t(i) * lead + j;
            out[std::size_t(j) * rows + i] = load<Real>(source, at, type);
        }
    }
    return out;
}

struct Product {
    int op_a, op_b, m, n, k, type_a, lead_a, type_b, lead_b, type_c, lead_c, batch;
    const void *a, *b;
    void* c;
    long long stride_a, stride_b, stride_c;
};

template <class Real>
void compute(const Product& p, Real alpha, Real beta) {
    std::vector<Real> sums(p.m);
    for (long long s = 0; s < p.batch; ++s) {
        auto offset = [s](const void* at, long long stride, int type) { return static_cast<const char*>(at) + s * stride * (long long)size_of(type); };
        auto a = packed<Real>(offset(p.a, p.stride_a, p.type_a), p.type_a, p.op_a, p.m, p.k, p.lead_a);
        auto b = packed<Real>(offset(p.b, p.stride_b, p.type_b), p.type_b, p.op_b, p.k, p.n, p.lead_b);
        auto* c = const_cast<char*>(offset(p.c, p.stride_c, p.type_c));
        for (int j = 0; j < p.n; ++j) {
            std::fill(sums.begin(), sums.end(), Real(0));
            for (int l = 0; l < p.k; ++l) {
                Real factor = b[std::size_t(j) * p.k + l];
                const Real* column = a.data() + std::size_t(l) * p.m;
                for (int i = 0; i < p.m; ++i) sums[i] += factor * column[i];
            }
            for (int i = 0; i < p.m; ++i) {
                std::size_t at = std::size_t(j) * p.lead_c + i;
                Real old = beta == Real(0) ? Real(0) : beta * load<Real>(c, at, p.type_c);
                store<Real>(c, at, p.type_c, alpha * sums[i] + old);
            }
        }
    }
}

// Numbers from the first to the last that a batch of matrices of `rows` by `columns` as they lie touches.
std::size_t reach(long long batch, long long stride, int rows, int columns, int lead) {
    return std::size_t((batch - 1) * stride) + std::size_t(columns - 1) * lead + rows;
}

int multiply(void* handle, const Product& p, double alpha, double beta) {
    int rows_a = p.op_a == PLAIN ? p.m : p.k, columns_a = p.op_a == PLAIN ? p.k : p.m;
    int rows_b = p.op_b == PLAIN ? p.k : p.n, columns_b = p.op_b == PLAIN ? p.n : p.k;
    if (p.m < 0 || p.n < 0 || p.k < 0 || p.batch < 0) return INVALID_VALUE;
    if (p.lead_a < std::max(1, rows_a) || p.lead_b < std::max(1, rows_b) || p.lead_c < std::max(1, p.m)) return INVALID_VALUE;
    if (!p.m || !p.n || !p.batch) return SUCCESS;
    if (!p.k) return NOT_SUPPORTED;
    const void* at[] = {p.a, p.b, p.c};
    const std::size_t bytes[] = {
        size_of(p.type_a) * reach(p.batch, p.stride_a, rows_a, columns_a, p.lead_a),
        size_of(p.type_b) * reach(p.batch, p.stride_b, rows_b, columns_b, p.lead_b),
        size_of(p.type_c) * reach(p.batch, p.stride_c, p.m, p.n, p.lead_c)};
    covft_card_product(static_cast<Handle*>(handle)->stream, "cuBLAS product", 3, at, bytes);
    if (!covft_card_computes()) return SUCCESS;
    if (p.type_a == DOUBLE) {
        compute<double>(p, alpha, beta);
    } else {
        compute<float>(p, float(alpha), float(beta));
    }
    return SUCCESS;
}

}  // namespace

extern "C" {

int cublasCreate_v2(void** handle) {
    *handle = new Handle;
    return SUCCESS;
}

int cublasDestroy_v2(void* handle) {
    delete static_cast<Handle*>(handle);
    return SUCCESS;
}

int cublasSetStream_v2(void* handle, void* stream) {
    static_cast<Handle*>(handle)->stream = stream;
    return SUCCESS;
}

int cublasGemmStridedBatchedEx(
    void* handle, int op_a, int op_b, int m, int n, int k, const void* alpha, const void* a, int type_a, int lead_a,
    long long stride_a, const void* b, int type_b, int lead_b, long long stride_b, const void* beta, void* c, int type_c,
    int lead_c, long long stride_c, int batch, int computing, int) {
    bool known = (type_a == FLOAT || type_a == BFLOAT16) && type_b == type_a && (type_c == type_a || type_c == FLOAT);
    bool in_float = computing == COMPUTE_32F || computing == COMPUTE_TF32 || computing == COMPUTE_16BF;
    if (!known || !in_float) return NOT_SUPPORTED;
    Product p{op_a, op_b, m, n, k, type_a, lead_a, type_b, lead_b, type_c, lead_c, batch, a, b, c, stride_a, stride_b, stride_c};
    return multiply(handle, p, *static_cast<const float*>(alpha), *static_cast<const float*>(beta));
}

int cublasDgemmStridedBatched(
    void* handle, int op_a, int op_b, int m, int n, int k, const double* alpha, const double* a, int lead_a,
    long long stride_a, const double* b, int lead_b, long long stride_b, const double* beta, double* c, int lead_c,
    long long stride_c, int batch) {
    Product p{op_a, op_b, m, n, k, DOUBLE, lead_a, DOUBLE, lead_b, DOUBLE, lead_c, batch, a, b, c, stride_a, stride_b, stride_c};
    return multiply(handle, p, *alpha, *beta);
}

}  // extern "C"

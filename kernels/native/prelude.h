// What every kernel in C++ begins with: rows of numbers, threads that share them, and functions of float32 without
// branches, which a compiler turns into vector instructions of whatever width the machine has.

#include <atomic>
#include <math.h>
#include <string.h>

typedef long long integer;

// A function that is compiled once, however often it is called: a layer has a hundred calls, and its compile is
// waited for.
#define ONCE static __attribute__((noinline))

// [rows, width]: row b begins at `at + b * step` and is dense. What all rows share has step 0.
struct Rows {
    float* at;
    integer step;
};

// What every part of a step is told.
struct Call {
    integer rows, threads;
    const bool* resets;  // [rows], or null
    bool reset(integer row) const { return resets && resets[row]; }
    int carried(integer row) const { return reset(row) ? 0 : -1; }  // a mask: whether the row goes on
};

// -- threads --------------------------------------------------------------------------------------------------------

constexpr integer GRAIN = 4096;  // numbers that one thread computes while another is woken

// The entry of the OpenMP library that torch has loaded already: its threads are there and awake, and a second set
// would only take turns with them. Null where there is none; then one thread does all.
typedef void (*Team)(void (*)(void*), void*, unsigned, unsigned);
static Team team = nullptr;
extern "C" void use_team(void* entry) { team = (Team)entry; }

template <class Body> struct Share {
    const Body& body;
    const integer rows, piece;
    std::atomic<integer> next;
};

template <class Body> ONCE void take_pieces(void* given) {
    Share<Body>& share = *(Share<Body>*)given;
    for (;;) {
        const integer first = share.next.fetch_add(share.piece);
        if (first >= share.rows) return;
        const integer stop = first + share.piece;
        share.body(first, stop < share.rows ? stop : share.rows);
    }
}

// body(first, stop) for all rows, in pieces of about GRAIN numbers where a row has `width`. A piece is computed the
// same way by whoever takes it, so results do not depend on the number of threads.
template <class Body> static void in_pieces(const Call& c, integer rows, integer width, const Body& body) {
    const integer piece = GRAIN / (width < 1 ? 1 : width) + 1, pieces = (rows + piece - 1) / piece;
    const bool alone = c.threads < 2 || pieces < 2 || team == nullptr;
    Share<Body> share{body, rows, alone ? rows : piece, {0}};
    // All threads or one: a smaller team would end the others, and the next one would have to start them again.
    if (alone)
        take_pieces<Body>(&share);
    else
        team(take_pieces<Body>, &share, (unsigned)c.threads, 0);
}

// -- functions ------------------------------------------------------------------------------------------------------

// All take NaN to NaN. Errors are at most 3 units in the last place; where sigmoid, silu and gelu are small, a few units
// of 1 (tests/tolerances.py has the bounds). Polynomials are those of the Cephes library (S. Moshier).
namespace f32 {

static inline int bits(float x) {
    int i;
    memcpy(&i, &x, 4);
    return i;
}

static inline float of_bits(int i) {
    float x;
    memcpy(&x, &i, 4);
    return x;
}

// x where all bits of a mask are set, `other` where none is: a choice that is the same for a whole row, and no branch.
static inline float choose(int mask, float x, float other) { return of_bits((bits(x) & mask) | (bits(other) & ~mask)); }

static inline float abs(float x) { return __builtin_fabsf(x); }
static inline float sqrt(float x) { return __builtin_sqrtf(x); }
static inline float sin(float x) { return __builtin_sinf(x); }
static inline float cos(float x) { return __builtin_cosf(x); }
static inline float minimum(float a, float b) { return a < b || a != a ? a : b; }
static inline float maximum(float a, float b) { return a > b || a != a ? a : b; }

// 2^n for -126 <= n <= 127
static inline float power(int n) { return of_bits((n + 127) << 23); }

// x = n log 2 + r with |r| <= log(2)/2; gives exp(r) - 1 and n. For |x| < 2^21.
static inline float reduced(float x, int* n) {
    const float shift = 12582912.0f;  // 3 * 2^22: a sum with it is rounded to a whole number
    const float t = x * 1.44269504088896341f + shift;
    *n = bits(t) - bits(shift);
    const float whole = t - shift;
    const float r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return p * (r * r) + r;
}

static inline float exp(float x) {
    x = x < -105.0f ? -105.0f : x;
    x = x > 90.0f ? 90.0f : x;
    int n;
    const float p = reduced(x, &n) + 1.0f;
    const int half = n >> 1;  // in two steps: 2^n alone would leave the range before the result does
    return p * power(half) * power(n - half);
}

static inline float expm1(float x) {
    const float large = exp(x);
    const float y = x < -105.0f ? -105.0f : x > 80.0f ? 80.0f : x;
    int n;
    const float p = reduced(y, &n);
    const float s = power(n < -126 ? -126 : n);
    return x > 80.0f ? large : s * p + (s - 1.0f);
}

static inline float log(float x) {
    const bool tiny = x < 1.17549435e-38f;
    const float y = tiny ? x * 8388608.0f : x;
    int e = ((bits(y) >> 23) & 0xff) - 126;
    float f = of_bits((bits(y) & 0x007fffff) | 0x3f000000);  // y = f 2^e, 1/2 <= f < 1
    const bool low = f < 0.707106781186547524f;
    e = low ? e - 1 : e;
    f = low ? f + f - 1.0f : f - 1.0f;
    const float whole = (float)(tiny ? e - 23 : e);
    const float square = f * f;
    float p = 7.0376836292e-2f;
    p = p * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    float y1 = p * f * square - whole * 2.12194440e-4f - 0.5f * square;
    y1 = f + y1 + whole * 0.693359375f;
    y1 = x == HUGE_VALF ? x : y1;
    y1 = x == 0.0f ? -HUGE_VALF : y1;
    return x >= 0.0f ? y1 : of_bits(0x7fc00000);
}

// log(1 + u) for 0 <= u <= 1: what rounding 1 + u lost is put back
static inline float log1p_unit(float u) {
    const float y = 1.0f + u;
    return log(y) + (u - (y - 1.0f)) / y;
}

static inline float sigmoid(float x) { return 1.0f / (1.0f + exp(-x)); }

static inline float tanh(float x) {
    const float e = expm1(-2.0f * abs(x));
    return __builtin_copysignf(e / (2.0f + e), x);
}

// x Phi(x). erf is the rational function of Eigen's `erf` for float, on |x| < 4, beyond which it is 1.
static inline float gelu(float x) {
    float y = x * 0.707106781186547524f;
    y = y < -4.0f ? -4.0f : y;
    y = y > 4.0f ? 4.0f : y;
    const float s = y * y;
    float p = -2.72614225801306e-10f;
    p = p * s + 2.77068142495902e-08f;
    p = p * s - 2.10102402082508e-06f;
    p = p * s - 5.69250639462346e-05f;
    p = p * s - 7.34990630326855e-04f;
    p = p * s - 2.95459980854025e-03f;
    p = p * s - 1.60960333262415e-02f;
    float q = -1.45660718464996e-05f;
    q = q * s - 2.13374055278905e-04f;
    q = q * s - 1.68282697438203e-03f;
    q = q * s - 7.37332916720468e-03f;
    q = q * s - 1.42647390514189e-02f;
    const float half = 0.5f * x;
    return half + half * (y * p / q);
}

static inline float silu(float x) { return x * sigmoid(x); }

static inline float log_sigmoid(float x) { return minimum(x, 0.0f) - log1p_unit(exp(-abs(x))); }

}  // namespace f32

// -- lanes ----------------------------------------------------------------------------------------------------------

constexpr integer LANES = 16;
constexpr integer PAST_CACHE = 8 << 20;  // bytes of a state from which on it is written past the cache
typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline const Lanes& lanes(const float* at) { return *(const Lanes*)at; }
static inline Lanes& lanes(float* at) { return *(Lanes*)at; }

static inline float across(const Lanes& x) {
    float total = 0.0f;
    for (integer l = 0; l < LANES; ++l) total += x[l];
    return total;
}

// Writes past the cache, to an address that is a multiple of 64: what is not there need not be fetched to be written
// over. Others see it after `passed`.
static inline void put_past_cache(float* at, const Lanes& x) {
#if defined(__clang__)
    typedef float Aligned __attribute__((vector_size(4 * LANES)));
    __builtin_nontemporal_store((Aligned)x, (Aligned*)at);
#elif defined(__AVX512F__)
    typedef float Wide __attribute__((vector_size(64)));
    __builtin_ia32_movntps512(at, (Wide)x);
#elif defined(__AVX__)
    typedef float Half __attribute__((vector_size(32)));
    const float* from = (const float*)&x;
    Half a, b;
    memcpy(&a, from, 32);
    memcpy(&b, from + 8, 32);
    __builtin_ia32_movntps256(at, a);
    __builtin_ia32_movntps256(at + 8, b);
#else
    lanes(at) = x;
#endif
}

static inline void copy_past_cache(float* to, const float* from, integer size) {
    integer i = 0;
    if ((size_t)to % 64 == 0)
        for (; i + LANES <= size; i += LANES) put_past_cache(to + i, lanes(from + i));
    memcpy(to + i, from + i, (size - i) * sizeof(float));
}

static inline void passed() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

// -- sums -----------------------------------------------------------------------------------------------------------

// Sums are taken in lanes, in an order that is always the same; compilers left to themselves make less of it.
namespace cx {

static inline float sum(const float* a, integer size) {
    Lanes x = {};
    integer i = 0;
    for (; i + LANES <= size; i += LANES) x += lanes(a + i);
    float total = across(x);
    for (; i < size; ++i) total += a[i];
    return total;
}

static inline float dot(const float* a, const float* b, integer size) {
    Lanes x = {}, y = {};
    integer i = 0;
    for (; i + 2 * LANES <= size; i += 2 * LANES) {
        x += lanes(a + i) * lanes(b + i);
        y += lanes(a + i + LANES) * lanes(b + i + LANES);
    }
    float total = across(x + y);
    for (; i < size; ++i) total += a[i] * b[i];
    return total;
}

}  // namespace cx

// Products with weights: those of the library that torch computes its own with.

// SGEMM of BLAS. Sizes go as addresses: a library that counts with four bytes reads the lower half, which comes first.
typedef void (*Gemm)(const char*, const char*, const integer*, const integer*, const integer*, const float*,
                     const float*, const integer*, const float*, const integer*, const float*, float*, const integer*);
static Gemm gemm_entry = nullptr;
extern "C" void use_gemm(void* entry) { gemm_entry = (Gemm)entry; }

namespace cx {

// y += x w^T (or = where `fresh`): x [rows, inputs], w [outputs, inputs], its rows `w_step` apart.
ONCE void add_product(integer rows, Rows x, integer inputs, const float* w, integer w_step, integer outputs,
                      Rows y, bool fresh) {
    const float one = 1.0f, kept = fresh ? 0.0f : 1.0f;
    gemm_entry("T", "N", &outputs, &rows, &inputs, &one, w, &w_step, x.at, &x.step, &kept, y.at, &y.step);
}

// y = x w: x [rows, inputs], w [inputs, outputs], its rows `w_step` apart.
ONCE void product_t(integer rows, Rows x, integer inputs, const float* w, integer w_step, integer outputs,
                    Rows y) {
    const float one = 1.0f, zero = 0.0f;
    gemm_entry("N", "N", &outputs, &rows, &inputs, &one, w, &w_step, x.at, &x.step, &zero, y.at, &y.step);
}

// y = x w^T + bias
ONCE void linear(integer rows, Rows x, integer inputs, const float* w, const float* bias, integer outputs,
                 Rows y) {
    if (bias)
        for (integer b = 0; b < rows; ++b) memcpy(y.at + b * y.step, bias, outputs * sizeof(float));
    add_product(rows, x, inputs, w, inputs, outputs, y, bias == nullptr);
}

// For each head n of x [rows, heads * width] its own map w [width, width]: y [rows, heads * width]. The maps of heads
// are `apart` numbers apart.
ONCE void by_head(integer rows, Rows x, integer heads, integer width, const float* w, integer apart, Rows y) {
    for (integer n = 0; n < heads; ++n)
        add_product(rows, {x.at + n * width, x.step}, width, w + n * apart, width, width, {y.at + n * width, y.step},
                    true);
}

// R y for each of `gates` gates: y [rows, heads * width], w [heads, gates, width, width], to [rows, gates * heads *
// width]. A row with a reset has `start` for y. `work` is memory for a copy of y.
ONCE void recurrent_product(const Call& c, Rows y, float start, integer heads, integer gates, integer width,
                            const float* w, float* work, Rows to) {
    const integer H = heads * width;
    if (c.resets) {
        for (integer b = 0; b < c.rows; ++b)
            for (integer i = 0; i < H; ++i) work[b * H + i] = c.reset(b) ? start : y.at[b * y.step + i];
        y = {work, H};
    }
    for (integer g = 0; g < gates; ++g)
        by_head(c.rows, y, heads, width, w + g * width * width, gates * width * width, {to.at + g * H, to.step});
}

// y[e] = w[e] . x, for w [E, K]
ONCE void matrix_vector(const float* w, const float* x, integer E, integer K, float* y) {
    for (integer e = 0; e < E; ++e) y[e] = dot(w + e * K, x, K);
}

}  // namespace cx

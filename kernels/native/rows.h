// What is done to whole rows: copies, norms, a function each. Means and variances take two passes, as torch's.

namespace cx {

ONCE void copy_rows(const Call& c, Rows x, integer width, Rows y) {
    in_pieces(c, c.rows, width, [&](integer first, integer stop) {
        for (integer b = first; b < stop; ++b) memcpy(y.at + b * y.step, x.at + b * x.step, width * sizeof(float));
    });
}

ONCE void gelu_rows(const Call& c, Rows x, integer width, Rows y) {
    in_pieces(c, c.rows, width, [&](integer first, integer stop) {
        for (integer b = first; b < stop; ++b) {
            const float* __restrict from = x.at + b * x.step;
            float* __restrict to = y.at + b * y.step;
            for (integer i = 0; i < width; ++i) to[i] = f32::gelu(from[i]);
        }
    });
}

// (x - mean) / sqrt(variance + eps) * weight + bias; weight and bias may be null.
ONCE void norm_of(const float* __restrict x, integer width, const float* weight, const float* bias, float eps,
                  float* __restrict y) {
    const float mean = sum(x, width) / width;
    float spread = 0.0f;
#pragma omp simd reduction(+ : spread)
    for (integer i = 0; i < width; ++i) spread += (x[i] - mean) * (x[i] - mean);
    const float scale = 1.0f / sqrtf(spread / width + eps);
    for (integer i = 0; i < width; ++i) y[i] = (x[i] - mean) * scale;
    if (weight)
        for (integer i = 0; i < width; ++i) y[i] *= weight[i];
    if (bias)
        for (integer i = 0; i < width; ++i) y[i] += bias[i];
}

// Over groups of `width` numbers, `groups` a row: 1 for a layer norm, the heads for a group norm.
ONCE void layer_norm(const Call& c, Rows x, integer groups, integer width, const float* weight,
                     const float* bias, Rows y) {
    in_pieces(c, c.rows, groups * width, [&](integer first, integer stop) {
        for (integer b = first; b < stop; ++b)
            for (integer g = 0; g < groups; ++g)
                norm_of(x.at + b * x.step + g * width, width, weight ? weight + g * width : nullptr,
                        bias ? bias + g * width : nullptr, 1e-5f, y.at + b * y.step + g * width);
    });
}

ONCE void rms_norm(const Call& c, Rows x, integer width, const float* weight, Rows y) {
    in_pieces(c, c.rows, width, [&](integer first, integer stop) {
        for (integer b = first; b < stop; ++b) {
            const float* __restrict from = x.at + b * x.step;
            float* __restrict to = y.at + b * y.step;
            const float scale = 1.0f / sqrtf(dot(from, from, width) / width + 1.1920928955078125e-07f);
            for (integer i = 0; i < width; ++i) to[i] = from[i] * scale * weight[i];
        }
    });
}

// x - mean(x)
ONCE void center(integer rows, Rows x, integer width, Rows y) {
    for (integer b = 0; b < rows; ++b) {
        const float mean = sum(x.at + b * x.step, width) / width;
        for (integer i = 0; i < width; ++i) y.at[b * y.step + i] = x.at[b * x.step + i] - mean;
    }
}

}  // namespace cx

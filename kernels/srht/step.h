// A fixed random rotation of rows, as transform.py: permute, flip signs, Walsh-Hadamard, scale.

namespace cx {

// W x / sqrt(size) in place, for a power of two: every round adds and subtracts what is `half` apart.
static inline void rotate(float* __restrict x, integer size) {
    for (integer half = 1; half < size; half *= 2)
        for (integer from = 0; from < size; from += 2 * half)
            for (integer i = from; i < from + half; ++i) {
                const float a = x[i], b = x[i + half];
                x[i] = a + b;
                x[i + half] = a - b;
            }
    const float scale = 1.0f / sqrtf((float)size);
    for (integer i = 0; i < size; ++i) x[i] *= scale;
}

// x [rows, width]; order: which channel comes where; signs: +1 and -1.
ONCE void srht(const Call& c, integer rows, Rows x, integer width, const integer* order, const float* signs, Rows y) {
    integer block = 1;
    while (2 * block <= width) block *= 2;
    in_pieces(c, rows, width, [&](integer first, integer stop) {
        for (integer b = first; b < stop; ++b) {
            const float* from = x.at + b * x.step;
            float* to = y.at + b * y.step;
            for (integer i = 0; i < width; ++i) to[i] = from[order[i]] * signs[i];
            rotate(to, block);
            if (block < width) rotate(to + width - block, block);
        }
    });
}

}  // namespace cx

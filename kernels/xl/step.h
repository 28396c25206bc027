// One query of Transformer-XL attention, as `xl_attention_step`, `xl_step` and `xl_memory_step` of step.py: there is
// why the raw memory is never projected.

namespace cx {

// Scores of `count` slots, H numbers each and `apart` from one another, for one probe. Four at a time: the probe is
// read once for them, and no sum waits for the one before.
static inline void ask(const float* probe, const float* slots, integer count, integer apart, integer H, float* scores) {
    integer j = 0;
    for (; j + 4 <= count; j += 4) {
        const float* s = slots + j * apart;
        Lanes a = {}, b = {}, c = {}, d = {};
        integer e = 0;
        for (; e + LANES <= H; e += LANES) {
            const Lanes p = lanes(probe + e);
            a += p * lanes(s + e);
            b += p * lanes(s + apart + e);
            c += p * lanes(s + 2 * apart + e);
            d += p * lanes(s + 3 * apart + e);
        }
        float* to = scores + j;
        to[0] = across(a), to[1] = across(b), to[2] = across(c), to[3] = across(d);
        for (; e < H; ++e)
            for (integer k = 0; k < 4; ++k) to[k] += probe[e] * s[k * apart + e];
    }
    for (; j < count; ++j) scores[j] = dot(probe, slots + j * apart, H);
}

// to = weights[count] own + sum_j weights[j] slot_j
static inline void gather(const float* weights, const float* __restrict slots, integer count, integer apart,
                          const float* __restrict own, integer H, float* __restrict to) {
    for (integer e = 0; e < H; ++e) to[e] = weights[count] * own[e];
    integer j = 0;
    for (; j + 4 <= count; j += 4) {
        const float* __restrict s = slots + j * apart;
        const float w0 = weights[j], w1 = weights[j + 1], w2 = weights[j + 2], w3 = weights[j + 3];
        for (integer e = 0; e < H; ++e)
            to[e] += w0 * s[e] + w1 * s[apart + e] + w2 * s[2 * apart + e] + w3 * s[3 * apart + e];
    }
    for (; j < count; ++j)
        for (integer e = 0; e < H; ++e) to[e] += weights[j] * slots[j * apart + e];
}

// softmax((scores + by_distance) * scale) in place, over the slots and the own input; by_distance: the nearest first.
static inline void weigh(float* scores, const float* by_distance, integer count, float scale) {
    float top = -HUGE_VALF, total = 0.0f;
    for (integer j = 0; j <= count; ++j) {
        scores[j] = (scores[j] + by_distance[count - j]) * scale;
        top = f32::maximum(top, scores[j]);
    }
    for (integer j = 0; j <= count; ++j) scores[j] = f32::exp(scores[j] - top);
    for (integer j = 0; j <= count; ++j) total += scores[j];
    for (integer j = 0; j <= count; ++j) scores[j] /= total;
}

// How many slots of a row are real; they stand last.
static inline integer real_slots(const Call& c, const integer* fill, integer row, integer M) {
    return c.reset(row) ? 0 : fill[row] < M ? fill[row] : M;
}

// What N probes [rows, N * H] see of the memory [rows, M * H] and of the own input x [rows, H]; by_distance [rows,
// N * (M + 1)] is added to the scores. Writes seen [rows, N * H].
ONCE void xl_attend(const Call& c, Rows x, Rows probe, Rows by_distance, Rows mem, const integer* fill, integer N,
                    integer M, integer H, float scale, Rows seen) {
    in_pieces(c, c.rows, (M + 1) * H, [&](integer first, integer stop) {
        for (integer b = first; b < stop; ++b) {
            const integer real = real_slots(c, fill, b, M);
            const float* own = x.at + b * x.step;
            const float* slots = mem.at + b * mem.step + (M - real) * H;
            float weights[N * (real + 1)];
            for (integer n = 0; n < N; ++n) {
                const float* asked = probe.at + b * probe.step + n * H;
                float* w = weights + n * (real + 1);
                ask(asked, slots, real, H, H, w);
                w[real] = dot(asked, own, H);
                weigh(w, by_distance.at + b * by_distance.step + n * (M + 1), real, scale);
            }
            for (integer n = 0; n < N; ++n)
                gather(weights + n * (real + 1), slots, real, H, own, H, seen.at + b * seen.step + n * H);
        }
    });
}

// One query with keys and values at hand: q, own_k, own_v [rows, N * D]; keys, values [rows, M * N * D]; rel [M + 1,
// N * D], the nearest first; u, v [N * D]. Writes y [rows, N * D].
ONCE void xl_attention_step(const Call& c, Rows q, Rows keys, Rows own_k, Rows values, Rows own_v, const float* rel,
                            const float* u, const float* v, const integer* fill, integer N, integer D, integer M,
                            Rows y) {
    const integer wide = N * D;
    const float scale = 1.0f / sqrtf((float)D);
    in_pieces(c, c.rows, (M + 1) * wide, [&](integer first, integer stop) {
        for (integer b = first; b < stop; ++b) {
            const integer real = real_slots(c, fill, b, M), skip = (M - real) * wide;
            float asked[D], weights[real + 1], by_distance[real + 1];
            for (integer n = 0; n < N; ++n) {
                const float* query = q.at + b * q.step + n * D;
                for (integer e = 0; e < D; ++e) asked[e] = query[e] + v[n * D + e];
                ask(asked, rel + n * D, real + 1, wide, D, by_distance);
                for (integer e = 0; e < D; ++e) asked[e] = query[e] + u[n * D + e];
                ask(asked, keys.at + b * keys.step + skip + n * D, real, wide, D, weights);
                weights[real] = dot(asked, own_k.at + b * own_k.step + n * D, D);
                weigh(weights, by_distance, real, scale);
                gather(weights, values.at + b * values.step + skip + n * D, real, wide,
                       own_v.at + b * own_v.step + n * D, D, y.at + b * y.step + n * D);
            }
        }
    });
}

// x [rows, H], q [rows, N * D], positions [M + 1, H], wk, wv, wr [N * D, H], bv [N * D] or null, u, v [N * D]. Writes y
// [rows, N * D]. `work` is memory for N * (D + 2 H + M + 1) numbers a row, `table` for (M + 1) * N * D.
ONCE void xl_step(const Call& c, Rows x, Rows q, Rows mem, const integer* fill, const float* wk,
                  const float* wv, const float* bv, const float* wr, const float* positions, const float* u,
                  const float* v, integer N, integer D, integer M, integer H, float* work, float* table,
                  Rows y) {
    const integer wide = N * D, distances = M + 1, rows = c.rows;
    const Rows asked = {work, wide}, probe = {asked.at + rows * wide, N * H}, seen = {probe.at + rows * N * H, N * H};
    const Rows by_distance = {seen.at + rows * N * H, N * distances};
    const Rows projected = {table, wide};
    auto with = [&](const float* bias) {
        for (integer b = 0; b < rows; ++b)
            for (integer i = 0; i < wide; ++i) asked.at[b * wide + i] = q.at[b * q.step + i] + bias[i];
    };
    with(v);
    // For a few rows W_r moves to the side of the query; many rows share the projected positions.
    if (rows * (H * (distances + D) - distances * D) > distances * H * D) {
        add_product(distances, {(float*)positions, H}, H, wr, H, wide, projected, true);
        for (integer n = 0; n < N; ++n)
            add_product(rows, {asked.at + n * D, wide}, D, projected.at + n * D, wide, distances,
                        {by_distance.at + n * distances, by_distance.step}, true);
    } else {
        for (integer n = 0; n < N; ++n)
            product_t(rows, {asked.at + n * D, wide}, D, wr + n * D * H, H, H, {probe.at + n * H, probe.step});
        add_product(rows * N, {probe.at, H}, H, positions, H, distances, {by_distance.at, distances}, true);
    }
    with(u);
    for (integer n = 0; n < N; ++n)
        product_t(rows, {asked.at + n * D, wide}, D, wk + n * D * H, H, H, {probe.at + n * H, probe.step});
    xl_attend(c, x, probe, by_distance, mem, fill, N, M, H, 1.0f / sqrtf((float)D), seen);
    if (bv)
        for (integer b = 0; b < rows; ++b) memcpy(y.at + b * y.step, bv, wide * sizeof(float));
    for (integer n = 0; n < N; ++n)
        add_product(rows, {seen.at + n * H, seen.step}, H, wv + n * D * H, H, D, {y.at + n * D, y.step}, bv == nullptr);
}

// The memory [rows, M * H] one input further. Where `after` lies one slot further along the same buffer, only what is
// new is written.
ONCE void xl_memory_step(const Call& c, Rows x, Rows mem, const integer* fill, integer M, integer H, Rows after,
                         integer* next_fill) {
    const bool moved = after.step == mem.step && after.at == mem.at + H;
    const bool past = c.rows * M * H * (integer)sizeof(float) >= PAST_CACHE;
    in_pieces(c, c.rows, M * H, [&](integer first, integer stop) {
        for (integer b = first; b < stop; ++b) {
            const bool fresh = c.reset(b);
            float* to = after.at + b * after.step;
            if (fresh)
                memset(to, 0, (M - 1) * H * sizeof(float));
            else if (!moved && past)
                copy_past_cache(to, mem.at + b * mem.step + H, (M - 1) * H);
            else if (!moved)
                memcpy(to, mem.at + b * mem.step + H, (M - 1) * H * sizeof(float));
            memcpy(to + (M - 1) * H, x.at + b * x.step, H * sizeof(float));
            const integer length = (fresh ? 0 : fill[b]) + 1;
            next_fill[b] = length < M ? length : M;
        }
        if (past) passed();
    });
}

}  // namespace cx

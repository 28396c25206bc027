// One step of the mLSTM, its equations and letters as in step.py. The matrix memory passes through once.

namespace cx {

// One row of a head's memory: now = keep before + put value, out += read now.
template <bool PAST>
static inline void advance_row(const float* before, float keep, float put, const float* value, float read, integer D,
                               float* now, float* out) {
    integer e = 0;
    for (; e + LANES <= D; e += LANES) {
        const Lanes next = keep * lanes(before + e) + put * lanes(value + e);
        if (PAST)
            put_past_cache(now + e, next);
        else
            lanes(now + e) = next;
        lanes(out + e) += read * next;
    }
    for (; e < D; ++e) {
        now[e] = keep * before[e] + put * value[e];
        out[e] += read * now[e];
    }
}

// q, k, v: [rows, N * D]; i, f: [rows, N]; memory, key_sum, top: C [rows, N * D * D], n [rows, N * D], m [rows, N].
// Writes h and the three that come after; the memory may be written where it is read.
ONCE void mlstm_step(const Call& c, Rows q, Rows k, Rows v, Rows i, Rows f, Rows memory, Rows key_sum, Rows top,
                     integer N, integer D, Rows h, Rows next_memory, Rows next_key_sum, Rows next_top) {
    const float scale = 1.0f / sqrtf((float)D);
    const bool large = c.rows * N * D * D * (integer)sizeof(float) >= PAST_CACHE;
    const bool past = large && D % LANES == 0 && next_memory.at != memory.at && (size_t)next_memory.at % 64 == 0;
    in_pieces(c, c.rows * N, D * D, [&](integer first, integer stop) {
        for (integer at = first; at < stop; ++at) {
            const integer b = at / N, n = at % N;
            const bool fresh = c.reset(b);
            const float* __restrict query = q.at + b * q.step + n * D;
            const float* __restrict key = k.at + b * k.step + n * D;
            const float* __restrict value = v.at + b * v.step + n * D;
            const float* sums = key_sum.at + b * key_sum.step + n * D;
            float* next_sums = next_key_sum.at + b * next_key_sum.step + n * D;
            float* __restrict out = h.at + b * h.step + n * D;

            const float gate = i.at[b * i.step + n];
            const float carried = f32::log_sigmoid(f.at[b * f.step + n]) + (fresh ? 0.0f : top.at[b * top.step + n]);
            const float m = f32::maximum(carried, gate);
            const float keep = f32::exp(carried - m), write = f32::exp(gate - m) * scale;
            next_top.at[b * next_top.step + n] = m;
            for (integer d = 0; d < D; ++d)
                next_sums[d] = keep * f32::choose(c.carried(b), sums[d], 0.0f) + write * key[d];

            const float* before = memory.at + b * memory.step + n * D * D;
            float* after = next_memory.at + b * next_memory.step + n * D * D;
            for (integer e = 0; e < D; ++e) out[e] = 0.0f;
            // A reset selects zeros, whatever was there: one row of them stands for all.
            float none[D];
            if (fresh) memset(none, 0, D * sizeof(float));
            for (integer d = 0; d < D; ++d) {
                const float* from = fresh ? none : before + d * D;
                if (past)
                    advance_row<true>(from, keep, write * key[d], value, query[d], D, after + d * D, out);
                else
                    advance_row<false>(from, keep, write * key[d], value, query[d], D, after + d * D, out);
            }
            const float norm = 1.0f / (f32::maximum(f32::abs(dot(query, next_sums, D)), f32::exp(-m)) + 1e-6f);
            for (integer e = 0; e < D; ++e) out[e] *= norm;
        }
        if (past) passed();
    });
}

}  // namespace cx

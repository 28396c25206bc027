// How a column weighs its experts: `prior` and `column_mix` of mix.py.

namespace cx {

constexpr integer EXPERTS = 64;  // at most

// log-softmax of the scores [E] over the `kept` best (0: all), -inf for the others; a tie goes to the lower index.
ONCE void prior(const float* scores, integer E, integer kept, float* to) {
    float top = -HUGE_VALF, total = 0.0f;
    for (integer f = 0; f < E; ++f) {
        integer better = 0;
        for (integer g = 0; g < E; ++g) better += scores[g] > scores[f] || (scores[g] == scores[f] && g < f);
        to[f] = kept == 0 || better < kept ? scores[f] : -HUGE_VALF;
        top = f32::maximum(top, to[f]);
    }
    for (integer f = 0; f < E; ++f) total += f32::exp(to[f] - top);
    for (integer f = 0; f < E; ++f) to[f] = to[f] - top - f32::log(total);
}

// softmax over E logits
ONCE void softmax(const float* logits, integer E, float* to) {
    float top = -HUGE_VALF, total = 0.0f;
    for (integer f = 0; f < E; ++f) top = f32::maximum(top, logits[f]);
    for (integer f = 0; f < E; ++f) to[f] = f32::exp(logits[f] - top);
    for (integer f = 0; f < E; ++f) total += to[f];
    for (integer f = 0; f < E; ++f) to[f] /= total;
}

// x, u, query, outputs: [rows, H] each, E outputs; offset [E, H]; logits [rows, E], or [E] with step 0. Writes main and
// mixed [rows, H]. `work` is memory for E * H numbers a row. An expert with a logit of -inf is ruled out.
ONCE void column_mix(const Call& c, Rows x, Rows u, Rows query, const float* offset, Rows logits,
                     const Rows* outputs, integer E, integer H, float scale, float* work, Rows main_sum,
                     Rows mixed) {
    in_pieces(c, c.rows, E * E * H, [&](integer first, integer stop) {
        for (integer b = first; b < stop; ++b) {
            const float* __restrict base = u.at + b * u.step;
            const float* __restrict start = x.at + b * x.step;
            const float* logit = logits.at + b * logits.step;
            float* deltas = work + b * E * H;
            float shared[EXPERTS], own[EXPERTS * EXPERTS], alpha[EXPERTS], beta[EXPERTS], scores[EXPERTS], row[EXPERTS];
            for (integer f = 0; f < E; ++f) {
                const float* __restrict out = outputs[f].at + b * outputs[f].step;
                float* __restrict delta = deltas + f * H;
                for (integer i = 0; i < H; ++i) delta[i] = out[i] - base[i];
                shared[f] = dot(delta, query.at + b * query.step, H);
                for (integer e = 0; e < E; ++e) own[e * E + f] = dot(delta, offset + e * H, H);
                beta[f] = 0.0f;
            }
            softmax(logit, E, alpha);
            for (integer e = 0; e < E; ++e) {
                for (integer f = 0; f < E; ++f)
                    scores[f] = logit[f] == -HUGE_VALF ? -HUGE_VALF : (shared[f] + own[e * E + f]) * scale;
                softmax(scores, E, row);
                for (integer f = 0; f < E; ++f) beta[f] += alpha[e] * row[f];
            }
            float* __restrict first_sum = main_sum.at + b * main_sum.step;
            float* __restrict second_sum = mixed.at + b * mixed.step;
            for (integer i = 0; i < H; ++i) first_sum[i] = base[i] - start[i], second_sum[i] = 0.0f;
            for (integer f = 0; f < E; ++f) {
                const float* __restrict delta = deltas + f * H;
                for (integer i = 0; i < H; ++i) {
                    first_sum[i] += alpha[f] * delta[i];
                    second_sum[i] += beta[f] * delta[i];
                }
            }
        }
    });
}

}  // namespace cx

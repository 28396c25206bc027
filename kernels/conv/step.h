// One step of a depthwise causal convolution; `causal_conv_step` of sequence.py is the same in torch.

namespace cx {

// x [rows, H]; buffer [rows, taps * H], the last inputs, oldest first; weight [H, 1, taps]; bias [H] or null. Writes y
// [rows, H] and the next buffer. An input of an episode that has ended reads as zero.
ONCE void causal_conv_step(const Call& c, Rows x, Rows buffer, integer taps, integer H,
                           const float* weight, const float* bias, Rows y, Rows kept) {
    in_pieces(c, c.rows, taps * H, [&](integer first, integer stop) {
        for (integer b = first; b < stop; ++b) {
            const float* now = x.at + b * x.step;
            const float* before = buffer.at + b * buffer.step;
            float* after = kept.at + b * kept.step;
            float* __restrict to = y.at + b * y.step;
            if (c.reset(b))
                memset(after, 0, (taps - 1) * H * sizeof(float));
            else
                memcpy(after, before + H, (taps - 1) * H * sizeof(float));
            memcpy(after + (taps - 1) * H, now, H * sizeof(float));
            for (integer i = 0; i < H; ++i) to[i] = bias ? bias[i] : 0.0f;
            for (integer k = 0; k < taps; ++k) {
                const float* __restrict tap = after + k * H;
                for (integer i = 0; i < H; ++i) to[i] += tap[i] * weight[i * taps + k];
            }
        }
    });
}

}  // namespace cx

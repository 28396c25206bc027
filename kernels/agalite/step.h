// What surrounds the equations of AGaLiTe in one step; `agalite_step` of op.py is the same in torch.

// One term of a state [rows, terms, N, size], together with its mirror: reading takes the mean of both, writing writes
// both. A term that is its own mirror has both alike.
struct Terms {
    float *one, *other;
    integer step;
    float get(integer row, integer head, integer at, integer size) const {
        const integer place = row * step + head * size + at;
        return one == other ? one[place] : 0.5f * (one[place] + other[place]);
    }
    void put(integer row, integer head, integer at, integer size, float value) const {
        const integer place = row * step + head * size + at;
        one[place] = value;
        if (one != other) other[place] = value;
    }
};

namespace cx {

// cos((tick + 1) w) of the frequencies that differ, from pi down: waves [rows, (terms + 1) / 2]; and the next tick. A
// reset starts at tick 1. The angle is a double, so that it is right however long an episode is.
ONCE void agalite_waves(const Call& c, const integer* tick, integer terms, Rows waves, integer* next_tick) {
    const integer parts = terms > 1 ? terms - 1 : 1;
    for (integer b = 0; b < c.rows; ++b) {
        const integer now = c.reset(b) ? 1 : tick[b];
        for (integer i = 0; 2 * i < terms; ++i) {
            const double w = 3.14159265358979323846 * (parts - 2 * i) / parts;
            waves.at[b * waves.step + i] = (float)::cos((double)(now + 1) * w);
        }
        next_tick[b] = now + 1;
    }
}

}  // namespace cx

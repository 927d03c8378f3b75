// The sequences of a warp, side by side in its lanes.
#pragma once

#include "layout.hpp"

constexpr int columns = has_tail ? 3 : 2;

// The sequences of one warp, one a group of lanes.
struct Sequences {
    Each<Long> pair, row;  // first row among those of all restarts
    Each<Long> restart;
    Lanes n_rows;  // 0 where a lane has no sequence
    Mask here, left, right;

    DEVICE Sequences(const Tables& p, const Place& at) {
        const Long first_slot = Long(at.number) * sequences;
        pair = map([=](int sequence, bool on) {
            const Long slot = first_slot + sequence;
            return on && slot < p.n_slots ? p.order[slot] : Long(-1);
        }, at.sequence, at.on);
        here = pair >= 0;
        const Each<Long> known = pick(here, pair, Each<Long>(0));
        pair = known;
        restart = map([=](Long one) { return p.owners ? p.owners[one % p.n_series] : one / p.n_series; }, known);
        row = map([=](Long one) { return one / p.n_series * p.n_rows + p.offsets[one % p.n_series]; }, known);
        n_rows = map([=](Long one, bool there) {
            const Long* offset = p.offsets + one % p.n_series;
            return there ? int(offset[1] - offset[0]) : 0;
        }, known, here);
        left = map([=](Long one, bool there) { return there && p.left_censored[one % p.n_series]; }, known, here);
        right = map([=](Long one, bool there) { return there && p.right_censored[one % p.n_series]; }, known, here);
    }

    DEVICE int longest() const {
        return -least(map([](int n) { return -n; }, n_rows));
    }

    // The law of the steps left to a segment that starts at a row.
    DEVICE void load_law(const Tables& p, const Place& at, const Mask& at_first_row, Lane (&table)[length],
                         Real nothing = 0) const {
        const auto address = map([=](Long one, Long model, bool residual, int state, int slice) -> const Real* {
            const Long owner = residual && p.residual_varies ? one : model;
            return (residual ? p.residual : p.duration) + (owner * K + state) * D + slice * length;
        }, pair, restart, at_first_row && left, at.state, at.slice);
        #pragma unroll
        for (int r = 0; r < length; ++r)
            table[r] = load(address, r, here && at.on && map([=](int slice) { return slice * length + r < D; }, at.slice),
                            nothing);
    }
};

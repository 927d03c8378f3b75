// What a launch of teams works on, all in logarithms: R models, S series, N rows; tables of any size, by row or not.
#pragma once

#include "team.hpp"

struct Tables {
    const Real *initial, *transition, *duration, *residual, *stay, *leave;  // (R, K, ...); null where there is none
    const Real* emission;                                                   // (R, N, K), or (1, N, K) with owners
    const Long *offsets, *owners;  // owners: the model of every series; null where every series is of every model
    const Byte *left_censored, *right_censored;
    const Long* order;  // (n_slots,) sequences, restart * S + series
    Long n_slots, n_series, n_rows, n_states, n_durations, transition_varies, duration_varies, residual_varies;
    Long n_blocks, near_size;  // of memory that a block has for itself
    double* far;               // (n_blocks, far_size)
    Long far_size;
};

// One series under one model.
struct Sequence {
    const Tables& p;
    Long pair, model, series, row;  // row: its first, among those of all models
    int length, K, D;
    bool left, right, has_tail, goes_on;

    DEVICE Sequence(const Tables& tables, Long slot, bool goes_on_after_others = false)
        : p(tables), pair(tables.order[slot]), goes_on(goes_on_after_others) {
        series = pair % p.n_series;
        model = p.owners ? p.owners[series] : pair / p.n_series;
        row = (p.owners ? 0 : model * p.n_rows) + p.offsets[series];
        length = int(p.offsets[series + 1] - p.offsets[series]);
        K = int(p.n_states);
        D = int(p.n_durations);
        left = p.left_censored[series];
        right = p.right_censored[series];
        has_tail = p.stay != nullptr;
    }

    DEVICE double emission(int t, int k) const { return p.emission[(row + t) * K + k]; }
    DEVICE double stay(int k) const { return p.stay[model * K + k]; }
    DEVICE double leave(int k) const { return p.leave[model * K + k]; }

    // (K, K) from a segment that ends at t to one that begins at t + 1.
    DEVICE const Real* transition(int t) const {
        return p.transition + (p.transition_varies ? row + t : model) * K * K;
    }

    DEVICE bool is_under_way(int t) const { return t == 0 && left && !goes_on; }

    // (K, D) of the steps left to a segment that begins at t.
    DEVICE const Real* law(int t) const {
        if (is_under_way(t)) return p.residual + (p.residual_varies ? pair : model) * K * D;
        return p.duration + (p.duration_varies ? row + t : model) * K * D;
    }
};

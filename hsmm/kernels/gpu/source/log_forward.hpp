// Forward recursion over the steps a segment has left, in log space, where nothing is lost however far the data swing.
#pragma once

#include "entry.hpp"

// Where numbers by the steps left are kept at row t, r + 1 of them: time passes and the numbers stay.
struct Slots {
    int first, D;

    DEVICE Slots(int t, int n_durations) : first((t + n_durations) % n_durations), D(n_durations) {}

    DEVICE int operator()(int r) const { return first + r < D ? first + r : first + r - D; }
};

struct Forward {
    const Team& team;
    const Sequence& s;
    double* open;       // (K, D) log P(state, steps left | y before t), by slots
    double* started;    // (K,) log P(a segment begins at t | y before t)
    double* ended;      // (K,) log P(a segment ends at t | y up to t)
    double* in_tail;    // (K,) log P(the tail slot holds the segment at t | y up to t)
    double* predicted;  // (K,) log P(z_t | y before t)
    double* relative;   // (K,) what y_t adds: P(z_t | y up to t) is predicted + relative
    double* scale;

    DEVICE Forward(const Team& of, const Sequence& sequence, Memory& memory) : team(of), s(sequence) {
        double** small[] = {&started, &ended, &in_tail, &predicted, &relative};
        for (double** one : small) *one = memory.take(s.K);
        scale = memory.take(1);
        open = memory.take(Long(s.K) * s.D);
    }

    DEVICE void begin() const {
        team.each(Long(s.K) * s.D, [&](Long i) { open[i] = minus_infinity(); });
        team.each(s.K, [&](Long k) {
            started[k] = s.p.initial[s.model * s.K + k];
            in_tail[k] = minus_infinity();
            relative[k] = 0;
        });
        team.wait();
    }

    // Goes on after `starting` (K,) and `steps_left` (K, D), as left by a pass over the rows before.
    DEVICE void resume(const double* starting, const double* steps_left) const {
        const Slots slot(-1, s.D);
        team.cells(s.K, s.D, [&](int k, int r) { open[k * s.D + slot(r)] = steps_left[k * s.D + r]; });
        team.each(s.K, [&](Long k) {
            started[k] = starting[k];
            in_tail[k] = steps_left[(k + 1) * s.D - 1];
            relative[k] = 0;
        });
        team.wait();
    }

    DEVICE double steps_left(int k, int r, const Slots& slot) const { return open[k * s.D + slot(r)] + relative[k]; }

    // Returns log p(y_t | y before t).
    DEVICE double step(int t) const {
        const int D = s.D;
        const Slots slot(t, D);
        const Real* law = s.law(t);
        team.log_sums(lanes_for(D), s.K, D, [&](int k, int r) {
            double* mass = open + k * D + slot(r);
            double moved = r + 1 < D ? *mass + relative[k] : minus_infinity();
            if (s.has_tail && r + 1 == D) moved = in_tail[k] + s.stay(k);
            if (s.has_tail && r + 2 == D) moved += s.leave(k);
            return *mass = log_add(moved, started[k] + double(law[k * D + r]));
        }, [&](int k, double sum) { predicted[k] = sum; });
        team.wait();
        double most = minus_infinity();
        for (int k = 0; k < s.K; ++k) most = possible(predicted[k]) ? fmax(most, s.emission(t, k)) : most;
        const double origin = origin_of(most);
        team.log_sums(lanes_for(s.K), 1, s.K, [&](int, int k) { return predicted[k] + (s.emission(t, k) - origin); },
                      [&](int, double sum) { *scale = sum; });
        team.wait();
        const double log_scale = *scale;
        team.each(s.K, [&](Long k) {
            relative[k] = (s.emission(t, int(k)) - origin) - origin_of(log_scale);
            ended[k] = steps_left(int(k), 0, slot) + (s.has_tail && D == 1 ? s.leave(int(k)) : 0.0);
            in_tail[k] = steps_left(int(k), D - 1, slot);
        });
        team.wait();
        return log_scale + origin;
    }

    // From t to t + 1.
    DEVICE void begin_next(int t) const {
        const Real* transition = s.transition(t);
        team.log_sums(team.of_states, s.K, s.K,
                      [&](int j, int i) { return ended[i] + double(transition[i * s.K + j]); },
                      [&](int j, double sum) { started[j] = sum; });
        team.wait();
    }

    // log P(the last segment ends at the last row | y), where it must; 0 where it need not.
    DEVICE double ending() const {
        if (s.right) return 0.0;
        team.log_sums(lanes_for(s.K), 1, s.K, [&](int, int k) { return ended[k]; },
                      [&](int, double sum) { *scale = sum; });
        team.wait();
        return *scale;
    }
};

// What later passes need of the forward pass, by row.
struct Trace {
    static constexpr int columns = 5;
    double* rows;
    int K;

    DEVICE Trace(const Sequence& s, Memory& memory) : rows(memory.take_far(Long(s.length) * columns * s.K)), K(s.K) {}

    DEVICE double* column(int t, int which) const { return rows + (Long(t) * columns + which) * K; }
    DEVICE double* started(int t) const { return column(t, 0); }
    DEVICE double* ended(int t) const { return column(t, 1); }
    DEVICE double* in_tail(int t) const { return column(t, 2); }
    DEVICE double* relative(int t) const { return column(t, 3); }
    DEVICE double* occupied(int t) const { return column(t, 4); }  // log P(z_t | y up to t)

    DEVICE void keep(int t, const Forward& forward) const {
        forward.team.each(K, [&](Long k) {
            started(t)[k] = forward.started[k];
            ended(t)[k] = forward.ended[k];
            in_tail(t)[k] = forward.in_tail[k];
            relative(t)[k] = forward.relative[k];
            occupied(t)[k] = forward.predicted[k] + forward.relative[k];
        });
    }

    // Returns the log-likelihood of all rows.
    DEVICE double fill(const Forward& forward) const {
        double log_likelihood = 0;
        forward.begin();
        for (int t = 0; t < forward.s.length; ++t) {
            if (t > 0) forward.begin_next(t - 1);
            log_likelihood += forward.step(t);
            keep(t, forward);
        }
        forward.team.wait();
        return log_likelihood;
    }
};

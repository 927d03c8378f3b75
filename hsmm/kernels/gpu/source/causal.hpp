// What is known at each row from that row and those before it, and what a later pass needs in order to go on.
#pragma once

#include "log_forward.hpp"

// Any of the arrays may be null.
struct Causal : Tables {
    const double *survival, *residual_survival;  // log P(d >= n), shaped as the tables; null where ages are not wanted
    Real *filtered, *predicted;                  // (R, N, K)
    Real* log_density;                           // (R, N)
    Real *remaining, *elapsed;                   // (R, N, D)
    const double *before_starting, *before_steps_left, *before_by_age;  // (R, S, K), (R, S, K, D) twice
    const Long* before_n_rows;                                          // (S,)
    double *starting, *steps_left, *by_age;
};

// Log-weights of the open segments by the steps since their start, before the law of their duration is applied; with a
// tail, the last age holds all that entered the tail slot, law and stays applied.
struct Ages {
    const Forward& forward;
    const Sequence& s;
    const Causal& p;
    Long seen;
    double *weight, *in_tail;  // (K, D) by slots, which run against the steps left; (K,)

    DEVICE Ages(const Forward& pass, const Causal& out, Memory& memory)
        : forward(pass), s(pass.s), p(out), seen(out.before_n_rows ? out.before_n_rows[pass.s.series] : 0) {
        in_tail = memory.take(s.K);
        weight = memory.take(Long(s.K) * s.D);
        const double* before = out.before_by_age ? out.before_by_age + s.pair * s.K * s.D : nullptr;
        forward.team.cells(s.K, s.D, [&](int k, int a) {
            weight[k * s.D + (a + 1) % s.D] = before ? before[k * s.D + a] : minus_infinity();
        });
        forward.team.each(s.K, [&](Long k) { in_tail[k] = before ? before[(k + 1) * s.D - 1] : minus_infinity(); });
        forward.team.wait();
    }

    DEVICE double survival(int t, int k, int a) const {
        const int start = t - a;
        const bool is_first = start + seen == 0 && s.left;
        const double* table = is_first ? p.residual_survival + (p.residual_varies ? s.pair : s.model) * s.K * s.D
                                       : p.survival + (p.duration_varies ? s.row + start : s.model) * s.K * s.D;
        return table[k * s.D + a];
    }

    // Whether a segment can be as old, and its law be read: laws that change with time are known from the first row on.
    DEVICE bool is_known(int t, int a) const { return a <= t + (p.duration_varies ? 0 : seen); }

    DEVICE Slots slots(int t) const { return Slots(-(t % s.D), s.D); }

    // Ages all by a row; `visit(a, weight of it)` sees P(age = a + 1 | y up to t), at most 1 a state.
    template <class Visit>
    DEVICE void step(int t, Visit visit) const {
        const Slots slot = slots(t);
        forward.team.each(s.D, [&](Long number) {
            const int a = int(number);
            double sum = 0;
            for (int k = 0; k < s.K; ++k) {
                double* here = weight + k * s.D + slot(a);
                double now = (a == 0 ? forward.started[k] : *here) + forward.relative[k], law = 0;
                const bool known = is_known(t, a);
                if (s.has_tail && a == s.D - 1) {
                    const double entering = known ? now + survival(t, k, a) : minus_infinity();
                    in_tail[k] = now = log_add(entering, in_tail[k] + s.stay(k) + forward.relative[k]);
                } else if (p.elapsed) {
                    law = known ? survival(t, k, a) : minus_infinity();
                }
                *here = now;
                if (p.elapsed) sum += probability(now + law);
            }
            visit(a, fmin(sum, 1.0));
        });
    }
};

DEVICE void write_row(const Causal& p, const Forward& forward, int t, double log_density) {
    const Sequence& s = forward.s;
    const Long row = s.row + t;
    forward.team.each(s.K, [&](Long k) {
        if (p.predicted) p.predicted[row * s.K + k] = Real(forward.predicted[k]);
        if (p.filtered) p.filtered[row * s.K + k] = Real(probability(forward.predicted[k] + forward.relative[k]));
    });
    if (p.log_density) forward.team.each(1, [&](Long) { p.log_density[row] = Real(log_density); });
    if (!p.remaining) return;
    const Slots slot(t, s.D);
    forward.team.each(s.D, [&](Long r) {
        double sum = 0;
        for (int k = 0; k < s.K; ++k) sum += probability(forward.steps_left(k, int(r), slot));
        p.remaining[row * s.D + r] = Real(sum);
    });
}

DEVICE void causal(const Causal& p, const Team& team, Memory memory, Long slot) {
    const Sequence s(p, slot, p.before_starting != nullptr);
    const Forward forward(team, s, memory);
    const Long size = Long(s.K) * s.D;
    if (s.goes_on) forward.resume(p.before_starting + s.pair * s.K, p.before_steps_left + s.pair * size);
    else forward.begin();
    if (p.survival) {
        const Ages ages(forward, p, memory);
        for (int t = 0; t < s.length; ++t) {
            if (t > 0) forward.begin_next(t - 1);
            write_row(p, forward, t, forward.step(t));
            ages.step(t, [&](int a, double known) {
                if (p.elapsed) p.elapsed[(s.row + t) * s.D + a] = Real(known);
            });
            team.wait();
        }
        const Slots slot = ages.slots(s.length - 1);
        if (p.by_age) team.cells(s.K, s.D, [&](int k, int a) {
            p.by_age[s.pair * size + k * s.D + a] = ages.weight[k * s.D + slot(a)];
        });
    } else {
        for (int t = 0; t < s.length; ++t) {
            if (t > 0) forward.begin_next(t - 1);
            write_row(p, forward, t, forward.step(t));
        }
    }
    if (p.steps_left) {
        const Slots slot(s.length - 1, s.D);
        team.cells(s.K, s.D, [&](int k, int r) {
            p.steps_left[s.pair * size + k * s.D + r] = forward.steps_left(k, r, slot);
        });
        forward.begin_next(s.length - 1);
        team.each(s.K, [&](Long k) { p.starting[s.pair * s.K + k] = forward.started[k]; });
    }
    team.wait();
}

#define CAUSAL                                                                                                        \
    const double *survival, const double *residual_survival, Real *filtered, Real *predicted, Real *log_density,      \
        Real *remaining, Real *elapsed, const double *before_starting, const double *before_steps_left,               \
        const double *before_by_age, const Long *before_n_rows, double *starting, double *steps_left, double *by_age
ENTRY(hsmm_causal, causal, Causal, CAUSAL, survival, residual_survival, filtered, predicted, log_density, remaining,
      elapsed, before_starting, before_steps_left, before_by_age, before_n_rows, starting, steps_left, by_age)

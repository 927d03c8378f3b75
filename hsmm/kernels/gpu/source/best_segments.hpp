// The most probable sequence of segments: log_forward.hpp with maxima, each number with the row where its segment began.
#pragma once

#include "log_forward.hpp"

struct Paths : Tables {
    const double *survival, *residual_survival;  // log P(d >= column), shaped as the tables
    Long* steps;      // (R, N, K): steps of the best segment that ends here * K + the best state before a next one
    double* started;  // (R, N, K): log-weight of what begins here
    double* log_probability;  // (R * S,)
    Long* states;             // (R, N)
};

struct BestSegments {
    const Paths& p;
    const Team& team;
    const Sequence& s;
    double *open, *start;        // (K, D) log-weight without row t's emission, and the row where it began; by slots
    double *begins, *ended;      // (K,) of what begins, ends at t
    double *in_tail, *tail_start;
    double *closing, *closing_steps;  // (K,) of the last segment

    DEVICE BestSegments(const Paths& out, const Team& of, const Sequence& sequence, Memory& memory)
        : p(out), team(of), s(sequence) {
        double** small[] = {&begins, &ended, &in_tail, &tail_start, &closing, &closing_steps};
        for (double** one : small) *one = memory.take(s.K);
        open = memory.take(Long(s.K) * s.D);
        start = memory.take(Long(s.K) * s.D);
        team.each(Long(s.K) * s.D, [&](Long i) { open[i] = minus_infinity(); });
        team.each(s.K, [&](Long k) {
            begins[k] = s.p.initial[s.model * s.K + k];
            in_tail[k] = minus_infinity();
        });
        team.wait();
    }

    DEVICE Long at(int t, int k) const { return (s.row + t) * s.K + k; }

    DEVICE void step(int t) const {
        const int D = s.D;
        const Real* law = s.law(t);
        const Slots slot(t, D);
        team.cells(s.K, D, [&](int k, int r) {
            const int here = k * D + slot(r);
            const bool is_last = r + 1 == D;
            double moved = is_last ? minus_infinity() : open[here] + (t > 0 ? s.emission(t - 1, k) : 0.0);
            if (s.has_tail && is_last) moved = in_tail[k] + s.stay(k);
            if (s.has_tail && r + 2 == D) moved += s.leave(k);
            const double entering = begins[k] + double(law[k * D + r]);
            if (entering >= moved) start[here] = t;
            else if (is_last) start[here] = tail_start[k];
            open[here] = fmax(entering, moved);
        });
        team.wait();
        team.each(s.K, [&](Long number) {
            const int k = int(number), ends = k * D + slot(0), last = k * D + slot(D - 1);
            p.started[at(t, k)] = begins[k];
            ended[k] = open[ends] + s.emission(t, k) + (s.has_tail && D == 1 ? s.leave(k) : 0.0);
            p.steps[at(t, k)] = (t - Long(start[ends]) + 1) * s.K;
            in_tail[k] = open[last] + s.emission(t, k);
            tail_start[k] = start[last];
        });
        team.wait();
        if (t + 1 == s.length) return;
        const Real* transition = s.transition(t);
        team.each(s.K, [&](Long j) {
            double best = minus_infinity();
            int before = 0;
            for (int i = 0; i < s.K; ++i) {
                const double coming = ended[i] + double(transition[i * s.K + j]);
                if (coming > best) before = i;
                best = fmax(coming, best);
            }
            begins[j] = best;
            p.steps[at(t, int(j))] += before;
        });
        team.wait();
    }

    // The log-weight of state k's best last segment, and its steps.
    DEVICE void close(int k) const {
        const int n = s.length, oldest = s.has_tail || n <= s.D ? 0 : n - s.D;
        closing[k] = ended[k];
        closing_steps[k] = double(p.steps[at(n - 1, k)] / s.K);
        if (!s.right) return;
        closing[k] = minus_infinity();
        double emission = 0;
        for (int t = n - 1; t >= oldest; --t) {
            emission += s.emission(t, k);
            const int age = n - t, column = age < s.D ? age : s.D;
            const double* law = s.is_under_way(t)
                ? p.residual_survival + (p.residual_varies ? s.pair : s.model) * s.K * s.D
                : p.survival + (p.duration_varies ? s.row + t : s.model) * s.K * s.D;
            double weight = p.started[at(t, k)] + emission + law[k * s.D + column - 1];
            if (age > s.D) weight += double(age - s.D) * s.stay(k);
            if (weight > closing[k]) {
                closing[k] = weight;
                closing_steps[k] = age;
            }
        }
    }

    // All follow the same segments back, and each fills its share of their rows.
    DEVICE void decode() const {
        team.each(s.K, [&](Long k) { close(int(k)); });
        team.wait();
        double best = minus_infinity();
        int state = 0;
        for (int k = 0; k < s.K; ++k) {
            if (closing[k] > best) state = k;
            best = fmax(closing[k], best);
        }
        team.each(1, [&](Long) { p.log_probability[s.pair] = best; });
        const bool is_possible = possible(best);
        Long steps = is_possible ? Long(closing_steps[state]) : s.length;
        for (Long end = s.length; end > 0;) {
            end -= steps;
            team.each(steps, [&](Long i) { p.states[s.row + end + i] = is_possible ? state : -1; });
            if (end == 0) break;
            state = int(p.steps[at(int(end) - 1, state)] % s.K);
            steps = p.steps[at(int(end) - 1, state)] / s.K;
        }
        team.wait();
    }
};

DEVICE void best_segments(const Paths& p, const Team& team, Memory memory, Long slot) {
    const Sequence s(p, slot);
    const BestSegments best(p, team, s, memory);
    for (int t = 0; t < s.length; ++t) best.step(t);
    best.decode();
}

#define PATHS                                                                                                         \
    const double *survival, const double *residual_survival, Long *steps, double *started, double *log_probability,   \
        Long *states
ENTRY(hsmm_segments, best_segments, Paths, PATHS, survival, residual_survival, steps, started, log_probability, states)

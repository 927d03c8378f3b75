// Backward recursion in log space over the steps a segment has left: the mirror of log_forward.hpp, and what it counts.
#pragma once

#include "log_forward.hpp"

struct Counted : Tables {
    double* log_likelihood;  // (R * S,)
    const Real* series_weight;
    Real* state;                         // (R, N, K)
    double *transition_by_row, *duration_by_row;  // (R, N, K, ...), weighed; null where the tables do not change
    double *initial_counts, *transition_counts, *duration_counts, *residual_counts, *stay_counts, *leave_counts;
    Long stride;  // from the counts of one sequence to those of the next
};

// Where one sequence counts.
struct Counts {
    const Counted& p;
    const Sequence& s;
    double weight;

    DEVICE Counts(const Counted& out, const Sequence& sequence)
        : p(out), s(sequence), weight(out.series_weight ? double(out.series_weight[sequence.pair]) : 1.0) {}

    DEVICE double* of(double* counts) const { return counts + s.pair * p.stride; }

    DEVICE void transition(int t, int cell, double probability) const {
        if (p.transition_varies) p.transition_by_row[(s.row + t) * s.K * s.K + cell] = weight * probability;
        else of(p.transition_counts)[cell] += probability;
    }

    DEVICE void duration(int t, int cell, double probability) const {
        const bool is_first = s.is_under_way(t);
        if (p.duration_varies)
            p.duration_by_row[(s.row + t) * s.K * s.D + cell] = is_first ? 0.0 : weight * probability;
        if (is_first) of(p.residual_counts)[cell] += probability;
        else if (!p.duration_varies) of(p.duration_counts)[cell] += probability;
    }

    DEVICE void state(int t, Long k, double probability) const {
        p.state[(s.row + t) * s.K + k] = Real(weight * fmin(1.0, fmax(0.0, probability)));
    }

    DEVICE void blank(const Team& team) const {
        const Long K = s.K, D = s.D, n = s.length;
        team.each(n * K, [&](Long i) { p.state[s.row * K + i] = 0; });
        if (p.transition_varies) team.each(n * K * K, [&](Long i) { p.transition_by_row[s.row * K * K + i] = 0; });
        if (p.duration_varies) team.each(n * K * D, [&](Long i) { p.duration_by_row[s.row * K * D + i] = 0; });
    }
};

struct Backward {
    const Team& team;
    const Sequence& s;
    const Trace& trace;
    const Counts* counts;  // null: none are wanted
    double* value;         // (K, D) log p(y after t | state, steps left) / scale, by slots
    double* in_tail;       // (K,) the same of the tail slot
    double* after_end;     // (K,) the same for a segment that ends at t
    double* starting;      // (K,) the same, with row t's weight, for a segment that begins at t
    double* state;         // (K,) P(z_t | y)
    double* began;         // (K,) P(a segment begins at t | y)

    DEVICE Backward(const Team& of, const Sequence& sequence, const Trace& forward, const Counts* out, Memory& memory)
        : team(of), s(sequence), trace(forward), counts(out) {
        double** small[] = {&in_tail, &after_end, &starting, &state, &began};
        for (double** one : small) *one = memory.take(s.K);
        value = memory.take(Long(s.K) * s.D);
    }

    // Nothing is known of what follows row t.
    DEVICE void enter(int t) const {
        team.each(Long(s.K) * s.D, [&](Long i) { value[i] = 0; });
        team.each(s.K, [&](Long k) { state[k] = probability(trace.occupied(t)[k]); });
        team.wait();
        begin(t, false);
    }

    // The last segment ends at row t, which has this probability.
    DEVICE void enter_end(int t, double log_ending) const {
        const bool leaves = s.has_tail && s.D == 1;
        team.each(Long(s.K) * s.D, [&](Long i) { value[i] = minus_infinity(); });
        team.wait();
        team.each(s.K, [&](Long k) {
            const double ended = (leaves ? s.leave(int(k)) : 0.0) - log_ending;
            value[k * s.D + Slots(t, s.D)(0)] = ended;
            state[k] = probability(trace.ended(t)[k] - log_ending);
            if (leaves && counts) counts->of(counts->p.leave_counts)[k] += probability(trace.in_tail(t)[k] + ended);
        });
        team.wait();
        begin(t, false);
    }

    // From t + 1 to t.
    DEVICE void step(int t) const {
        const Real* transition = s.transition(t);
        team.log_sums(team.of_states, s.K, s.K,
                      [&](int i, int j) { return double(transition[i * s.K + j]) + starting[j]; },
                      [&](int i, double sum) { after_end[i] = sum; });
        if (counts) team.cells(s.K, s.K, [&](int i, int j) {
            const int cell = i * s.K + j;
            counts->transition(t, cell, probability(trace.ended(t)[i] + double(transition[cell]) + starting[j]));
        });
        team.wait();
        team.each(s.K, [&](Long k) {
            state[k] += probability(trace.ended(t)[k] + after_end[k]) - began[k];
            if (!counts || !s.has_tail) return;
            const double held = trace.in_tail(t)[k];
            counts->of(counts->p.stay_counts)[k] += probability(held + stayed(t, int(k)));
            counts->of(counts->p.leave_counts)[k] += probability(held + left(t, int(k)));
        });
        team.wait();
        begin(t, true);
    }

private:
    DEVICE double stayed(int t, int k) const { return s.stay(k) + in_tail[k] + trace.relative(t + 1)[k]; }

    // Before the steps left are counted back to t.
    DEVICE double left(int t, int k) const {
        if (s.D == 1) return s.leave(k) + after_end[k];
        return s.leave(k) + value[k * s.D + Slots(t + 1, s.D)(s.D - 2)] + trace.relative(t + 1)[k];
    }

    DEVICE double receded(int t, int k, int r, const Slots& slot) const {
        if (s.has_tail && r + 1 == s.D) return log_add(stayed(t, k), left(t, k));
        return r == 0 ? after_end[k] : value[k * s.D + slot(r)] + trace.relative(t + 1)[k];
    }

    DEVICE void begin(int t, bool recedes) const {
        const Real* law = s.law(t);
        const double* relative = trace.relative(t);
        const Slots slot(t, s.D);
        team.log_sums(lanes_for(s.D), s.K, s.D, [&](int k, int r) {
            double* here = value + k * s.D + slot(r);
            if (recedes) *here = receded(t, k, r, slot);
            return double(law[k * s.D + r]) + relative[k] + *here;
        }, [&](int k, double sum) { starting[k] = sum; });
        team.wait();
        team.each(s.K, [&](Long k) {
            in_tail[k] = value[k * s.D + slot(s.D - 1)];
            began[k] = probability(trace.started(t)[k] + starting[k]);
            if (counts) counts->state(t, k, state[k]);
        });
        if (counts) team.cells(s.K, s.D, [&](int k, int r) {
            const double begins = trace.started(t)[k] + double(law[k * s.D + r]) + relative[k];
            counts->duration(t, k * s.D + r, probability(begins + value[k * s.D + slot(r)]));
        });
        team.wait();
    }
};

// Sequences that are impossible count nothing.
DEVICE void expected_counts(const Counted& p, const Team& team, Memory memory, Long slot) {
    const Sequence s(p, slot);
    const Trace trace(s, memory);
    const Forward forward(team, s, memory);
    const double log_density = trace.fill(forward), log_ending = forward.ending();
    const double log_likelihood = log_density + log_ending;
    team.each(1, [&](Long) { p.log_likelihood[s.pair] = log_likelihood; });
    const Counts counts(p, s);
    if (possible(log_likelihood)) {
        const Backward backward(team, s, trace, &counts, memory);
        for (int t = s.length - 1; t >= 0; --t) {
            if (t + 1 < s.length) backward.step(t);
            else if (s.right) backward.enter(t);
            else backward.enter_end(t, log_ending);
        }
        team.each(s.K, [&](Long k) { counts.of(p.initial_counts)[k] = backward.began[k]; });
        if (p.transition_varies) team.each(s.K * s.K, [&](Long cell) { counts.transition(s.length - 1, int(cell), 0.0); });
    } else {
        counts.blank(team);
    }
    team.wait();
}

struct Scored : Tables {
    double* log_likelihood;  // (R * S,)
};

DEVICE void log_partition(const Scored& p, const Team& team, Memory memory, Long slot) {
    const Sequence s(p, slot);
    const Forward forward(team, s, memory);
    forward.begin();
    double log_likelihood = 0;
    for (int t = 0; t < s.length; ++t) {
        if (t > 0) forward.begin_next(t - 1);
        log_likelihood += forward.step(t);
    }
    log_likelihood += forward.ending();
    team.each(1, [&](Long) { p.log_likelihood[s.pair] = log_likelihood; });
    team.wait();
}

struct Smoothed : Tables {
    Long lag;
    Real* state;  // (R, N, K) P(state | y up to `lag` rows later)
};

DEVICE void smoothed(const Smoothed& p, const Team& team, Memory memory, Long slot) {
    const Sequence s(p, slot);
    const Trace trace(s, memory);
    const Forward forward(team, s, memory);
    trace.fill(forward);
    const Backward backward(team, s, trace, nullptr, memory);
    for (int t = 0; t < s.length; ++t) {
        const int last = p.lag < s.length - t ? t + int(p.lag) : s.length - 1;
        backward.enter(last);
        for (int u = last - 1; u >= t; --u) backward.step(u);
        team.each(s.K, [&](Long k) {
            p.state[(s.row + t) * s.K + k] = Real(fmin(1.0, fmax(0.0, backward.state[k])));
        });
        team.wait();
    }
}

#define COUNTED                                                                                                       \
    double *log_likelihood, const Real *series_weight, Real *state, double *transition_by_row,                        \
        double *duration_by_row, double *initial_counts, double *transition_counts, double *duration_counts,          \
        double *residual_counts, double *stay_counts, double *leave_counts, Long stride
ENTRY(hsmm_log_counts, expected_counts, Counted, COUNTED, log_likelihood, series_weight, state, transition_by_row,
      duration_by_row, initial_counts, transition_counts, duration_counts, residual_counts, stay_counts, leave_counts,
      stride)

ENTRY(hsmm_log_score, log_partition, Scored, double* log_likelihood, log_likelihood)

#define SMOOTHED Long lag, Real *state
ENTRY(hsmm_smoothed, smoothed, Smoothed, SMOOTHED, lag, state)

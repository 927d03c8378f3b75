// The most probable sequence of segments: forward.hpp in max-plus, each residual with the row where its segment started.
#pragma once

#include "forward.hpp"

constexpr int steps_between_rebases = 64;

DEVICE void best_segments(const Paths& p, int warp) {
    const Place at(warp);
    const Sequences those(p, at);
    const Tail tail(p, at, those, minus_infinity(), Real(0));
    const Entries transition(p, at, those, minus_infinity());
    const Mask on = those.here && at.on;
    Lane residual[length], law[length];
    Lanes start[length];
    those.load_law(p, at, Mask(true), law, minus_infinity());
    #pragma unroll
    for (int r = 0; r < length; ++r) {
        residual[r] = Lane(minus_infinity());
        start[r] = Lanes(0);
    }
    Lane started = load(map([=](Long restart, int state) -> const Real* { return p.initial + restart * K + state; },
                            those.restart, at.state), 0, on, minus_infinity());
    auto emission = map([=](Long row, int state) -> const Real* { return p.emission + row * K + state; }, those.row,
                        at.state);
    auto steps = map([=](Long row, int state) { return p.steps + row * K + state; }, those.row, at.state);
    Each<double> total = 0.0;
    Lane ended = minus_infinity();
    const int longest = those.longest();
    const bool any_left = any(those.left);
    const auto longer_than = [&](int rows) { return map([=](int n) { return n > rows; }, those.n_rows); };
    const Lanes remembered = map([=](int n) { return n > p.window ? n - int(p.window) : 0; }, those.n_rows);
    const auto remember = [&](int t, const Mask& where) {
        map([=](Long pair, int state, int first, bool here, double base, Real weight) {
            if (here) p.recent[(pair * p.window + t - first) * K + state] = base + double(weight);
        }, those.pair, at.state, remembered, where, total, started);
    };
    Lane ahead = load(emission, 0, longer_than(0) && on, minus_infinity());
    for (int t = 0; t < longest;) {
        const Mask running = longer_than(t), one_more = longer_than(t + 1) && on;
        int until = least(map([=](int n) { return n > t + 1 ? n - 1 : n > t ? n : longest; }, those.n_rows));
        until = least(map([=](int first) { return first > t && first < until ? first : until; }, remembered));
        if (t == 0 && any_left) until = 1;
        const int rebased = t - t % steps_between_rebases;
        until = until < rebased + steps_between_rebases ? until : rebased + steps_between_rebases;
        const bool begins = t == 0;
        const Mask far_from_end = longer_than(until + rows_ahead) && on;
        const Mask keeps = running && at.first;
        const Mask remembers = keeps && map([=](int first) { return first <= t; }, remembered);
        const bool any_remembers = any(remembers);
        for (; t < until; ++t) {
            const Lane log_emission = ahead;
            ahead = load(emission, K, one_more, minus_infinity());
            expect(emission, rows_ahead * K, far_from_end);
            if (any_remembers) remember(t, remembers);
            #pragma unroll
            for (int r = 0; r < length; ++r) {
                const Lane entering = started + law[r];
                const Mask newer = entering >= residual[r];
                residual[r] = larger(entering, residual[r]) + log_emission;
                start[r] = pick(newer, Lanes(t), start[r]);
            }
            const Lane first_residual = residual[0], in_tail = residual[last_residual];
            const Lanes first_start = start[0], tail_start = start[last_residual];
            #pragma unroll
            for (int r = 0; r + 1 < length; ++r) {
                residual[r] = residual[r + 1];
                start[r] = start[r + 1];
            }
            ended = has_tail && last_residual == 0 ? first_residual + tail.leave : first_residual;
            residual[length - 1] = pick(at.last, Lane(minus_infinity()), from(ended, at.next));
            start[length - 1] = from(first_start, at.next);
            if constexpr (has_tail) {
                const Lane staying = in_tail + tail.stay;
                start[last_residual] = pick(staying >= residual[last_residual], tail_start, start[last_residual]);
                residual[last_residual] = larger(staying, residual[last_residual]);
                if (last_residual > 0) residual[last_residual - 1] = residual[last_residual - 1] + tail.leave;
            }
            started = Lane(minus_infinity());
            Lanes before = 0;
            #pragma unroll
            for (int i = 0; i < K; ++i) {
                const Lane coming = at.of_state(ended, i) + transition.in[i];
                before = pick(coming > started, Lanes(i), before);
                started = larger(started, coming);
            }
            store(steps, 0, map([=](int first, int state) { return (t - first + 1) * 32 + state; }, first_start, before),
                  keeps);
            emission += K;
            steps += K;
        }
        const Mask finishes = running && map([=](int n) { return n == t; }, those.n_rows);
        map([=](Long pair, int state, bool writes, double base, Real weight) {
            if (writes) p.ended[pair * K + state] = base + double(weight);
        }, those.pair, at.state, finishes && at.first, total, ended);
        if (t == rebased + steps_between_rebases) {
            Lane best = started;
            #pragma unroll
            for (int r = 0; r < length; ++r) best = larger(best, residual[r]);
            const auto larger_of = [](const Lane& a, const Lane& b) { return larger(a, b); };
            best = at.over_states(at.over_slices(best, larger_of), larger_of);
            best = larger(from(best, at.source[0]), Lane(-largest_real));
            #pragma unroll
            for (int r = 0; r < length; ++r) residual[r] = residual[r] - best;
            started = started - best;
            total += (Each<double>)best;
        }
        if (begins && any_left) those.load_law(p, at, Mask(false), law, minus_infinity());
    }
}

// The log-weight of state k's best last segment and its steps.
struct Closing {
    double weight;
    int steps;
};

DEVICE Closing closing(const Paths& p, Long pair, Long row, int n, bool left, bool right, int k) {
    const Long restart = pair / p.n_series;
    Closing best{p.ended[pair * K + k], p.steps[(row + n - 1) * K + k] >> 5};
    if (!right) return best;
    best.weight = minus_infinity();
    const int oldest = n > p.window ? n - int(p.window) : 0;
    const double* law = p.survival + (restart * K + k) * D;
    const double* first_law = p.residual_survival + ((p.residual_varies ? pair : restart) * K + k) * D;
    double emission = 0;
    for (int t = n - 1; t >= oldest; --t) {
        emission += double(p.emission[(row + t) * K + k]);
        const int age = n - t, column = age < D ? age : D;
        double weight = p.recent[(pair * p.window + t - oldest) * K + k] + emission;
        weight += (t == 0 && left ? first_law : law)[column - 1];
        if (has_tail && age > D) weight += double(age - D) * double(p.stay[restart * K + k]);
        if (weight > best.weight) best = {weight, age};
    }
    return best;
}

// Each lane of a sequence follows the same segments back and fills its share of their rows.
DEVICE void decode(const Paths& p, int warp) {
    const Place at(warp);
    const Sequences those(p, at);
    const auto last = map([=](Long pair, Long row, int n, bool left, bool right, bool here, int state) {
        return here ? closing(p, pair, row, n, left, right, state) : Closing{double(minus_infinity()), 1};
    }, those.pair, those.row, those.n_rows, those.left, those.right, those.here && at.on, at.state);
    const Each<double> weight = map([](const Closing& one) { return one.weight; }, last);
    const Lanes steps_of_state = map([](const Closing& one) { return one.steps; }, last);
    Each<double> best = double(minus_infinity());
    Lanes best_state = 0, best_steps = 1;
    #pragma unroll
    for (int i = 0; i < K; ++i) {
        const Each<double> candidate = from(weight, at.source[i]);
        const Lanes steps = from(steps_of_state, at.source[i]);
        const Mask better = candidate > best;
        best_state = pick(better, Lanes(i), best_state);
        best_steps = pick(better, steps, best_steps);
        best = pick(better, candidate, best);
    }
    map([=](Long pair, Long row, int n, bool here, int slice, int state, double score, int k, int steps) {
        if (!here) return;
        const bool possible = score > double(-largest_real);
        if (slice == 0 && state == 0) p.log_probability[pair] = possible ? score : double(minus_infinity());
        if (!possible) steps = n;
        for (int end = n; end > 0;) {
            for (int t = end - steps + slice * K + state; t < end; t += lanes_a_sequence)
                p.states[row + t] = possible ? k : -1;
            end -= steps;
            if (end == 0) break;
            k = p.steps[(row + end - 1) * K + k] & 31;
            steps = p.steps[(row + end - 1) * K + k] >> 5;
        }
    }, those.pair, those.row, those.n_rows, those.here && at.on, at.slice, at.state, best, best_state, best_steps);
}

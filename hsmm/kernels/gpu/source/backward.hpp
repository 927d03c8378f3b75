// Backward recursion over the steps a segment has left: p(data after t | state, steps left) / scale, and counts.
//
// Mirrors forward.hpp. Values are computed from above: weights are bounds and nothing possible becomes zero, so that the
// data's total probability, as the backward pass finds it, is the forward pass's only if that lost nothing.
#pragma once

#include "forward.hpp"

// A sum of many terms of either sign whose rounding errors are carried along.
class Compensated {
    Lane sum_, error_ = Real(0);

public:
    DEVICE explicit Compensated(const Lane& first) : sum_(first) {}

    DEVICE void add(const Lane& term) {
        const Lane corrected = term - error_, next = sum_ + corrected;
        error_ = (next - sum_) - corrected;
        sum_ = next;
    }

    DEVICE Lane value() const { return sum_; }
};

DEVICE void accumulate(const Each<double*>& address, int offset, const Lane& term, const Mask& where) {
    map([=](double* one, Real number, bool here) { if (here) one[offset] += double(number); }, address, term, where);
}

constexpr int steps_between_flushes = 256;

// What was counted since the last flush; duration and transition counts still lack their own table's factor.
struct Counts {
    Lane duration[length], transition[K], stay, leave;

    DEVICE Counts() { reset(); }

    DEVICE void reset() {
        #pragma unroll
        for (int r = 0; r < length; ++r) duration[r] = Lane(Real(0));
        #pragma unroll
        for (int i = 0; i < K; ++i) transition[i] = Lane(Real(0));
        stay = leave = Lane(Real(0));
    }

    // Moves the counts of some sequences into float64.
    DEVICE void flush(const Problem& p, const Place& at, const Sequences& those, const Mask& which, const Mask& of_first,
                      const Lane (&law)[length], const Lane (&entry)[K]) {
        const Mask all = which && at.on, first = which && at.first, top = which && at.top;
        const auto durations = map([=](Long pair, bool residual, int slice, int state) {
            return (residual ? p.residual_counts : p.duration_counts) + pair * p.stride + slice * K + state;
        }, those.pair, of_first && those.left, at.slice, at.state);
        const auto transitions = map([=](Long pair, int state) {
            return p.transition_counts + pair * p.stride + state;
        }, those.pair, at.state);
        #pragma unroll
        for (int r = 0; r < length; ++r) {
            accumulate(durations, r * lanes_a_sequence, duration[r] * law[r], all);
            duration[r] = pick(which, Lane(Real(0)), duration[r]);
        }
        #pragma unroll
        for (int i = 0; i < K; ++i) {
            accumulate(transitions, i * K, transition[i] * entry[i], first);
            transition[i] = pick(which, Lane(Real(0)), transition[i]);
        }
        if constexpr (has_tail) {
            const auto index = map([=](Long pair, int state) { return pair * p.stride + state; }, those.pair, at.state);
            accumulate(map([=](Long i) { return p.stay_counts + i; }, index), 0, stay, top);
            accumulate(map([=](Long i) { return p.leave_counts + i; }, index), 0, leave, top);
            stay = pick(which, Lane(Real(0)), stay);
            leave = pick(which, Lane(Real(0)), leave);
        }
    }
};

DEVICE void backward(const Problem& p, int warp) {
    const Place at(warp);
    const Sequences those(p, at);
    const Tail tail(p, at, those);
    const Entries transition(p, at, those);
    const Mask on = those.here && at.on;
    const auto last = map([=](Long pair, int state) -> const Real* { return p.last + pair * 2 * K + state; }, those.pair,
                          at.state);
    const Lane occupied = load(last, 0, on, Real(0)), closing = load(last, K, on, Real(0));
    const Lane after_last = pick(those.right, Lane(Real(1)), reciprocal(at.over_states(closing, plus)));
    Compensated state(pick(those.right, occupied, closing * after_last));
    Counts counts;
    Lane law[length], value[length];
    those.load_law(p, at, Mask(false), law);
    const Lane open_end = pick(those.right, Lane(Real(1)), Lane(Real(0)));
    #pragma unroll
    for (int r = 0; r < length; ++r) value[r] = open_end;
    value[0] = pick(at.first, after_last, value[0]);
    if constexpr (has_tail && D == 1) {
        value[0] = pick(those.right, value[0], value[0] * tail.leave);
        counts.leave = pick(those.right, Lane(Real(0)), closing * after_last);
    }
    auto trace = map([=](Long row, int n, int k) -> const Real* { return p.trace + (row + n - 1) * (columns * K) + k; },
                     those.row, those.n_rows, at.state);
    auto out = map([=](Long row, int n, int k) { return p.state + (row + n - 1) * K + k; }, those.row, those.n_rows,
                   at.state);
    const Lane series_weight = map([=](Long pair) { return p.series_weight ? p.series_weight[pair] : Real(1); },
                                   those.pair);
    const Lane initial = load(map([=](Long restart, int k) -> const Real* { return p.initial + restart * K + k; },
                                  those.restart, at.state), 0, on, Real(0));
    Lane after = Real(0), began = Real(0), ended = Real(0), starting = Real(0);
    const int longest = those.longest();
    const auto longer_than = [&](int rows) { return map([=](int n) { return n > rows; }, those.n_rows) && on; };
    const auto weight_of = [&](int row, const Mask& there) { return load(trace, row * columns * K + K, there, Real(0)); };
    const auto ended_at = [&](int row, const Mask& there) { return load(trace, row * columns * K, there, Real(0)); };
    const auto tail_at = [&](int row, const Mask& there) {
        return has_tail ? load(trace, (row * columns + 2) * K, there && at.top, Real(0)) : Lane(Real(0));
    };
    Lane next_weight = weight_of(0, longer_than(0)), next_ended = ended_at(-1, longer_than(1));
    Lane next_tail = tail_at(-1, longer_than(1));
    for (int t = 0; t < longest;) {  // rows back from each sequence's last
        const Mask running = longer_than(t), one_more = longer_than(t + 1), two_more = longer_than(t + 2);
        const Mask at_first_row = map([=](int n) { return n == t + 1; }, those.n_rows);
        const int flushed = t - t % steps_between_flushes;
        int until = least(map([=](int n) { return n > t + 2 ? n - 2 : n > t + 1 ? n - 1 : longest; }, those.n_rows));
        until = until < flushed + steps_between_flushes ? until : flushed + steps_between_flushes;
        Lane started_here = Real(0);
        const bool first_rows = any(at_first_row);
        if (first_rows) {
            until = t + 1;
            counts.flush(p, at, those, at_first_row && on, Mask(false), law, transition.in);
            those.load_law(p, at, at_first_row, law);
            started_here = pick(at_first_row, initial, started_here);
        }
        const Mask writes = running && at.first, far_from_start = longer_than(until + rows_ahead);
        for (; t < until; ++t) {
            const Lane weight = next_weight, ended_before = next_ended, in_tail = next_tail;
            next_weight = weight_of(-1, one_more);
            next_ended = ended_at(-2, two_more);
            next_tail = tail_at(-2, two_more);
            expect(trace, -rows_ahead * columns * K, far_from_start);
            state.add(ended * after - began);
            const Lane probability = smaller(larger(state.value(), Lane(Real(0))), Lane(Real(1)));
            store(out, 0, pick(weight > Real(0), probability, Lane(Real(0))) * series_weight, writes);
            const Lane least_value = pick(weight > Real(0), Lane(faint), Lane(Real(0)));
            const Lane weighed = at.over_slices(sum_of_residuals([&](int r, const Lane* sum) {
                return sum ? fma_of(law[r], value[r], *sum) : law[r] * value[r];
            }), plus);
            starting = fma_of(weight, weighed, least_value);
            Lane started = started_here;
            after = Lane(Real(0));
            #pragma unroll
            for (int i = 0; i < K; ++i) {
                const Lane source = at.of_state(ended_before, i);
                started = fma_of(source, transition.in[i], started);
                counts.transition[i] = fma_of(source, starting, counts.transition[i]);
                after = fma_of(at.of_state(starting, i), transition.out[i], after);
            }
            const Lane entering = started * weight;
            const Lane before = weight * from(value[length - 1], at.previous);
            const Lane in_last_slot = value[last_residual];
            #pragma unroll
            for (int r = 0; r < length; ++r) counts.duration[r] = fma_of(entering, value[r], counts.duration[r]);
            #pragma unroll
            for (int r = length - 1; r > 0; --r) value[r] = fma_of(weight, value[r - 1], least_value);
            value[0] = pick(at.first, after, before);
            if constexpr (has_tail) {
                const Lane stayed = weight * in_last_slot * tail.stay, left = value[last_residual] * tail.leave;
                counts.stay = fma_of(in_tail, stayed, counts.stay);
                counts.leave = fma_of(in_tail, left, counts.leave);
                value[last_residual] = left + stayed + least_value;
            }
            began = started * starting;
            ended = ended_before;
            trace += -columns * K;
            out += -K;
        }
        if (t == flushed + steps_between_flushes)
            counts.flush(p, at, those, one_more, Mask(false), law, transition.in);
        if (first_rows) {
            counts.flush(p, at, those, at_first_row && on, Mask(true), law, transition.in);
            const Lane paths = at.over_states(initial * starting, plus);
            map([=](Long pair, int n, int k, bool writes_here, Real count, Real total) {
                if (!writes_here) return;
                p.initial_counts[pair * p.stride + k] = double(count);
                if (k == 0 && !(fabs(double(total) - 1.0) <= tolerance + drift * double(n))) p.doubtful[pair] = 1;
            }, those.pair, those.n_rows, at.state, at_first_row && at.first, began, paths);
        }
    }
}

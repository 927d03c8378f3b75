// Forward recursion over the steps a segment has left: p(state, steps left | data so far), scaled row by row.
//
// residual[r] holds the mass with slice * length + r + 1 steps left: time passes where it is scaled.
#pragma once

#include "problem.hpp"

struct Tail {
    Lane stay, leave;  // nothing stays and all leaves but in the slice that keeps the last column

    DEVICE Tail(const Tables& p, const Place& at, const Sequences& those, Real never = 0, Real surely = 1) {
        if constexpr (has_tail) {
            const auto offset = map([](Long restart, int state) { return restart * K + state; }, those.restart, at.state);
            stay = map([=](Long i, bool top) { return top ? p.stay[i] : never; }, offset, at.top);
            leave = map([=](Long i, bool top) { return top ? p.leave[i] : surely; }, offset, at.top);
        }
    }
};

struct Entries {
    Lane in[K], out[K];  // transitions from every state to the lane's, and from it to every state

    DEVICE Entries(const Tables& p, const Place& at, const Sequences& those, Real nothing = 0) {
        const Mask on = those.here && at.on;
        const auto table = map([=](Long restart, int state) { return p.transition + restart * K * K + state; },
                               those.restart, at.state);
        const auto row = map([=](Long restart, int state) { return p.transition + (restart * K + state) * K; },
                             those.restart, at.state);
        #pragma unroll
        for (int i = 0; i < K; ++i) {
            in[i] = load(table, i * K, on, nothing);
            out[i] = load(row, i, on, nothing);
        }
    }
};

// Sum of logarithms of positive factors, as a product of mantissas and a sum of exponents.
class LogProduct {
    Lane mantissa_ = Real(1);
    Lanes exponent_ = 0;

public:
    DEVICE void multiply(const Lane& factor) {
        exponent_ += exponent_of(factor);
        mantissa_ *= mantissa_of(factor);
    }

    // Of all n factors.
    DEVICE Each<double> value(int n) const {
        const int bias = single ? 127 : 1023;
        return map([=](Real mantissa, int exponent) {
            return log(double(mantissa)) + double(exponent - n * bias) * 0.6931471805599453;
        }, mantissa_, exponent_);
    }

    DEVICE void reset() {
        mantissa_ = Lane(Real(1));
        exponent_ = Lanes(0);
    }
};

constexpr int steps_between_logarithms = 64;

// A row's emissions relative to their largest; those that are not impossible are bounded from below.
struct Likelihoods {
    Lane largest, relative, bounded;

    DEVICE Likelihoods(const Place& at, const Lane& log_emission) {
        largest = at.over_states(log_emission, [](const Lane& a, const Lane& b) { return larger(a, b); });
        largest = larger(largest, Lane(-largest_real));
        relative = exponential(log_emission - largest);
        bounded = pick(log_emission > -largest_real, larger(relative, Lane(smallest)), Lane(Real(0)));
    }
};

DEVICE void forward(const Problem& p, int warp) {
    const Place at(warp);
    const Sequences those(p, at);
    const Tail tail(p, at, those);
    const Entries transition(p, at, those);
    const Mask on = those.here && at.on;
    Lane residual[length], law[length];
    those.load_law(p, at, Mask(true), law);
    #pragma unroll
    for (int r = 0; r < length; ++r) residual[r] = Lane(Real(0));
    Lane started = load(map([=](Long restart, int state) -> const Real* { return p.initial + restart * K + state; },
                            those.restart, at.state), 0, on, Real(0));
    auto emission = map([=](Long row, int state) -> const Real* { return p.emission + row * K + state; }, those.row,
                        at.state);
    auto trace = map([=](Long row, int state) { return p.trace + row * (columns * K) + state; }, those.row, at.state);
    if constexpr (SLICES > 1) trace = map([](Real* one, bool second) { return second ? one + K : one; }, trace, at.second);
    Each<double> total = 0.0;
    LogProduct scales;
    Lane occupancy = Real(0), ended = Real(0), least_scale = Real(1);
    const int longest = those.longest();
    const bool any_left = any(those.left);
    const auto row = [&](int offset, const Mask& there) { return load(emission, offset * K, there && at.on, -largest_real); };
    const auto longer_than = [&](int rows) { return map([=](int n) { return n > rows; }, those.n_rows); };
    Likelihoods likelihood(at, row(0, longer_than(0)));
    Lane ahead = row(1, longer_than(1));
    for (int t = 0; t < longest;) {
        const Mask running = longer_than(t), two_more = longer_than(t + 2);
        int until = least(map([=](int n) { return n > t + 2 ? n - 2 : n > t ? n : longest; }, those.n_rows));
        if (t == 0 && any_left) until = 1;
        const int flushed = t - t % steps_between_logarithms;
        until = until < flushed + steps_between_logarithms ? until : flushed + steps_between_logarithms;
        const bool begins = t == 0;
        const Mask far_from_end = longer_than(until + rows_ahead) && at.on;
        const Mask keeps = running && (SLICES > 1 ? at.first || at.second : at.first);
        const Mask keeps_tail = running && at.top;
        for (; t < until; ++t) {
            const Likelihoods next(at, ahead);
            ahead = row(2, two_more);
            expect(emission, rows_ahead * K, far_from_end);
            #pragma unroll
            for (int r = 0; r < length; ++r) residual[r] = fma_of(started, law[r], residual[r]);
            occupancy = at.over_slices(sum_of_residuals([&](int r, const Lane* sum) {
                return sum ? *sum + residual[r] : residual[r];
            }), plus);
            const Lane scale = at.over_states(occupancy * likelihood.relative, plus);
            const Lane inverse = reciprocal(scale);
            const Lane now = likelihood.relative * inverse;
            const Lane weight = likelihood.bounded * inverse;
            const Lane first_residual = residual[0] * now, in_tail = residual[last_residual] * now;
            #pragma unroll
            for (int r = 0; r + 1 < length; ++r) residual[r] = residual[r + 1] * now;
            ended = has_tail && last_residual == 0 ? first_residual * tail.leave : first_residual;
            residual[length - 1] = pick(at.last, Lane(Real(0)), from(ended, at.next));
            if constexpr (has_tail) {
                residual[last_residual] = fma_of(in_tail, tail.stay, residual[last_residual]);
                if (last_residual > 0) residual[last_residual - 1] = residual[last_residual - 1] * tail.leave;
            }
            started = Lane(Real(0));
            #pragma unroll
            for (int i = 0; i < K; ++i) started = fma_of(at.of_state(ended, i), transition.in[i], started);
            if constexpr (SLICES > 1) {
                store(trace, 0, pick(at.second, weight, ended), keeps);
            } else {
                store(trace, 0, ended, keeps);
                store(trace, K, weight, keeps);
            }
            if constexpr (has_tail) store(trace, last_slice == 1 && SLICES > 1 ? K : 2 * K, in_tail, keeps_tail);
            occupancy = occupancy * now;
            scales.multiply(scale);
            least_scale = smaller(least_scale, scale);
            total += (Each<double>)likelihood.largest;
            emission += K;
            trace += columns * K;
            likelihood = next;
        }
        const Each<double> recent = scales.value(t - flushed);
        const Mask finishes = running && map([=](int n) { return n == t; }, those.n_rows);
        if (any(finishes)) {
            const Lane closing = at.over_states(ended, plus);
            map([=](Long pair, int state, bool first, bool finishing, Real occupied, Real end) {
                if (!(first && finishing)) return;
                p.last[(pair * 2) * K + state] = occupied;
                p.last[(pair * 2 + 1) * K + state] = end;
            }, those.pair, at.state, at.first, finishes, occupancy, ended);
            map([=](Long pair, int state, bool first, bool finishing, bool free, Real end, double log_scale, Real least) {
                if (!(first && finishing && state == 0)) return;
                const double log_likelihood = log_scale + (free ? 0.0 : log(double(end)));
                p.log_likelihood[pair] = log_likelihood;
                p.doubtful[pair] = !(least > collapsed) || !isfinite(log_likelihood);
            }, those.pair, at.state, at.first, finishes, those.right, closing, total + recent, least_scale);
        }
        if (t == flushed + steps_between_logarithms) {
            total += recent;
            scales.reset();
        }
        if (begins && any_left) those.load_law(p, at, Mask(false), law);
    }
}

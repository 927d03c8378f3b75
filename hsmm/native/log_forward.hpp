// Forward recursion over the steps a segment has left, in log space, one sequence at a time: nothing is lost however far
// the data swing. forward.hpp is faster where that cannot happen.
#pragma once

#include "sequence.hpp"

namespace hsmm {

class LogForward {
    using V = logs::V;

    Sequence& s_;
    const int64_t row_;  // of open_: one slot beyond the last is read when time passes
    Buffer<double> open_, ahead_;

    // Mass with r steps left moves to r - 1; what is in the tail slot stays there or leaves it.
    void pass_tail(double* open, int64_t j) const {
        const double tail = open[s_.D - 1];
        open[s_.D] = tail + s_.stay()[j];
        open[s_.D - 1] = tail + s_.leave()[j];
    }

    double advance(double* open, const double* duration, double weight, double entering) const {
        V most = broadcast<V>(logs::zero);
        for (int64_t r = 0; r < s_.Dp; r += logs::width) {
            const V mass = logs::add(logs::load(open + r + 1) + weight, logs::load(duration + r) + entering);
            logs::store(open + r, mass);
            most = maximum(most, mass);
        }
        return logs::largest(most);
    }

    double advance_segments(int64_t t) {
        const double *emission = s_.emission(t), *duration = s_.duration(t);
        double most = logs::zero;
        for (int64_t j = 0; j < s_.K; ++j) {
            double* open = open_.data() + j * row_;
            if (s_.has_tail) pass_tail(open, j);
            most = std::max(most, advance(open, duration + j * s_.Dp, emission[j], start[j] + emission[j]));
            open[s_.Dp] = logs::zero;
        }
        return most;
    }

    template <class Each>
    double normalise_segments(double most, Each each) {
        double sum = 0;
        for (int64_t j = 0; j < s_.K; ++j) {
            const auto cells = [&](int64_t r, V terms) { each(j, r, terms); };
            state[j] = logs::sum_relative(open_.data() + j * row_, s_.Dp, most, cells);
            sum += state[j];
        }
        log_density = most + std::log(sum);
        const double scale = logs::finite(log_density);
        for (int64_t i = 0; i < s_.K * row_; i += logs::width)
            logs::store(open_.data() + i, logs::load(open_.data() + i) - scale);
        for (int64_t j = 0; j < s_.K; ++j)
            end[j] = open_[j * row_] + (s_.has_tail && s_.D == 1 ? s_.leave()[j] : 0.0);
        return sum;
    }

    double step_hmm(int64_t t) {
        const double* emission = s_.emission(t);
        for (int64_t j = 0; j < s_.K; ++j) end[j] = start[j] + emission[j];
        const double most = logs::largest(end.data(), s_.Kp);
        const double sum = logs::sum_relative(
            end.data(), s_.Kp, most, [&](int64_t j, V terms) { logs::store(state.data() + j, terms); });
        log_density = most + std::log(sum);
        for (int64_t j = 0; j < s_.K; ++j) end[j] -= logs::finite(log_density);
        return sum;
    }

public:
    Buffer<double> start;  // (Kp,) log P(a segment of j begins at t | y before t)
    Buffer<double> end;    // (Kp,) log P(a segment of j ends at t | y up to t)
    Buffer<double> state;  // (Kp,) P(z_t = j | y up to t)
    double log_density = 0;

    explicit LogForward(Sequence& s)
        : s_(s), row_(s.Dp + logs::width), open_(s.K * row_), ahead_(row_), start(s.Kp), end(s.Kp), state(s.Kp) {
        logs::fill(open_, s.K * row_, logs::zero);
        for (auto* x : {&start, &end}) logs::fill(*x, s.Kp, logs::zero);
        std::copy_n(s.initial(), s.K, start.data());
    }

    // Goes on after `starting` (K,) and `steps_left` (K, D), as left by a pass over the rows before.
    void resume(const double* starting, const double* steps_left) {
        std::copy_n(starting, s_.K, start.data());
        for (int64_t j = 0; j < s_.K && !s_.is_hmm; ++j)
            std::copy_n(steps_left + j * s_.D, s_.D, open_.data() + j * row_);
    }

    // log P(z_t = j, r steps left | y up to t), r from 1.
    double steps_left(int64_t j, int64_t r) const { return s_.is_hmm ? end[j] : open_[j * row_ + r - 1]; }

    // Fills (K,) with log P(z_t = j | y before t), before the step to t is made.
    void predict(int64_t t, double* predicted) {
        if (s_.is_hmm) {
            std::copy_n(start.data(), s_.K, predicted);
            return;
        }
        const double* duration = s_.duration(t);
        for (int64_t j = 0; j < s_.K; ++j) {
            std::copy_n(open_.data() + j * row_, row_, ahead_.data());
            if (s_.has_tail) pass_tail(ahead_.data(), j);
            const double most = advance(ahead_.data(), duration + j * s_.Dp, 0.0, start[j]);
            const double sum = logs::sum_relative(ahead_.data(), s_.Dp, most, [](int64_t, V) {});
            predicted[j] = most + std::log(sum);
        }
    }

    // `each(j, r, terms)` sees what P(z_t = j, steps left from r + 1 | y up to t) is proportional to; returns the sum.
    template <class Each>
    double step(int64_t t, Each each) {
        const double sum = s_.is_hmm ? step_hmm(t) : normalise_segments(advance_segments(t), each);
        for (int64_t j = 0; j < s_.K; ++j) state[j] = sum > 0 ? state[j] / sum : 0.0;
        return sum;
    }

    void step(int64_t t) {
        step(t, [](int64_t, int64_t, V) {});
    }

    // From t to t + 1.
    void begin_next(int64_t t) {
        const double* transition = s_.transition(t);
        for (int64_t j = 0; j < s_.Kp; j += logs::width) {
            V most = broadcast<V>(logs::zero), sum{};
            const auto into = [&](int64_t i) { return logs::load(transition + i * s_.Kp + j) + end[i]; };
            for (int64_t i = 0; i < s_.K; ++i) most = maximum(most, into(i));
            const V origin = logs::finite(most);
            for (int64_t i = 0; i < s_.K; ++i) sum += exponential<double, logs::width>(into(i) - origin);
            logs::store(start.data() + j, origin + logs::logarithm(sum));
        }
    }
};

}  // namespace hsmm

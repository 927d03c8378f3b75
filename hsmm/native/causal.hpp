// What is known at each row from that row and those before it: states, density, steps left, steps so far; and what a
// later pass needs in order to go on.
#pragma once

#include <optional>

#include "log_backward.hpp"

namespace hsmm {

HSMM_STRUCTURE(SavedState,
    double* starting;    // (R, S, K) log P(a segment begins at the next row)
    double* steps_left;  // (R, S, K, D) log P(state, steps left) at the last row
    double* by_age;      // (R, S, K, D) see Ages
    int64_t* n_rows;     // (S,) rows seen so far
);

// Any of the arrays may be null.
HSMM_STRUCTURE(CausalOut,
    const double *survival, *residual_survival;  // log P(d >= n), shaped as the tables; null where ages are not wanted
    double* state;                               // (R, N, K)
    double* predicted;                           // (R, N, K) log P(z_n = k | y before n)
    double* log_density;                         // (R, N)
    double* remaining;                           // (R, N, D)
    double* elapsed;                             // (R, N, D)
    const SavedState *before, *after;           // where to go on from; to be filled
);

HSMM_STRUCTURE(SmoothedOut,
    int64_t lag;
    double* state;  // (R, N, K) P(state | y up to `lag` rows later)
);

// Log-weights of the open segments by the steps since their start, before the law of their duration is applied; with a
// tail, the last age holds all that entered the tail slot, law and stays applied.
class Ages {
    using V = logs::V;

    const Sequence& s_;
    const Problem& p_;
    const CausalOut& out_;
    const int64_t row_, seen_;  // row_: of by_age_, one slot before the first is read when time passes
    Buffer<double> by_age_, law_;

    double* ages(int64_t j) { return by_age_.data() + j * row_ + logs::width; }

    const double* survival(int64_t t, int64_t age) const {
        const int64_t size = s_.K * s_.D, start = t - age + 1;
        if (start + seen_ == 0 && p_.left_censored[s_.series])
            return out_.residual_survival + (p_.residual_by_series ? s_.pair : s_.restart) * size;
        return out_.survival + (s_.restart * p_.n_laws + s_.duration_at(start)) * size;
    }

    // The oldest age whose law can be read: laws that change with time are not known before the first row given.
    int64_t oldest(int64_t t) const { return std::min(s_.D, t + 1 + (duration_varies(p_) ? 0 : seen_)); }

    void age(int64_t t, int64_t j, double start, double relative) {
        double* x = ages(j);
        const double in_tail = x[s_.D - 1];
        for (int64_t a = s_.Dp - logs::width; a >= 0; a -= logs::width)
            logs::store(x + a, logs::load(x + a - 1) + relative);
        x[0] = start + relative;
        if (!s_.has_tail) return;
        const double entering =
            oldest(t) == s_.D ? x[s_.D - 1] + survival(t, s_.D)[j * s_.D + s_.D - 1] : logs::zero;
        x[s_.D - 1] = logs::add(entering, in_tail + s_.stay()[j] + relative);
    }

public:
    Ages(const Sequence& s, const Problem& p, const CausalOut& out)
        : s_(s), p_(p), out_(out), row_(s.Dp + logs::width), seen_(out.before ? out.before->n_rows[s.series] : 0),
          by_age_(s.K * row_), law_(s.Dp) {
        logs::fill(by_age_, s.K * row_, logs::zero);
        logs::fill(law_, s.Dp, logs::zero);
        for (int64_t j = 0; out.before && j < s.K; ++j)
            std::copy_n(out.before->by_age + (s.pair * s.K + j) * s.D, s.D, ages(j));
    }

    // Adds P(age = a + 1 | y up to t) to by_age (Dp,); never more than 1 a state, however violent the data.
    void step(int64_t t, const LogForward& forward, double* by_age) {
        for (int64_t j = 0; j < s_.K; ++j) {
            age(t, j, forward.start[j], s_.emission(t)[j] - logs::finite(forward.log_density));
            for (int64_t a = 1; a <= oldest(t); ++a) law_[a - 1] = survival(t, a)[j * s_.D + a - 1];
            if (s_.has_tail) law_[s_.D - 1] = 0;
            for (int64_t a = 0; a < s_.Dp; a += logs::width) {
                const V weighed = minimum(logs::load(ages(j) + a) + logs::load(law_.data() + a), V{});
                logs::store(by_age + a, logs::load(by_age + a) + exponential<double, logs::width>(weighed));
            }
        }
    }

    void save(double* by_age) {
        for (int64_t j = 0; j < s_.K; ++j) std::copy_n(ages(j), s_.D, by_age + j * s_.D);
    }
};

class CausalPass {
    Sequence s_;
    const CausalOut& out_;
    LogForward forward_;
    std::optional<Ages> ages_;
    Buffer<double> by_step_;
    const int64_t row_;

    double* row(double* table, int64_t t, int64_t size) const { return table + (row_ + t) * size; }

    void filter(int64_t t) {
        const auto collect = [&](int64_t, int64_t r, logs::V terms) {
            logs::store(by_step_.data() + r, logs::load(by_step_.data() + r) + terms);
        };
        if (!out_.remaining || s_.is_hmm) return forward_.step(t);
        logs::fill(by_step_, s_.Dp, 0);
        const double sum = forward_.step(t, collect);
        for (int64_t r = 0; r < s_.D; ++r) row(out_.remaining, t, s_.D)[r] = sum > 0 ? by_step_[r] / sum : 0.0;
    }

    void write(int64_t t) {
        if (out_.state) std::copy_n(forward_.state.data(), s_.K, row(out_.state, t, s_.K));
        if (out_.log_density) *row(out_.log_density, t, 1) = forward_.log_density;
        if (!ages_) return;
        logs::fill(by_step_, s_.Dp, 0);
        ages_->step(t, forward_, by_step_.data());
        if (!out_.elapsed) return;
        for (int64_t a = 0; a < s_.D; ++a) row(out_.elapsed, t, s_.D)[a] = std::min(1.0, by_step_[a]);
    }

    void save(const SavedState& state) {
        const int64_t K = s_.K, D = s_.D;
        forward_.begin_next(s_.length - 1);
        std::copy_n(forward_.start.data(), K, state.starting + s_.pair * K);
        for (int64_t j = 0; j < K; ++j)
            for (int64_t r = 1; r <= D; ++r)
                state.steps_left[(s_.pair * K + j) * D + r - 1] = forward_.steps_left(j, r);
        if (ages_) ages_->save(state.by_age + s_.pair * K * D);
    }

public:
    CausalPass(const Problem& p, int64_t pair, const CausalOut& out)
        : s_(p, pair, out.before), out_(out), forward_(s_), by_step_(s_.Dp), row_(s_.restart * p.n_rows + s_.offset) {
        if (out.before)
            forward_.resume(out.before->starting + pair * s_.K, out.before->steps_left + pair * s_.K * s_.D);
        if (out.survival) ages_.emplace(s_, p, out);
    }

    void run() {
        for (int64_t t = 0; t < s_.length; ++t) {
            if (t > 0) forward_.begin_next(t - 1);
            if (out_.predicted) forward_.predict(t, row(out_.predicted, t, s_.K));
            filter(t);
            write(t);
        }
        if (out_.after) save(*out_.after);
    }
};

inline void causal(const Problem& p, const CausalOut& out) {
    for_each_group(p.n_groups, p.n_threads, [&](int64_t index, InOrder&) { CausalPass(p, p.lanes[index], out).run(); });
}

inline void smoothed(const Problem& p, const SmoothedOut& out) {
    for_each_group(p.n_groups, p.n_threads, [&](int64_t index, InOrder&) {
        Sequence s(p, p.lanes[index]);
        const LogTrace trace(s);
        LogBackward backward(s, trace, nullptr);
        for (int64_t t = 0; t < s.length; ++t) {
            const int64_t last = std::min(t + out.lag, s.length - 1);
            double* row = out.state + (s.restart * p.n_rows + s.offset + t) * s.K;
            std::fill_n(row, s.K, 0.0);
            if (!std::isfinite(trace.density(last))) continue;
            backward.enter(last);
            for (int64_t u = last - 1; u >= t; --u) backward.step(u);
            for (int64_t j = 0; j < s.K; ++j) row[j] = std::min(1.0, std::max(0.0, backward.state()[j]));
        }
    });
}

}  // namespace hsmm

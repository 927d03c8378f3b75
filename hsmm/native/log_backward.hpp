// Backward recursion in log space, one sequence at a time: the mirror of log_forward.hpp, and the counts it yields.
#pragma once

#include "by_table.hpp"
#include "counts.hpp"
#include "log_forward.hpp"
#include "threads.hpp"

namespace hsmm {

// What the backward pass needs of the forward pass, by row.
class LogTrace {
    Sequence& s_;
    LogForward last_;
    Buffer<double> start_, end_, tail_, state_, density_;

    void keep(int64_t t) {
        const int64_t row = t * s_.K;
        std::copy_n(last_.start.data(), s_.K, start_.data() + row);
        std::copy_n(last_.end.data(), s_.K, end_.data() + row);
        std::copy_n(last_.state.data(), s_.K, state_.data() + row);
        for (int64_t j = 0; s_.has_tail && j < s_.K; ++j) tail_[row + j] = last_.steps_left(j, s_.D);
        log_likelihood += density_[t] = last_.log_density;
    }

public:
    double log_likelihood = 0, log_ending = 0;  // log_ending: that the last segment ends at the last row, where it must

    explicit LogTrace(Sequence& s)
        : s_(s), last_(s), start_(s.length * s.K), end_(s.length * s.K), tail_(s.has_tail ? s.length * s.K : 0),
          state_(s.length * s.K), density_(s.length) {
        for (int64_t t = 0; t < s.length; ++t) {
            if (t > 0) last_.begin_next(t - 1);
            last_.step(t);
            keep(t);
        }
        if (!s.right) log_ending = logs::sum(last_.end.data(), s.Kp);
        log_likelihood += log_ending;
    }

    const double* start(int64_t t) const { return start_.data() + t * s_.K; }
    const double* end(int64_t t) const { return end_.data() + t * s_.K; }
    const double* tail(int64_t t) const { return tail_.data() + t * s_.K; }
    const double* state(int64_t t) const { return state_.data() + t * s_.K; }
    double density(int64_t t) const { return density_[t]; }
    double relative(int64_t t, int64_t j) const { return s_.emission(t)[j] - density_[t]; }
};

// Expected counts of one sequence. Where every row has a table of its own, so have the counts.
class LogCounts {
    const Sequence& s_;
    const Problem& p_;
    const CountsOut& out_;
    const double weight_;  // of the series
    ByTable<double> duration_, transition_;  // (K, Dp), (K, Kp) by the state entered; of every row's own, the last one's
    Buffer<double> residual_;                // (K, Dp)

    double* row_of(double* table, int64_t t, int64_t size) const {
        return table + (s_.restart * p_.n_rows + s_.offset + t) * size;
    }

    double* states() const { return static_cast<double*>(out_.state) + first_row(p_, s_.restart, s_.series) * s_.K; }

    void add_transition(const double* counts, double* out) const {
        for (int64_t i = 0; i < s_.K; ++i)
            for (int64_t j = 0; j < s_.K; ++j) out[i * s_.K + j] += weight_ * counts[j * s_.Kp + i];
    }

    void add_duration(const double* counts, double* out) const {
        for (int64_t j = 0; j < s_.K; ++j)
            for (int64_t r = 0; r < s_.D; ++r) out[j * s_.D + r] += weight_ * counts[j * s_.Dp + r];
    }

public:
    Buffer<double> stay, leave;  // (K,)

    LogCounts(const Sequence& s, const Problem& p, const CountsOut& out)
        : s_(s), p_(p), out_(out), weight_(out.series_weight ? out.series_weight[s.pair] : 1.0),
          duration_(p.duration_by_row ? 1 : p.n_laws, s.K * s.Dp),
          transition_(p.transition_by_row ? 1 : p.n_transitions, s.K * s.Kp), residual_(s.K * s.Dp), stay(s.K), leave(s.K) {
        logs::fill(residual_, s.K * s.Dp, 0);
        for (auto* sum : {&stay, &leave}) logs::fill(*sum, s.K, 0);
        const int64_t moves = s.K * s.K, laws = s.K * s.D;
        if (p.transition_by_row) std::fill_n(row_of(out.transition, 0, moves), s.length * moves, 0.0);
        if (p.duration_by_row) std::fill_n(row_of(out.duration, 0, laws), s.length * laws, 0.0);
    }

    // Of the moves from t to t + 1, and of the segments that start at t.
    double* transition(int64_t t) { return transition_.sums_of(p_.transition_by_row ? 0 : s_.transition_at(t)); }
    double* duration(int64_t t) {
        if (t == 0 && s_.left) return residual_.data();
        return duration_.sums_of(p_.duration_by_row ? 0 : s_.duration_at(t));
    }

    void close_row(int64_t t, const double* state) {
        double* out = states() + t * s_.K;
        for (int64_t j = 0; j < s_.K; ++j) out[j] = weight_ * std::min(1.0, std::max(0.0, state[j]));
        if (p_.transition_by_row) {
            for (int64_t i : transition_.used()) add_transition(transition_[i], row_of(out_.transition, t, s_.K * s_.K));
            transition_.forget();
        }
        if (p_.duration_by_row) {
            for (int64_t i : duration_.used()) add_duration(duration_[i], row_of(out_.duration, t, s_.K * s_.D));
            duration_.forget();
        }
    }

    void blank_state() const { std::fill_n(states(), s_.length * s_.K, 0.0); }

    // Adds to the sums over sequences.
    void commit(const double* began) const {
        const int64_t r = s_.restart, K = s_.K, D = s_.D;
        for (int64_t j = 0; j < K; ++j) {
            out_.initial[r * K + j] += weight_ * began[j];
            out_.tail_stay[r * K + j] += weight_ * stay[j];
            out_.tail_leave[r * K + j] += weight_ * leave[j];
        }
        for (int64_t i : transition_.used())
            add_transition(transition_[i], out_.transition + (r * p_.n_transitions + i) * K * K);
        for (int64_t i : duration_.used()) add_duration(duration_[i], out_.duration + (r * p_.n_laws + i) * K * D);
        if (s_.left) add_duration(residual_.data(), out_.residual + (p_.residual_by_series ? s_.pair : r) * K * D);
    }
};

class LogBackward {
    using V = logs::V;

    Sequence& s_;
    const LogTrace& trace_;
    LogCounts* counts_;  // null: none are wanted
    const int64_t row_;  // of value_: one slot before the first is read when time passes back
    Buffer<double> value_;      // log p(y after t | state, steps left) / scale
    Buffer<double> after_end_;  // (Kp,) the same for a segment that ends at t
    Buffer<double> starting_;   // (Kp,) the same, with row t's weight, for a segment that begins at t
    Buffer<double> scratch_, state_, began_;

    // Log-weights of 1e200 leave nothing but rounding in their differences; what comes out is a probability all the same.
    static double probability(double log) { return std::exp(std::min(log, 0.0)); }
    static V probability(V log) { return exponential<double, logs::width>(minimum(log, V{})); }

    double* value(int64_t j) { return value_.data() + j * row_ + logs::width; }

    // From starting at t + 1 to after_end at t.
    void end_before(int64_t t) {
        const double *into = s_.transition_into(t), *end = trace_.end(t);
        double* counts = counts_ ? counts_->transition(t) : nullptr;
        for (int64_t i = 0; i < s_.Kp; i += logs::width) {
            const auto moving = [&](int64_t j) { return logs::load(into + j * s_.Kp + i) + starting_[j]; };
            V most = broadcast<V>(logs::zero), sum{}, ended = most;
            for (int l = 0; l < logs::width && i + l < s_.K; ++l) ended[l] = end[i + l];
            for (int64_t j = 0; j < s_.K; ++j) most = maximum(most, moving(j));
            const V origin = logs::finite(most), share = probability(ended + origin);
            for (int64_t j = 0; j < s_.K; ++j) {
                const V terms = exponential<double, logs::width>(moving(j) - origin);
                sum += terms;
                if (counts) logs::add_product(counts + j * s_.Kp + i, share, terms);
            }
            logs::store(after_end_.data() + i, origin + logs::logarithm(sum));
        }
    }

    // Steps left from t + 1 to t.
    void recede(int64_t t, int64_t j) {
        double* x = value(j);
        const double relative = trace_.relative(t + 1, j), last = x[s_.D - 1] + relative;
        const double before_last = s_.D > 1 ? x[s_.D - 2] + relative : after_end_[j];
        for (int64_t r = s_.Dp - logs::width; r >= 0; r -= logs::width)
            logs::store(x + r, logs::load(x + r - 1) + relative);
        x[0] = after_end_[j];
        if (!s_.has_tail) return;
        const double stayed = s_.stay()[j] + last, left = s_.leave()[j] + before_last;
        x[s_.D - 1] = logs::add(stayed, left);
        if (!counts_) return;
        counts_->stay[j] += probability(trace_.tail(t)[j] + stayed);
        counts_->leave[j] += probability(trace_.tail(t)[j] + left);
    }

    void begin(int64_t t) {
        const double *durations = s_.duration(t), *start = trace_.start(t);
        double* counts = counts_ ? counts_->duration(t) : nullptr;
        for (int64_t j = 0; j < s_.K; ++j) {
            const double relative = trace_.relative(t, j), *duration = durations + j * s_.Dp;
            for (int64_t r = 0; r < s_.Dp; r += logs::width)
                logs::store(scratch_.data() + r, logs::load(duration + r) + relative + logs::load(value(j) + r));
            const double largest = logs::largest(scratch_.data(), s_.Dp), most = logs::finite(largest);
            const V share = broadcast<V>(largest == logs::zero ? 0.0 : probability(start[j] + most));
            double* count = counts ? counts + j * s_.Dp : nullptr;
            const double sum = logs::sum_relative(scratch_.data(), s_.Dp, most, [&](int64_t r, V terms) {
                if (count) logs::add_product(count + r, share, terms);
            });
            starting_[j] = most + std::log(sum);
            began_[j] = probability(start[j] + starting_[j]);
        }
    }

public:
    LogBackward(Sequence& s, const LogTrace& trace, LogCounts* counts)
        : s_(s), trace_(trace), counts_(counts), row_(s.Dp + logs::width), value_(s.K * row_), after_end_(s.Kp),
          starting_(s.Kp), scratch_(s.Dp), state_(s.K), began_(s.K) {
        logs::fill(value_, s.K * row_, logs::zero);
    }

    // Nothing is known of what follows row t.
    void enter(int64_t t) {
        for (int64_t j = 0; j < s_.K; ++j) std::fill_n(value(j), s_.Dp, 0.0);
        std::copy_n(trace_.state(t), s_.K, state_.data());
        begin(t);
    }

    // The last segment ends at row t.
    void enter_end(int64_t t) {
        for (int64_t j = 0; j < s_.K; ++j) {
            const bool in_tail = s_.has_tail && s_.D == 1;
            const double ended = in_tail ? s_.leave()[j] - trace_.log_ending : -trace_.log_ending;
            std::fill_n(value(j), s_.Dp, logs::zero);
            value(j)[0] = ended;
            state_[j] = probability(trace_.end(t)[j] - trace_.log_ending);
            if (in_tail && counts_) counts_->leave[j] += probability(trace_.tail(t)[j] + ended);
        }
        begin(t);
    }

    void step(int64_t t) {
        end_before(t);
        for (int64_t j = 0; j < s_.K; ++j) {
            recede(t, j);
            state_[j] += probability(trace_.end(t)[j] + after_end_[j]) - began_[j];
        }
        begin(t);
    }

    const double* state() const { return state_.data(); }  // (K,) P(z_t | y)
    const double* began() const { return began_.data(); }  // (K,) P(a segment begins at t | y)
};

// Sequences that are impossible count nothing.
inline void log_counts(const Problem& p, const CountsOut& out) {
    for_each_group(p.n_groups, p.n_threads, [&](int64_t index, InOrder& order) {
        Sequence s(p, p.lanes[index]);
        const LogTrace trace(s);
        out.log_likelihood[s.pair] = trace.log_likelihood;
        const bool possible = std::isfinite(trace.log_likelihood);
        LogCounts counts(s, p, out);
        LogBackward backward(s, trace, &counts);
        for (int64_t t = s.length - 1; possible && t >= 0; --t) {
            if (t + 1 < s.length) backward.step(t);
            else if (s.right) backward.enter(t);
            else backward.enter_end(t);
            counts.close_row(t, backward.state());
        }
        if (!possible) counts.blank_state();
        order.commit(index, true, [&] {
            if (possible) counts.commit(backward.began());
        });
    });
}

inline void log_score(const Problem& p, double* log_likelihood) {
    for_each_group(p.n_groups, p.n_threads, [&](int64_t index, InOrder&) {
        Sequence s(p, p.lanes[index]);
        LogForward forward(s);
        double sum = 0;
        for (int64_t t = 0; t < s.length; ++t) {
            if (t > 0) forward.begin_next(t - 1);
            forward.step(t);
            sum += forward.log_density;
        }
        log_likelihood[s.pair] = sum + (s.right ? 0.0 : logs::sum(forward.end.data(), s.Kp));
    });
}

}  // namespace hsmm

// One sequence's log-tables, any of which may have a row for every time step; rows are padded to whole vectors.
#pragma once

#include "group.hpp"
#include "logs.hpp"

namespace hsmm {

class Sequence {
    const Problem& p_;
    Buffer<double> duration_, first_, transition_, into_;
    const View<double> view_;

    void read_duration(const double* table, double* rows) const {
        for (int64_t j = 0; j < K; ++j) std::copy_n(table + j * D, D, rows + j * Dp);
    }

    void read_transition(int64_t t, double* from, double* into) const {
        const double* entries = view_.transition(restart, offset + t);
        for (int64_t i = 0; i < K; ++i)
            for (int64_t j = 0; j < K; ++j) from[i * Kp + j] = into[j * Kp + i] = entries[i * K + j];
    }

public:
    const int64_t pair, restart, series, offset, length;
    const int64_t K, D, Kp, Dp;
    const bool is_hmm, has_tail, left, right;

    // A continued one goes on from what an earlier pass left, so its first row is like any other.
    Sequence(const Problem& p, int64_t pair, bool continued = false)
        : p_(p), duration_(p.n_states * logs::padded(p.n_durations)), first_(p.n_states * logs::padded(p.n_durations)),
          transition_(p.n_states * logs::padded(p.n_states)), into_(p.n_states * logs::padded(p.n_states)),
          view_{p}, pair(pair), restart(restart_of(p, pair)),
          series(series_of(p, pair)), offset(p.offsets[series]), length(p.offsets[series + 1] - offset), K(p.n_states),
          D(p.n_durations), Kp(logs::padded(K)), Dp(logs::padded(D)), is_hmm(!p.duration),
          has_tail(p.tail_stay != nullptr), left(!is_hmm && !continued && p.left_censored[series]),
          right(is_hmm || p.right_censored[series]) {
        for (auto* rows : {&duration_, &first_}) logs::fill(*rows, K * Dp, logs::zero);
        for (auto* rows : {&transition_, &into_}) logs::fill(*rows, K * Kp, logs::zero);
        if (!transition_varies(p_)) read_transition(0, transition_.data(), into_.data());
        if (is_hmm) {
            for (int64_t j = 0; j < K; ++j) first_[j * Dp] = duration_[j * Dp] = 0;  // every segment is one step
            return;
        }
        if (!duration_varies(p_)) read_duration(view_.duration(restart, offset), duration_.data());
        read_duration(left ? view_.residual(restart, series) : view_.duration(restart, offset), first_.data());
    }

    const double* initial() const { return view_.initial(restart); }
    int64_t transition_at(int64_t t) const { return view_.transition_at(offset + t); }
    int64_t duration_at(int64_t t) const { return view_.duration_at(offset + t); }
    const double* stay() const { return view_.tail_stay(restart); }
    const double* leave() const { return view_.tail_leave(restart); }
    const double* emission(int64_t t) const { return view_.emission(restart, series) + t * K; }

    // (K, Dp) law of the segments that start at t, the first one's if t = 0.
    const double* duration(int64_t t) {
        if (t == 0) return first_.data();
        if (duration_varies(p_) && !is_hmm) read_duration(view_.duration(restart, offset + t), duration_.data());
        return duration_.data();
    }

    // Of a segment of state j that starts at t: its log-law (D,), and that it lasts at least n steps.
    const double* law(int64_t t, int64_t j) const {
        if (t == 0) return first_.data() + j * Dp;
        return duration_varies(p_) && !is_hmm ? view_.duration(restart, offset + t) + j * D : duration_.data() + j * Dp;
    }
    double log_survival(int64_t t, int64_t j, int64_t n) const {
        return logs::sum_scalar(law(t, j) + n - 1, D - n + 1);
    }

    // Whether segments that start at t have the same law as those that start at any row but the first.
    bool starts_alike(int64_t t) const { return !duration_varies(p_) && !(t == 0 && left); }

    // (K, Kp) from t to t + 1: rows are states left, or states entered.
    const double* transition(int64_t t) { return moves(t, transition_); }
    const double* transition_into(int64_t t) { return moves(t, into_); }

private:
    const double* moves(int64_t t, const Buffer<double>& table) {
        if (transition_varies(p_)) read_transition(t, transition_.data(), into_.data());
        return table.data();
    }
};

}  // namespace hsmm

// What the caller hands over, and one lane group's view of it.
#pragma once

#include <algorithm>

#include "boundary.hpp"
#include "buffer.hpp"
#include "entries.hpp"
#include "transpose.hpp"

namespace hsmm {

// Tables are linear for scaled sums, else logarithmic.
HSMM_STRUCTURE(Problem,
    int64_t n_restarts, n_series, n_rows, n_states, n_durations;
    const void* initial;     // (R, K)
    const void* transition;  // (R, U, K, K); logarithms (R, N, K, K) where every row has its own
    const void* duration;    // (R, U, K, D), null for an HMM; logarithms (R, N, K, D) where every row has its own
    const void* residual;    // (R, K, D); null where no series is left-censored
    const void* tail_stay;   // (R, K); null without a tail slot
    const void* tail_leave;  // (R, K), 1 - tail_stay
    // For backward passes: the same linear tables, positive entries raised so that none is lost in products.
    const void *initial_bound, *transition_bound, *duration_bound, *residual_bound, *tail_stay_bound, *tail_leave_bound;
    const void* emission;    // (R, N, K), logarithms always; (N, K) where series have owners
    const int64_t* offsets;  // (S + 1,)
    const int64_t* owners;   // (S,) the model of each series, R = 1 table of emissions for all; null: all series of all
    const uint8_t* left_censored;   // (S,)
    const uint8_t* right_censored;  // (S,)
    const uint8_t* fragile;         // (R, S) 1: a table entry is positive but rounds to zero, 2: one may overflow
    const int64_t* lanes;  // (n_groups, width): restart * n_series + series, longest first, -1 for an empty lane;
                           // a series alone where it has an owner, and so is the index of all that is (R, S) then
    int64_t n_groups;
    int64_t n_threads;
    int64_t transition_by_row, duration_by_row, residual_by_series;  // a table for every row (residual: every series)
    int64_t n_transitions, n_laws;  // tables of transitions and of durations that a model has
    const int64_t *transition_of_row, *duration_of_row;  // (N,) which of several a row has; null: as many as rows, or 1
);

inline bool transition_varies(const Problem& p) { return p.transition_by_row || p.transition_of_row; }
inline bool duration_varies(const Problem& p) { return p.duration_by_row || p.duration_of_row; }

// The same with the bounds as its tables.
inline Problem bounded(Problem p) {
    p.initial = p.initial_bound, p.transition = p.transition_bound, p.duration = p.duration_bound;
    p.residual = p.residual_bound, p.tail_stay = p.tail_stay_bound, p.tail_leave = p.tail_leave_bound;
    return p;
}

inline int64_t restart_of(const Problem& p, int64_t pair) { return p.owners ? p.owners[pair] : pair / p.n_series; }

inline int64_t series_of(const Problem& p, int64_t pair) { return p.owners ? pair : pair % p.n_series; }

// Of a table with a row for every step of what a restart sees.
inline int64_t first_row(const Problem& p, int64_t restart, int64_t series) {
    return (p.owners ? 0 : restart * p.n_rows) + p.offsets[series];
}

// Logarithms of tables that vary are alike, but are read another way.
inline bool have_same_tables(const Problem& p, const Problem& q) {
    return p.initial == q.initial && p.transition == q.transition && p.duration == q.duration &&
           p.residual == q.residual && p.tail_stay == q.tail_stay && p.tail_leave == q.tail_leave &&
           !p.transition_by_row && !p.duration_by_row;
}

template <class F>
struct View {
    const Problem& p;
    int64_t K = p.n_states, D = p.n_durations;

    // Which of a model's tables a row has.
    int64_t transition_at(int64_t row) const { return at(p.transition_by_row, p.transition_of_row, row); }
    int64_t duration_at(int64_t row) const { return at(p.duration_by_row, p.duration_of_row, row); }

    const F* initial(int64_t r) const { return static_cast<const F*>(p.initial) + r * K; }
    const F* transition(int64_t r, int64_t row = 0) const { return transition_table(r, transition_at(row)); }
    const F* duration(int64_t r, int64_t row = 0) const { return duration_table(r, duration_at(row)); }
    const F* transition_table(int64_t r, int64_t i) const { return of(p.transition, p.n_transitions, r, i, K * K); }
    const F* duration_table(int64_t r, int64_t i) const { return of(p.duration, p.n_laws, r, i, K * D); }
    const F* residual(int64_t r, int64_t s = 0) const {
        return of(p.residual, p.residual_by_series ? p.n_series : 1, r, p.residual_by_series ? s : 0, K * D);
    }
    const F* tail_stay(int64_t r) const { return static_cast<const F*>(p.tail_stay) + r * K; }
    const F* tail_leave(int64_t r) const { return static_cast<const F*>(p.tail_leave) + r * K; }
    const F* emission(int64_t r, int64_t s) const {
        return static_cast<const F*>(p.emission) + first_row(p, r, s) * K;
    }

private:
    static int64_t at(bool by_row, const int64_t* of_row, int64_t row) { return of_row ? of_row[row] : by_row ? row : 0; }
    static const F* of(const void* tables, int64_t n, int64_t r, int64_t i, int64_t size) {
        return static_cast<const F*>(tables) + (r * n + i) * size;
    }
};

// N (restart, series) pairs, longest first, so that the lanes still running are always the first ones.
template <class F, int N>
struct Group {
    using V = typename Lanes<F, N>::V;

    View<F> view;
    int64_t K, D;
    int64_t Kp;  // states, in whole chunks
    int64_t index;  // of its lanes among all groups'
    int lane;       // the first of them
    bool closes;    // nothing else is computed of these lanes after it
    int64_t pair[N], restart[N], series[N], length[N];
    bool left[N], right[N];
    int64_t n_lanes = 0, longest, shortest;
    bool one_restart = true, any_left = false, has_tail;

    Group(const Problem& p, int64_t index, int lane = 0, bool closes = true)
        : view{p}, K(p.n_states), D(p.n_durations), Kp(whole_chunks<F, N>(K)), index(index), lane(lane), closes(closes),
          has_tail(p.tail_stay != nullptr) {
        const int64_t* lanes = p.lanes + index * full_width<F> + lane;
        for (int l = 0; l < N; ++l) {
            if (lanes[l] < 0) {
                pair[l] = -1, restart[l] = restart_of(p, lanes[0]), series[l] = series_of(p, lanes[0]), length[l] = 0;
                left[l] = right[l] = false;
                continue;
            }
            ++n_lanes;
            pair[l] = lanes[l];
            restart[l] = restart_of(p, lanes[l]);
            series[l] = series_of(p, lanes[l]);
            length[l] = p.offsets[series[l] + 1] - p.offsets[series[l]];
            left[l] = p.left_censored[series[l]];
            right[l] = p.right_censored[series[l]];
            any_left |= left[l];
            one_restart &= restart[l] == restart[0];
        }
        longest = length[0];
        shortest = length[n_lanes - 1];
    }

    int running(int64_t t) const {
        if (t < shortest) return int(n_lanes);
        int n = int(n_lanes);
        while (n > 0 && length[n - 1] <= t) --n;
        return n;
    }

    // (size,) entries of every lane's own table, as vectors.
    template <class Row>
    void spread(Row row, int64_t size, V* out) const {
        const F* tables[N] = {};
        for (int l = 0; l < N; ++l) tables[l] = row(l);
        to_lanes<F, N>(tables, size, F(0), out);
    }

    // Of the packed rows, lane l's row t.
    int64_t row(int l, int64_t t) const { return view.p.offsets[series[l]] + t; }

    // Which of several tables all lanes have at row t; it is the longest one's.
    int64_t transition_at(int64_t t) const { return view.transition_at(row(0, t)); }
    int64_t duration_at(int64_t t) const { return view.duration_at(row(0, t)); }

    // `n_rows` rows (Kp,) of the log-emissions from t on; lanes that have ended see impossible rows.
    void emissions(int64_t t, int64_t n_rows, V* out) const {
        if (N == 1 || t + n_rows > shortest) {
            for (int64_t row = 0; row < n_rows; ++row) emission(t + row, out + row * Kp);
            return;
        }
        const F* rows[N] = {};
        for (int l = 0; l < n_lanes; ++l) rows[l] = view.emission(restart[l], series[l]) + t * K;
        to_lanes<F, N>(rows, n_rows * K, -std::numeric_limits<F>::infinity(), out);
    }

    // Row t of the log-emissions; lanes that have ended see an impossible row.
    void emission(int64_t t, V* out) const {
        const int n = running(t);
        F* lanes = reinterpret_cast<F*>(out);
        for (int l = 0; l < n; ++l) {
            const F* row = view.emission(restart[l], series[l]) + t * K;
            for (int64_t j = 0; j < K; ++j) lanes[j * N + l] = row[j];
        }
        for (int l = n; l < N; ++l)
            for (int64_t j = 0; j < K; ++j) lanes[j * N + l] = -std::numeric_limits<F>::infinity();
    }
};

// Whether rows of one time have the same of several tables in all lanes.
inline bool reads_alike(const Problem& p, const int64_t* lanes, int width) {
    const auto agrees = [&](const int64_t* of_row, int64_t s, int64_t longest) {
        return !of_row || std::equal(of_row + p.offsets[s], of_row + p.offsets[s + 1], of_row + p.offsets[longest]);
    };
    const int64_t longest = series_of(p, lanes[0]);
    for (int l = 1; l < width && lanes[l] >= 0; ++l) {
        const int64_t s = series_of(p, lanes[l]);
        if (s == longest) continue;
        if (!agrees(p.transition_of_row, s, longest) || !agrees(p.duration_of_row, s, longest)) return false;
    }
    return true;
}

// Calls work(group), a narrow one where few lanes are taken: idle lanes cost as much as busy ones. Sequences that do not
// share the order of their tables are groups of their own, one after the other.
template <class F, class Work>
void with_group(const Problem& p, int64_t index, Work work) {
    constexpr int wide = full_width<F>, narrow = 16 / sizeof(F);
    const int64_t* lanes = p.lanes + index * wide;
    if (lanes[1] < 0) return work(Group<F, 1>(p, index));
    if (!reads_alike(p, lanes, wide)) {
        for (int l = 0; l < wide && lanes[l] >= 0; ++l) {
            const bool is_last = l + 1 == wide || lanes[l + 1] < 0;
            work(Group<F, 1>(p, index, l, is_last));
        }
        return;
    }
    if constexpr (narrow < wide) {
        if (lanes[narrow] < 0) return work(Group<F, narrow>(p, index));
    }
    work(Group<F, wide>(p, index));
}

}  // namespace hsmm

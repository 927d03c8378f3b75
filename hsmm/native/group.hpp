// What the caller hands over, and one lane group's view of it.
#pragma once

#include <algorithm>

#include "entries.hpp"
#include "transpose.hpp"

namespace hsmm {

// Mirrored field by field in structures.py. Tables are linear for scaled sums, else logarithmic.
struct Problem {
    int64_t n_restarts, n_series, n_rows, n_states, n_durations;
    const void* initial;     // (R, K)
    const void* transition;  // (R, K, K)
    const void* duration;    // (R, K, D); null for an HMM
    const void* residual;    // (R, K, D); null where no series is left-censored
    const void* tail_stay;   // (R, K); null without a tail slot
    const void* tail_leave;  // (R, K), 1 - tail_stay
    const void* emission;    // (R, N, K), logarithms always
    const int64_t* offsets;  // (S + 1,)
    const uint8_t* left_censored;   // (S,)
    const uint8_t* right_censored;  // (S,)
    const uint8_t* fragile;         // (R,) 1: a table entry is positive but rounds to zero, 2: one may overflow
    const int64_t* lanes;  // (n_groups, width): restart * n_series + series, longest first, -1 for an empty lane
    int64_t n_groups;
    int64_t n_threads;
    int64_t transition_varies, duration_varies, residual_varies;  // a table for every row (residual: every series)
};

template <class F>
struct View {
    const Problem& p;
    int64_t K = p.n_states, D = p.n_durations;

    const F* initial(int64_t r) const { return static_cast<const F*>(p.initial) + r * K; }
    // Tables that vary have one for every row (residual: for every series).
    const F* transition(int64_t r, int64_t row = 0) const {
        return of(p.transition, p.transition_varies, p.n_rows, r, row, K * K);
    }
    const F* duration(int64_t r, int64_t row = 0) const {
        return of(p.duration, p.duration_varies, p.n_rows, r, row, K * D);
    }
    const F* residual(int64_t r, int64_t s = 0) const {
        return of(p.residual, p.residual_varies, p.n_series, r, s, K * D);
    }
    const F* tail_stay(int64_t r) const { return static_cast<const F*>(p.tail_stay) + r * K; }
    const F* tail_leave(int64_t r) const { return static_cast<const F*>(p.tail_leave) + r * K; }
    const F* emission(int64_t r, int64_t s) const {
        return static_cast<const F*>(p.emission) + (r * p.n_rows + p.offsets[s]) * K;
    }

private:
    static const F* of(const void* tables, bool varies, int64_t n, int64_t r, int64_t i, int64_t size) {
        return static_cast<const F*>(tables) + (varies ? r * n + i : r) * size;
    }
};

// N (restart, series) pairs, longest first, so that the lanes still running are always the first ones.
template <class F, int N>
struct Group {
    using V = typename Lanes<F, N>::V;

    View<F> view;
    int64_t K, D;
    int64_t Kp;  // states, in whole chunks
    int64_t pair[N], restart[N], series[N], length[N];
    bool left[N], right[N];
    int64_t n_lanes = 0, longest, shortest;
    bool one_restart = true, any_left = false, has_tail;

    Group(const Problem& p, int64_t index) : view{p}, K(p.n_states), D(p.n_durations), Kp(whole_chunks<F, N>(K)), has_tail(p.tail_stay != nullptr) {
        const int64_t* lanes = p.lanes + index * full_width<F>;
        for (int l = 0; l < N; ++l) {
            if (lanes[l] < 0) {
                pair[l] = -1, restart[l] = lanes[0] / p.n_series, series[l] = lanes[0] % p.n_series, length[l] = 0;
                left[l] = right[l] = false;
                continue;
            }
            ++n_lanes;
            pair[l] = lanes[l];
            restart[l] = lanes[l] / p.n_series;
            series[l] = lanes[l] % p.n_series;
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
        for (int l = 0; l < N; ++l) {
            const F* table = row(l);
            F* lane = reinterpret_cast<F*>(out) + l;
            for (int64_t i = 0; i < size; ++i) lane[i * N] = table[i];
        }
    }

    // Of the packed rows: lane l's row t, or its last one if it has ended.
    int64_t row(int l, int64_t t) const {
        return view.p.offsets[series[l]] + std::max<int64_t>(0, std::min(t, length[l] - 1));
    }

    void spread_transition(int64_t t, V* out) const {
        spread([&](int l) { return view.transition(restart[l], row(l, t)); }, K * K, out);
    }

    void spread_duration(int64_t t, V* out) const {
        spread([&](int l) { return view.duration(restart[l], row(l, t)); }, K * D, out);
    }

    void spread_first(V* out) const {
        const auto law = [&](int l) {
            return left[l] ? view.residual(restart[l], series[l]) : view.duration(restart[l], row(l, 0));
        };
        spread(law, K * D, out);
    }

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

// Calls work(group), a narrow one where few lanes are taken: idle lanes cost as much as busy ones.
template <class F, class Work>
void with_group(const Problem& p, int64_t index, Work work) {
    constexpr int wide = full_width<F>, narrow = 16 / sizeof(F);
    const int64_t* lanes = p.lanes + index * wide;
    if (lanes[1] < 0) return work(Group<F, 1>(p, index));
    if constexpr (narrow < wide) {
        if (lanes[narrow] < 0) return work(Group<F, narrow>(p, index));
    }
    work(Group<F, wide>(p, index));
}

// Calls work(shared), a constant that says whether all lanes have the same stationary tables.
template <class F, int N, class Work>
void with_layout(const Group<F, N>& g, Work work) {
    if (g.one_restart && !g.view.p.transition_varies && !g.view.p.duration_varies) work(std::true_type{});
    else work(std::false_type{});
}

// A table whose entries are one number for all lanes, or a number for each.
template <class F, int N, bool Shared>
struct Table {
    using V = typename Lanes<F, N>::V;
    const F* entries;

    V operator[](int64_t i) const {
        if constexpr (Shared) return broadcast<V>(entries[i]);
        else return reinterpret_cast<const V*>(entries)[i];
    }
    template <class U>
    U chunk(int64_t i) const {
        if constexpr (std::is_same_v<U, V>) return (*this)[i];
        else return load<U>(entries + i);
    }
    Table from(int64_t i) const { return {entries + (Shared ? i : i * N)}; }
};

// The tables of one group, spread over lanes unless all lanes belong to one restart.
template <class F, int N, bool Shared>
struct Tables {
    using V = typename Lanes<F, N>::V;
    static constexpr bool spreads = !Shared || N == 1;  // where N = 1, copies are padded to whole chunks
    static constexpr int64_t beyond = N == 1 ? full_width<F> : 0;
    Buffer<V> spread_duration, spread_transition, transposed_transition, initial, first, stay, leave;
    Buffer<V> least_transition;  // (K,) smallest positive entry of each row
    Buffer<V> mass, first_mass;  // (Kp,) sums of a state's durations; tables need not be normalised
    Table<F, N, Shared> duration, transition, transposed;

    explicit Tables(const Group<F, N>& g)
        : spread_duration(spreads ? g.K * g.D + beyond : 0), spread_transition(spreads ? g.K * g.Kp : 0),
          transposed_transition(N == 1 ? g.K * g.Kp : 0), initial(g.Kp), first(g.any_left ? g.K * g.D + beyond : 0), stay(g.K),
          leave(g.K), least_transition(g.K), mass(g.Kp), first_mass(g.Kp), duration{nullptr}, transition{nullptr},
          transposed{nullptr} {
        const auto& view = g.view;
        fill_zero(initial, g.Kp);
        g.spread([&](int l) { return view.initial(g.restart[l]); }, g.K, initial.data());
        lay_out_transition(g);
        for (int64_t i = 0; i < g.K; ++i) {
            least_transition[i] = broadcast<V>(F(1));
            for (int64_t j = 0; j < g.K; ++j) {
                const V entry = transition[i * g.Kp + j];
                least_transition[i] = (entry > V{}) & (entry < least_transition[i]) ? entry : least_transition[i];
            }
        }
        if (g.has_tail) {
            g.spread([&](int l) { return view.tail_stay(g.restart[l]); }, g.K, stay.data());
            g.spread([&](int l) { return view.tail_leave(g.restart[l]); }, g.K, leave.data());
        }
        if (view.p.duration) lay_out_duration(g);
    }

    // Of the moves from t to t + 1, and of the segments that start at t.
    void read_transition(const Group<F, N>& g, int64_t t) {
        if (g.view.p.transition_varies) spread_transitions(g, t);
    }
    void read_duration(const Group<F, N>& g, int64_t t) {
        if (g.view.p.duration_varies) g.spread_duration(t, spread_duration.data());
    }

private:
    void lay_out_transition(const Group<F, N>& g) {
        if constexpr (spreads) {
            fill_zero(spread_transition, g.K * g.Kp);
            if (N == 1) fill_zero(transposed_transition, g.K * g.Kp);
            spread_transitions(g, 0);
            transition.entries = reinterpret_cast<const F*>(spread_transition.data());
            transposed.entries = reinterpret_cast<const F*>(transposed_transition.data());
        } else {
            transition.entries = g.view.transition(g.restart[0]);
        }
    }

    void spread_transitions(const Group<F, N>& g, int64_t t) {
        if constexpr (N > 1) return g.spread_transition(t, spread_transition.data());
        const F* table = g.view.transition(g.restart[0], g.row(0, t));
        for (int64_t i = 0; i < g.K; ++i)
            for (int64_t j = 0; j < g.K; ++j)
                spread_transition[i * g.Kp + j][0] = transposed_transition[j * g.Kp + i][0] = table[i * g.K + j];
    }

    void lay_out_duration(const Group<F, N>& g) {
        if (g.any_left) g.spread_first(first.data());
        if constexpr (spreads) {
            g.spread_duration(0, spread_duration.data());
            duration.entries = reinterpret_cast<const F*>(spread_duration.data());
        } else {
            duration.entries = g.view.duration(g.restart[0]);
        }
        fill_zero(mass, g.Kp);
        fill_zero(first_mass, g.Kp);
        for (int64_t j = 0; j < g.K; ++j) {
            for (int64_t d = 0; d < g.D; ++d) mass[j] += duration[j * g.D + d];
            for (int64_t d = 0; d < g.D; ++d) first_mass[j] += g.any_left ? first[j * g.D + d] : duration[j * g.D + d];
        }
    }
};

}  // namespace hsmm

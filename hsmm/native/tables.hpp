// The tables of a lane group, laid out for its kernels.
#pragma once

#include "group.hpp"

namespace hsmm {

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
          transposed_transition(N == 1 ? g.K * g.Kp : 0), initial(g.Kp),
          first(g.any_left ? g.K * g.D + beyond : 0), stay(g.K), leave(g.K), least_transition(g.K),
          mass(g.Kp), first_mass(g.Kp), duration{nullptr}, transition{nullptr},
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

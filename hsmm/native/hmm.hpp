// Forward and backward recursions of an HMM: every step is a segment, so there is nothing to remember.
#pragma once

#include "counts.hpp"
#include "moves.hpp"
#include "scale.hpp"

namespace hsmm {

template <class F, int N, bool Shared, bool Watch>
class HmmForward {
    using V = typename Lanes<F, N>::V;
    typename Lanes<F, N>::Mask lost_{};
    Tables<F, N, Shared>& tables_;
    const int64_t K_;
    Buffer<V> start_;

public:
    Scale<F, N> scale;

    HmmForward(const Group<F, N>& g, Tables<F, N, Shared>& tables)
        : tables_(tables), K_(g.K), start_(g.Kp), scale(g) {
        std::copy_n(tables.initial.data(), g.Kp, start_.data());
    }

    void step(int64_t t, V* state, V* bounds) {
        scale.weigh(t, start_.data(), [&](int64_t j, auto part, auto weight, auto bound) {
            part.store(state + j, load<decltype(weight)>(start_.data() + j) * weight);
            if (bounds) part.store(bounds + j, bound);
        });
        for (int64_t j = 0; Watch && j < K_; ++j) lost_ |= (state[j] <= V{}) & (start_[j] > V{}) & scale.allows(j);
    }

    void begin_next(int64_t t, const V* state) {
        tables_.read_transition(t);
        for (int64_t i = 0; Watch && i < K_; ++i)
            lost_ |= (state[i] * tables_.least_transition[i] <= V{}) & (state[i] > V{});
        move_on<F, N>(state, tables_.transition, K_, start_.data());
    }

    // As Forward's: whether positive mass has rounded to zero.
    bool lost(int l) const { return lost_[l] != 0; }

    void keep(int64_t, Trace<F, N>&) const {}
    void keep_last(int l, const V*, Trace<F, N>& trace) const { trace.last_end[l] = 1; }
};

// Computes from above, as Backward does.
template <class F, int N, bool Shared>
void hmm_backward(const Group<F, N>& g, Tables<F, N, Shared>& tables, const Trace<F, N>& trace,
                  Counts<F, N>& counts, StateRows<F, N>& rows) {
    using V = typename Lanes<F, N>::V;
    const int64_t K = g.K, row = g.Kp;
    Buffer<V> after(row), weighted(row), state(row);
    fill_zero(after, row);
    for (int64_t t = g.longest - 1; t >= 0; --t) {
        for (int l = g.running(t) - 1; l >= 0 && g.length[l] == t + 1; --l)
            for (int64_t j = 0; j < K; ++j) after[j][l] = 1;
        const V *weight = trace.weight.data() + t * row, *now = trace.end.data() + t * row;
        for_entries<F, N>(row, [&](int64_t j, auto part) {
            using U = typename decltype(part)::Chunk;
            const U probability = load<U>(now + j) * load<U>(after.data() + j);
            store(state.data() + j, minimum(probability, broadcast<U>(F(1))));
            store(counts.duration + j, load<U>(counts.duration + j) + probability);
            const U following = load<U>(after.data() + j), weighing = load<U>(weight + j);
            const U least = (following > 0) & (weighing > 0) ? broadcast<U>(Limits<F>::faint) : U{};
            store(weighted.data() + j, maximum(least, weighing * following));
        });
        rows.add(t, state.data());
        if (t == 0) {
            for (int64_t j = 0; j < K; ++j) {
                counts.initial[j] = now[j] * after[j];
                counts.paths += to_doubles<F, N>(tables.initial[j] * weighted[j]);
            }
            break;
        }
        counts.move_back(t - 1, tables, weighted.data(), now - row, after.data());
        if (t % steps_between_flushes == 0) counts.flush();
    }
    counts.finish();
}

}  // namespace hsmm

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
    const Tables<F, N, Shared>& tables_;
    const int64_t K_;
    Buffer<V> start_, weight_;

public:
    Scale<F, N> scale;

    HmmForward(const Group<F, N>& g, const Tables<F, N, Shared>& tables)
        : tables_(tables), K_(g.K), start_(K_), weight_(K_), scale(g) {
        std::copy_n(tables.initial.data(), K_, start_.data());
    }

    const V* weight() const { return weight_.data(); }
    V occupancy(int64_t j) const { return start_[j] * weight_[j]; }

    void step(int64_t t, V* state) {
        scale.weigh(t, start_.data(), weight_.data());
        for (int64_t j = 0; j < K_; ++j) {
            state[j] = occupancy(j);
            if constexpr (Watch) lost_ |= (state[j] <= V{}) & (start_[j] > V{}) & scale.allows(j);
        }
    }

    void begin_next(const V* state) {
        for (int64_t i = 0; Watch && i < K_; ++i)
            lost_ |= (state[i] * tables_.least_transition[i] <= V{}) & (state[i] > V{});
        move_on(state, tables_.transition, K_, start_.data());
    }

    // As Forward's: whether positive mass has rounded to zero.
    bool lost(int l) const { return lost_[l] != 0; }
};

template <class F, int N, bool Shared>
void hmm_backward(const Group<F, N>& g, const Tables<F, N, Shared>& tables, const Trace<F, N>& trace,
                  Counts<F, N>& counts, StateRows<F, N>& rows) {
    using V = typename Lanes<F, N>::V;
    const int64_t K = g.K;
    Buffer<V> after(K), weighted(K), state(K);
    fill_zero(after, K);
    for (int64_t t = g.longest - 1; t >= 0; --t) {
        for (int l = g.running(t) - 1; l >= 0 && g.length[l] == t + 1; --l)
            for (int64_t j = 0; j < K; ++j) after[j][l] = 1;
        const V *weight = trace.weight.data() + t * K, *now = trace.end.data() + t * K;
        for (int64_t j = 0; j < K; ++j) {
            state[j] = now[j] * after[j];
            counts.duration[j] += state[j];
            weighted[j] = weight[j] * after[j];
        }
        rows.add(t, [&](int64_t j) { return minimum(state[j], broadcast<V>(F(1))); });
        if (t == 0) break;
        move_back(weighted.data(), tables.transition, K, now - K, counts.transition, after.data());
        if (t % Counts<F, N>::steps_between_flushes == 0) counts.flush();
    }
    counts.flush();
    std::copy_n(state.data(), K, counts.initial.data());
}

}  // namespace hsmm

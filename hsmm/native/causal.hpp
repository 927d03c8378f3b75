// What the forward pass alone knows of every row: states, density, steps left, steps so far.
#pragma once

#include <optional>

#include "drive.hpp"
#include "threads.hpp"

namespace hsmm {

// Mirrored field by field in structures.py; any of the arrays may be null.
struct CausalOut {
    const double *survival, *residual_survival;  // (R, K, D) P(d >= n) of the tables; for `elapsed`
    double* state;                               // (R, N, K)
    double* log_density;                         // (R, N)
    double* remaining;                           // (R, N, D)
    double* elapsed;                             // (R, N, D)
    uint8_t* doubtful;                           // (R, S)
};

// Open segments by the steps since their start; a slot belongs to the row at which its segments started.
template <class F, int N>
class Ages {
    using V = typename Lanes<F, N>::V;
    const Group<F, N>& g_;
    const int64_t K_, D_;
    Buffer<V> survival_, first_survival_, stay_, ring_, tail_;

    static const F* of(const double* table, int64_t restart, int64_t size) { return table + restart * size; }

public:
    Ages(const Group<F, N>& g, const CausalOut& out)
        : g_(g), K_(g.K), D_(g.D), survival_(K_ * D_), first_survival_(K_ * D_), stay_(K_), ring_(K_ * D_), tail_(K_) {
        const int64_t size = K_ * D_;
        g.spread([&](int l) { return of(out.survival, g.restart[l], size); }, size, survival_.data());
        const auto first = [&](int l) { return of(g.left[l] ? out.residual_survival : out.survival, g.restart[l], size); };
        g.spread(first, size, first_survival_.data());
        if (g.has_tail) g.spread([&](int l) { return g.view.tail_stay(g.restart[l]); }, K_, stay_.data());
        fill_zero(ring_, size);
        fill_zero(tail_, K_);
    }

    // by_age (D,): mass over all states; with a tail its last entry holds every age from D on.
    void step(int64_t t, const V* start, const V* weight, V* by_age) {
        std::fill_n(by_age, D_, V{});
        for (int64_t j = 0; j < K_; ++j) {
            V* slot = ring_.data() + j * D_;
            for (int64_t i = 0; i < D_; ++i) slot[i] *= weight[j];
            slot[t % D_] = start[j] * weight[j];
            for (int64_t age = 1; age <= std::min(D_, t + 1); ++age) {
                const V survival = (age == t + 1 ? first_survival_ : survival_)[j * D_ + age - 1];
                const V mass = slot[(t - age + 1) % D_] * survival;
                if (g_.has_tail && age == D_) tail_[j] = fma(tail_[j] * weight[j], stay_[j], mass);
                else by_age[age - 1] += mass;
            }
            by_age[D_ - 1] += tail_[j];
        }
    }
};

template <class F, int N, class ForwardPass>
void causal_rows(const Group<F, N>& g, ForwardPass& forward, const CausalOut& out) {
    using V = typename Lanes<F, N>::V;
    // Mass lost below the range of float64, exp(-708), can come to matter after this many nats of misfit in excess of what
    // ordinary ambiguity between states costs a row.
    constexpr double dangerous = 400.0, ordinary = 0.25;
    const auto& p = g.view.p;
    const int64_t K = g.K, D = g.D;
    Buffer<V> end(K), by_step(D);
    std::optional<Ages<F, N>> ages;
    if (out.elapsed) ages.emplace(g, out);
    double excess[N] = {};
    bool endangered[N] = {};
    const auto row = [&](int l, int64_t t) { return g.restart[l] * p.n_rows + p.offsets[g.series[l]] + t; };
    const auto write = [&](double* table, int64_t size, int64_t t, const V* values) {
        const int n = g.running(t);
        for (int l = 0; l < n; ++l)
            for (int64_t i = 0; i < size; ++i) table[row(l, t) * size + i] = values[i][l];
    };
    Buffer<V> state(K);
    const auto seen = [&](int64_t t, const V* ended) {
        const int n = g.running(t);
        for (int l = 0; l < n; ++l) {
            excess[l] = forward.lost(l) ? std::max(0.0, excess[l] + forward.scale.step_deficit[l] - ordinary) : 0;
            endangered[l] |= excess[l] > dangerous;
            if (out.log_density) out.log_density[row(l, t)] = forward.scale.step_log[l];
        }
        for (int64_t j = 0; j < K; ++j) state[j] = forward.occupancy(j);
        if (out.state) write(out.state, K, t, state.data());
        if (out.remaining) {
            for (int64_t r = 1; r <= D; ++r) {
                by_step[r - 1] = V{};
                for (int64_t j = 0; j < K; ++j) by_step[r - 1] += forward.residual(j, t, r, ended);
            }
            write(out.remaining, D, t, by_step.data());
        }
        if (ages) {
            ages->step(t, forward.start(), forward.weight(), by_step.data());
            write(out.elapsed, D, t, by_step.data());
        }
    };
    const auto finish = [&](int l, const V*) {
        const bool impossible_through_loss = forward.scale.impossible[l] && forward.lost(l);
        out.doubtful[g.pair[l]] = is_suspect(g, forward, l) || endangered[l] || impossible_through_loss;
    };
    run_forward<F, N, true>(g, forward, [&](int64_t) { return end.data(); }, seen, finish);
}

inline void causal(const Problem& p, const CausalOut& out) {
    for_each_group(p.n_groups, p.n_threads, [&](int64_t index, InOrder&) {
        with_group<double>(p, index, [&](const auto& g) {
            with_segments(g, [&](auto& forward) { causal_rows(g, forward, out); });
        });
    });
}

}  // namespace hsmm

// Log-likelihoods and expected counts in scaled linear arithmetic, lane group by lane group.
#pragma once

#include "backward.hpp"
#include "drive.hpp"
#include "threads.hpp"

namespace hsmm {

struct LikelihoodOut {
    double* log_likelihood;  // (R, S)
    double* deficit;         // (R, S), see Scale::deficit
    uint8_t* lost;           // (R, S) some mass fell below the range of float64
};

template <class V>
auto row_of(Buffer<V>& rows, int64_t size) {
    return [&rows, size](int64_t t) { return rows.data() + t * size; };
}

template <class F, int N, class Pass>
void commit_counts(const Group<F, N>& g, int64_t index, const Pass& forward, const Trace<F, N>& trace,
                   const Counts<F, N>& counts, const CountsOut& out, InOrder& order) {
    for (int l = 0; l < g.n_lanes; ++l) {
        const double ended = g.right[l] ? 0 : std::log(trace.last_end[l]);
        out.log_likelihood[g.pair[l]] = forward.scale.log_likelihood(l) + ended;
        out.doubtful[g.pair[l]] =
            is_suspect(g, forward, l) || counts.doubtful(l) || !std::isfinite(out.log_likelihood[g.pair[l]]);
    }
    order.commit(index, [&] {
        for (int l = 0; l < g.n_lanes; ++l)
            if (!out.doubtful[g.pair[l]]) counts.add_to(out, l, out.series_weight ? out.series_weight[g.pair[l]] : 1.0);
    });
}

template <bool Shared, class F, int N>
void count_segments(const Group<F, N>& g, int64_t index, const CountsOut& out, InOrder& order) {
    using V = typename Lanes<F, N>::V;
    const Tables<F, N, Shared> tables(g);
    Forward<F, N, Shared, false> forward(g, tables);
    Trace<F, N> trace(g, true);
    const int64_t K = g.K, row = g.Kp;
    const auto keep = [&](int64_t t) {
        std::copy_n(forward.start(), row, trace.start.data() + t * row);
        if (g.has_tail) std::copy_n(forward.tail_mass.data(), K, trace.tail.data() + t * K);
    };
    const auto finish = [&](int l, const V* end) {
        trace.last_end[l] = ended_mass<F, N>(g, end, l);
        for (int64_t j = 0; j < K; ++j) trace.last_occupancy[j][l] = forward.occupancy(j)[l];
    };
    run_forward(g, forward, row_of(trace.end, row), row_of(trace.weight, row), keep, finish);
    Counts<F, N> counts(g);
    StateRows<F, N> rows(g, out);
    Backward<F, N, Shared>(g, tables, trace, counts).run(rows);
    commit_counts(g, index, forward, trace, counts, out, order);
}

template <bool Shared, class F, int N>
void count_steps(const Group<F, N>& g, int64_t index, const CountsOut& out, InOrder& order) {
    using V = typename Lanes<F, N>::V;
    const Tables<F, N, Shared> tables(g);
    HmmForward<F, N, Shared, false> forward(g, tables);
    Trace<F, N> trace(g, false);
    const auto finish = [&](int l, const V*) { trace.last_end[l] = 1; };
    run_forward(g, forward, row_of(trace.end, g.Kp), row_of(trace.weight, g.Kp), [](int64_t) {}, finish);
    Counts<F, N> counts(g);
    StateRows<F, N> rows(g, out);
    hmm_backward(g, tables, trace, counts, rows);
    commit_counts(g, index, forward, trace, counts, out, order);
}

template <class F>
void expected_counts(const Problem& p, const CountsOut& out) {
    for_each_group(p.n_groups, p.n_threads, [&](int64_t index, InOrder& order) {
        with_group<F>(p, index, [&](const auto& g) {
            with_layout(g, [&](auto shared) {
                if (p.duration) count_segments<shared()>(g, index, out, order);
                else count_steps<shared()>(g, index, out, order);
            });
        });
    });
}

template <bool Shared, class F, int N>
void score(const Group<F, N>& g, const LikelihoodOut& out) {
    using V = typename Lanes<F, N>::V;
    Buffer<V> end(g.Kp);
    fill_zero(end, g.Kp);
    with_forward<Shared>(g, [&](auto& forward) {
        const auto finish = [&](int l, const V* ended) {
            const double last = g.right[l] || !g.view.p.duration ? 0 : std::log(ended_mass<F, N>(g, ended, l));
            const int64_t pair = g.pair[l];
            out.log_likelihood[pair] = forward.scale.log_likelihood(l) + last;
            out.deficit[pair] = forward.scale.deficit(l) - last;
            out.lost[pair] =
                forward.lost(l) || is_suspect(g, forward, l) || !std::isfinite(out.log_likelihood[pair]);
        };
        const auto no_bounds = [](int64_t) -> V* { return nullptr; };
        run_forward(g, forward, row_of(end, 0), no_bounds, [](int64_t) {}, finish);
    });
}

inline void log_partition(const Problem& p, const LikelihoodOut& out) {
    for_each_group(p.n_groups, p.n_threads, [&](int64_t index, InOrder&) {
        with_group<double>(p, index, [&](const auto& g) {
            with_layout(g, [&](auto shared) { score<shared()>(g, out); });
        });
    });
}

}  // namespace hsmm

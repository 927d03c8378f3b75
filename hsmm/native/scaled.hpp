// Log-likelihoods and expected counts in scaled linear arithmetic, lane group by lane group.
#pragma once

#include <optional>

#include "backward.hpp"
#include "drive.hpp"
#include "threads.hpp"

namespace hsmm {

HSMM_STRUCTURE(LikelihoodOut,
    double* log_likelihood;  // (R, S)
    double* deficit;         // (R, S), see Scale::deficit
    uint8_t* lost;  // (R, S) some mass fell below the range of float64; 2: and laws of a row give out more than they get
);

template <class V>
auto row_of(Buffer<V>& rows, int64_t size) {
    return [&rows, size](int64_t t) { return rows.data() + t * size; };
}

template <class F, int N, class Pass, class Overflow>
void commit_counts(const Group<F, N>& g, const Pass& forward, const Trace<F, N>& trace, const Counts<F, N>& counts,
                   Overflow overflow, const CountsOut& out, InOrder& order) {
    const Doubles<N> sums = counts.sum_of_all();
    bool certain[N] = {};
    for (int l = 0; l < g.n_lanes; ++l) {
        const double ended = g.right[l] ? 0 : std::log(trace.last_end[l]);
        out.log_likelihood[g.pair[l]] = forward.scale.log_likelihood(l) + ended;
        certain[l] = g.view.p.fragile[g.pair[l]] <= 1 && !overflow(l) && !counts.doubtful(l) &&
                     std::isfinite(sums[l]) && std::isfinite(out.log_likelihood[g.pair[l]]);
        out.doubtful[g.pair[l]] = !certain[l];
    }
    order.commit(g.index, g.closes, [&] {
        counts.add(certain);
        for (int l = 0; l < g.n_lanes; ++l)
            if (!certain[l]) counts.blank(l);
    });
}

// Tables with positive entries raised; where none has to be, those given.
template <class F, int N, bool Shared>
class TablesFromAbove {
    const Problem problem_;
    const Group<F, N> group_;
    std::optional<Tables<F, N, Shared>> raised_;

public:
    Tables<F, N, Shared>& tables;

    TablesFromAbove(const Group<F, N>& g, Tables<F, N, Shared>& below, const CountsOut& out)
        : problem_(bounded(g.view.p)), group_(problem_, g.index, g.lane),
          tables(have_same_tables(problem_, g.view.p) ? below
                 : below.has_faint()                  ? raised_.emplace(group_, Entries::raised)
                                                      : raised_.emplace(group_, Entries::kept, &out)) {}
};

template <bool Shared, class F, int N>
void count(const Group<F, N>& g, const CountsOut& out, InOrder& order) {
    using V = typename Lanes<F, N>::V;
    Tables<F, N, Shared> tables(g, Entries::linear, &out);
    Trace<F, N> trace(g);
    with_forward<false>(g, tables, [&](auto& forward) {
        const auto keep = [&](int64_t t) { forward.keep(t, trace); };
        const auto keep_last = [&](int l, const V* end) { forward.keep_last(l, end, trace); };
        run_forward(g, forward, row_of(trace.end, g.Kp), row_of(trace.weight, g.Kp), keep, keep_last);
        const TablesFromAbove<F, N, Shared> above(g, tables, out);
        Counts<F, N> counts(g, out);
        StateRows<F, N> rows(g, out);
        if (g.view.p.duration) Backward<F, N, Shared>(g, above.tables, trace, counts).run(rows);
        else hmm_backward(g, above.tables, trace, counts, rows);
        const auto overflow = [&](int l) { return tables.overflow(l); };
        commit_counts(g, forward, trace, counts, overflow, out, order);
    });
}

template <class F>
void expected_counts(const Problem& p, const CountsOut& out) {
    for_each_group(p.n_groups, p.n_threads, [&](int64_t index, InOrder& order) {
        with_group<F>(p, index, [&](const auto& g) {
            with_layout(g, [&](auto shared) { count<shared()>(g, out, order); });
        });
    });
}

template <bool Shared, class F, int N>
void score(const Group<F, N>& g, const LikelihoodOut& out) {
    using V = typename Lanes<F, N>::V;
    Tables<F, N, Shared> tables(g, Entries::watched);
    Buffer<V> end(g.Kp);
    fill_zero(end, g.Kp);
    with_forward<true>(g, tables, [&](auto& forward) {
        const auto finish = [&](int l, const V* ended) {
            const double last = g.right[l] || !g.view.p.duration ? 0 : std::log(mass_of<F, N>(g, ended, l));
            const int64_t pair = g.pair[l];
            out.log_likelihood[pair] = forward.scale.log_likelihood(l) + last;
            out.deficit[pair] = forward.scale.deficit(l) - last;
            const bool finite = std::isfinite(out.log_likelihood[pair]);
            const bool rounded = g.view.p.fragile[pair] || tables.rounded(l) || tables.overflow(l);
            out.lost[pair] = forward.lost(l) || rounded || !finite ? (tables.exceeds_one(l) ? 2 : 1) : 0;
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

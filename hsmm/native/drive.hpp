// Running a forward pass over a group, and judging what it may have lost.
#pragma once

#include "forward.hpp"
#include "hmm.hpp"

namespace hsmm {

// An entry that rounds to zero in the tables could have been the only way out of a collapse.
template <class F, int N, class ForwardPass>
bool is_suspect(const Group<F, N>& g, const ForwardPass& forward, int l) {
    const uint8_t fragile = g.view.p.fragile[g.pair[l]];
    return fragile > 1 || (fragile && forward.scale.collapsed[l]);
}

template <class F, int N>
double ended_mass(const Group<F, N>& g, const typename Lanes<F, N>::V* end, int l) {
    double sum = 0;
    for (int64_t j = 0; j < g.K; ++j) sum += double(end[j][l]);
    return sum;
}

// Calls seen(t) after every row and done(lane, end) at every lane's last row. Ends go to rows end_of(t), bounds of the
// weights to bounds_of(t).
template <class F, int N, class ForwardPass, class EndOf, class BoundsOf, class Seen, class Done>
void run_forward(const Group<F, N>& g, ForwardPass& forward, EndOf end_of, BoundsOf bounds_of, Seen seen, Done done) {
    for (int64_t t = 0; t < g.longest; ++t) {
        auto* end = end_of(t);
        forward.step(t, end, bounds_of(t));
        seen(t);
        for (int l = g.running(t) - 1; l >= 0 && g.length[l] == t + 1; --l) done(l, end);
        if (t + 1 < g.longest) forward.begin_next(end);
    }
}

// Calls work(forward) with the forward pass that fits the group's tables.
template <bool Shared, class F, int N, class Work>
void with_forward(const Group<F, N>& g, Work work) {
    const Tables<F, N, Shared> tables(g);
    if (g.view.p.duration) {
        Forward<F, N, Shared, true> forward(g, tables);
        work(forward);
    } else {
        HmmForward<F, N, Shared, true> forward(g, tables);
        work(forward);
    }
}

}  // namespace hsmm

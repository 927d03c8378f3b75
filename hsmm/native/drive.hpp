// Running the forward pass that fits a group.
#pragma once

#include "forward.hpp"
#include "hmm.hpp"

namespace hsmm {

// Calls seen(t) after every row and done(lane, end) at every lane's last row. Ends go to rows end_of(t), bounds of the
// weights to bounds_of(t).
template <class F, int N, class ForwardPass, class EndOf, class BoundsOf, class Seen, class Done>
void run_forward(const Group<F, N>& g, ForwardPass& forward, EndOf end_of, BoundsOf bounds_of, Seen seen, Done done) {
    for (int64_t t = 0; t < g.longest; ++t) {
        auto* end = end_of(t);
        forward.step(t, end, bounds_of(t));
        seen(t);
        for (int l = g.running(t) - 1; l >= 0 && g.length[l] == t + 1; --l) done(l, end);
        if (t + 1 < g.longest) forward.begin_next(t, end);
    }
}

// Calls work(forward) with the forward pass that fits the group's tables.
template <bool Watch, bool Shared, class F, int N, class Work>
void with_forward(const Group<F, N>& g, Tables<F, N, Shared>& tables, Work work) {
    if (g.view.p.duration) {
        Forward<F, N, Shared, Watch> forward(g, tables);
        work(forward);
    } else {
        HmmForward<F, N, Shared, Watch> forward(g, tables);
        work(forward);
    }
}

}  // namespace hsmm

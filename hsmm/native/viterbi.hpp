// The most probable segments: forward.hpp with (max, +) for (+, ×), then a walk back over the stored scores.
//
// No duration pointers are kept: the walk repeats each maximum over durations on the decoded path only.
#pragma once

#include "tables.hpp"
#include "logs.hpp"

namespace hsmm {

HSMM_STRUCTURE(PathsOut,
    double* log_probability;                     // (R, S)
    int64_t* states;                             // (R, N)
);

template <int N, bool Shared>
class Viterbi {
    using F = double;
    using V = typename Lanes<F, N>::V;
    using Integers = typename Lanes<F, N>::Mask;
    static constexpr F impossible = -std::numeric_limits<F>::infinity();

    struct Segment {
        F score = impossible;
        int64_t state = 0, start = 0;

        void improve(F candidate, int64_t candidate_state, int64_t candidate_start) {
            if (candidate > score) *this = {candidate, candidate_state, candidate_start};
        }
    };

    const Group<F, N>& g_;
    Tables<F, N, Shared>& tables_;
    const int64_t K_, D_;
    Buffer<V> ring_, tail_, emission_, start_, end_, tail_score_;
    Buffer<Integers> tail_start_;
    Buffer<F> survival_;  // (K, D)
    int64_t survival_of_ = -1;

    template <class Row>
    static void pass(V* slot, Row duration, int64_t n, V emission, V entering) {
        for_entries<F, N>(n, [&](int64_t i, auto part) {
            using U = typename decltype(part)::Chunk;
            const U entered = widen<U>(entering) + duration.template chunk<U>(i);
            part.store(slot + i, maximum(load<U>(slot + i), entered) + widen<U>(emission));
        });
    }

    template <class Row>
    void advance(int64_t j, int64_t t, Row duration) {
        const int64_t now = t % D_;
        V* slot = ring_.data() + j * D_;
        V& end = end_[t * K_ + j];
        const V emission = emission_[j], entering = start_[t * K_ + j];
        end = maximum(slot[now], entering + duration[0]) + emission;
        slot[now] = broadcast<V>(impossible);
        pass(slot + now + 1, duration.from(1), D_ - now - 1, emission, entering);
        pass(slot, duration.from(D_ - now), now, emission, entering);
        if (!g_.has_tail) return;
        V& leaving = D_ == 1 ? end : slot[(now + D_ - 1) % D_];
        const V stayed = tail_[j] + emission;
        const Integers previous = t > 0 ? tail_start_[(t - 1) * K_ + j] : Integers{};
        tail_start_[t * K_ + j] = stayed >= leaving ? previous : Integers{} + t;
        const V score = maximum(stayed, leaving);
        tail_score_[t * K_ + j] = score;
        tail_[j] = score + tables_.stay[j];
        leaving = score + tables_.leave[j];
    }

    void begin(int64_t t) {
        tables_.read_transition(t - 1);
        for (int64_t j = 0; j < K_; ++j) {
            V best = broadcast<V>(impossible);
            for (int64_t i = 0; i < K_; ++i)
                best = maximum(best, end_[(t - 1) * K_ + i] + tables_.transition[i * g_.Kp + j]);
            start_[t * K_ + j] = best;
        }
    }

    // Log-law (D,) of a segment of state j that starts at t.
    const F* law(int l, int64_t t, int64_t j) const {
        const auto& view = g_.view;
        const bool residual = t == 0 && g_.left[l];
        const int64_t r = g_.restart[l];
        const F* laws = residual ? view.residual(r, g_.series[l]) : view.duration(r, g_.row(l, t));
        return laws + j * D_;
    }

    // The best segment of state j whose last visible row is `last`; `weight(start, n)` is that of its length.
    template <class Weight>
    void improve(Segment& best, int l, int64_t j, int64_t last, Weight weight, F leave_tail) const {
        const F* rows = g_.view.emission(g_.restart[l], g_.series[l]);
        const int64_t direct = std::min(g_.has_tail ? D_ - 1 : D_, last + 1);
        F emission = 0;
        for (int64_t n = 1; n <= direct; ++n) {
            const int64_t start = last - n + 1;
            emission += rows[start * K_ + j];
            if (emission == impossible) return;
            best.improve(start_[start * K_ + j][l] + weight(start, n) + emission, j, start);
        }
        const int64_t left = last - D_ + 1;
        if (g_.has_tail && left >= 0)
            best.improve(tail_score_[left * K_ + j][l] + leave_tail + emission, j, tail_start_[left * K_ + j][l]);
    }

    // Log P(d >= n) (D,) of all segments of state j but a left-censored one; null where it depends on their start.
    const F* later_survival(int l, int64_t j) {
        if (duration_varies(g_.view.p)) return nullptr;
        if (survival_of_ != g_.restart[l])
            for (int64_t i = 0; i < K_; ++i)
                logs::sums_from(g_.view.duration(g_.restart[l]) + i * D_, D_, survival_.data() + i * D_);
        survival_of_ = g_.restart[l];
        return survival_.data() + j * D_;
    }

    Segment last_segment(int l) {
        const int64_t last = g_.length[l] - 1;
        Segment best;
        for (int64_t j = 0; j < K_; ++j) {
            if (!g_.right[l]) {
                if (end_[last * K_ + j][l] > best.score) best = ended_segment(l, j, last);
                continue;
            }
            const F* later = later_survival(l, j);
            const auto survival = [&](int64_t start, int64_t n) {
                const bool of_later = later && !(start == 0 && g_.left[l]);
                return of_later ? later[n - 1] : logs::sum_scalar(law(l, start, j) + n - 1, D_ - n + 1);
            };
            improve(best, l, j, last, survival, F(0));
        }
        return best;
    }

    Segment ended_segment(int l, int64_t j, int64_t last) const {
        const auto ended = [&](int64_t start, int64_t n) { return law(l, start, j)[n - 1]; };
        Segment best;
        improve(best, l, j, last, ended, g_.has_tail ? tables_.leave[j][l] : F(0));
        return best;
    }

    int64_t predecessor(int l, int64_t j, int64_t last) const {
        const F* transition = g_.view.transition(g_.restart[l], g_.row(l, last));
        int64_t best = 0;
        F score = impossible;
        for (int64_t i = 0; i < K_; ++i) {
            const F candidate = end_[last * K_ + i][l] + transition[i * K_ + j];
            if (candidate > score) score = candidate, best = i;
        }
        return best;
    }

    void walk_back(int l, const PathsOut& out) {
        const auto& p = g_.view.p;
        int64_t* states = out.states + g_.restart[l] * p.n_rows + p.offsets[g_.series[l]];
        int64_t last = g_.length[l] - 1;
        Segment segment = last_segment(l);
        out.log_probability[g_.pair[l]] = segment.score;
        if (segment.score == impossible) {
            std::fill_n(states, last + 1, int64_t(-1));
            return;
        }
        for (;;) {
            std::fill(states + segment.start, states + last + 1, segment.state);
            if (segment.start == 0) return;
            last = segment.start - 1;
            segment = ended_segment(l, predecessor(l, segment.state, segment.start - 1), last);
        }
    }

public:
    Viterbi(const Group<F, N>& g, Tables<F, N, Shared>& tables)
        : g_(g), tables_(tables), K_(g.K), D_(g.D), ring_(K_ * D_ + full_width<F>), tail_(K_), emission_(K_),
          start_(g.longest * K_), end_(g.longest * K_), tail_score_(g.has_tail ? g.longest * K_ : 0),
          tail_start_(g.has_tail ? g.longest * K_ : 0), survival_(K_ * D_) {
        std::fill_n(ring_.data(), K_ * D_ + full_width<F>, broadcast<V>(impossible));
        std::fill_n(tail_.data(), K_, broadcast<V>(impossible));
    }

    void run(const PathsOut& out) {
        const Table<F, N, false> first{reinterpret_cast<const F*>(tables_.first.data())};
        std::copy_n(tables_.initial.data(), K_, start_.data());
        for (int64_t t = 0; t < g_.longest; ++t) {
            if (t > 0) begin(t);
            tables_.read_duration(t);
            g_.emission(t, emission_.data());
            for (int64_t j = 0; j < K_; ++j)
                t == 0 && g_.any_left ? advance(j, t, first.from(j * D_))
                                      : advance(j, t, tables_.duration.from(j * D_));
        }
        for (int l = 0; l < g_.n_lanes; ++l) walk_back(l, out);
    }
};

template <bool Shared, int N>
void decode(const Group<double, N>& g, const PathsOut& out) {
    Tables<double, N, Shared> tables(g, Entries::logarithms);
    Viterbi<N, Shared>(g, tables).run(out);
}

inline void viterbi(const Problem& p, const PathsOut& out) {
    for_each_group(p.n_groups, p.n_threads, [&](int64_t index, InOrder&) {
        with_group<double>(p, index, [&](const auto& g) {
            with_layout(g, [&](auto shared) { decode<shared()>(g, out); });
        });
    });
}

}  // namespace hsmm

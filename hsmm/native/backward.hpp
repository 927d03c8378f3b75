// Backward recursion over the steps a segment has left: p(data after t | state, steps left) / scale, and counts.
//
// Mirrors forward.hpp: the same ring slots, and a value of its own for the tail slot. All is computed from above: weights
// and tables are bounds and nothing positive becomes zero, so that Counts::paths is one only if nothing was lost.
#pragma once

#include "counts.hpp"
#include "moves.hpp"

namespace hsmm {

template <class F, int N, bool Shared>
class Backward {
    using V = typename Lanes<F, N>::V;
    using Mask = typename Lanes<F, N>::Mask;

    const Group<F, N>& g_;
    Tables<F, N, Shared>& tables_;
    const Trace<F, N>& trace_;
    Counts<F, N>& counts_;
    const int64_t K_, D_;
    const bool by_row_;  // durations
    Mask left_{};        // lanes whose first segment began before their first row
    Buffer<V> ring_, tail_, after_, began_, starting_, probability_;
    Buffer<Doubles<N>> state_;  // (K,) carried in float64 because it is a long sum of differences

    // Zero only where there is no way.
    static V at_least_faint(V value, Mask possible) {
        return maximum(possible ? broadcast<V>(Limits<F>::faint) : V{}, value);
    }

    // Counts of one row are of the segments themselves; sums over rows still lack the table's factor.
    template <bool OneRow, class Row>
    static void pass(V* slot, V* count, Row duration, int64_t n, V weight, V entering, Sum<F, N>& weighed) {
        const V faint = at_least_faint(V{}, weight > 0);
        weighed.add(n, [&](int64_t i, auto part, auto& sum) {
            using U = typename decltype(part)::Chunk;
            const U value = load<U>(slot + i), law = duration.template chunk<U>(i);
            sum = fma(part.only(value), part.only(law), sum);
            part.store(count + i, OneRow ? widen<U>(entering) * (value * law)
                                         : fma(widen<U>(entering), value, load<U>(count + i)));
            part.store(slot + i, maximum(minimum(value, widen<U>(faint)), value * widen<U>(weight)));
        });
    }

    // Σ_r p(r) B(r) over the ring, weighed; counts the segments entered here and carries the ring over row t.
    template <bool OneRow>
    V recede(int64_t j, int64_t t, V weight, V entering) {
        const int64_t now = t % D_;
        const auto duration = tables_.duration.from(j * D_);
        V *slot = ring_.data() + j * D_, *count = counts_.duration + j * D_;
        const V counted = OneRow ? entering * counts_.series_weight : entering;
        Sum<F, N> weighed;
        pass<OneRow>(slot + now, count, duration, D_ - now, weight, counted, weighed);
        pass<OneRow>(slot, count + (D_ - now), duration.from(D_ - now), now, weight, counted, weighed);
        const V sum = weighed.total();
        return at_least_faint(sum * weight, (sum > 0) & (weight > 0));
    }

    // As recede, to the bit, for lanes that begin with a segment; in left-censored ones the first counts as residual.
    V recede_to_first(int64_t j, V weight, V entering) {
        const V *slot = ring_.data() + j * D_, *law = tables_.first.data() + j * D_;
        V* count = counts_.duration + j * D_;
        const V counted = entering * counts_.series_weight;
        for (int64_t r = 0; r < D_; ++r) {
            const V of_row = by_row_ ? counted * (slot[r] * law[r]) : fma(entering, slot[r], count[r]);
            count[r] = left_ ? (by_row_ ? V{} : count[r]) : of_row;
            V& residual = counts_.residual[j * D_ + r];
            residual = left_ ? fma(entering, slot[r], residual) : residual;
        }
        const V sum = sum_entries<F, N>(D_, [&](int64_t r, auto part, auto& sum) {
            using U = typename decltype(part)::Chunk;
            sum = fma(part.only(load<U>(slot + r)), part.only(load<U>(law + r)), sum);
        });
        return at_least_faint(sum * weight, (sum > 0) & (weight > 0));
    }

    // The last row of lane l: an open segment may go on if the lane is right-censored, else it must end here.
    void enter(int l, int64_t t) {
        const F ended = g_.right[l] ? F(1) : F(1 / trace_.last_end[l]);
        for (int64_t j = 0; j < K_; ++j) {
            const F end = trace_.end[t * g_.Kp + j][l] * ended;
            state_[j][l] = g_.right[l] ? double(trace_.last_occupancy[j][l]) : double(end);
            began_[j][l] = 0;
            after_[j][l] = ended;
            for (int64_t r = 0; r < D_; ++r) ring_[j * D_ + r][l] = g_.right[l] ? F(1) : F(0);
            ring_[j * D_ + t % D_][l] = ended;
            if (!g_.has_tail) continue;
            const bool ends_now = D_ == 1 && !g_.right[l];
            const F leaving = tables_.leave[j][l] > 0 ? std::max(Limits<F>::faint, tables_.leave[j][l] * ended) : F(0);
            tail_[j][l] = g_.right[l] ? F(1) : ends_now ? leaving : F(0);
            if (ends_now) counts_.leave[j][l] += end;
        }
    }

    void update_state(int64_t t) {
        const V* end = trace_.end.data() + t * g_.Kp;
        for (int64_t j = 0; j < K_; ++j) {
            const V ended = end[j] * after_[j];
            state_[j] += to_doubles<F, N>(ended) - to_doubles<F, N>(began_[j]);
        }
    }

    void recede_tail(int64_t j, int64_t t) {
        const V weight = trace_.weight[t * g_.Kp + j], stay = tables_.stay[j], leave = tables_.leave[j];
        const V leaving = D_ == 1 ? after_[j] : ring_[j * D_ + (t + D_ - 2) % D_];
        const V stayed = weight * tail_[j] * stay, left = leave * leaving;
        const V before = trace_.tail[(t - 1) * K_ + j];
        counts_.stay[j] = fma(before, stayed, counts_.stay[j]);
        counts_.leave[j] = fma(before, left, counts_.leave[j]);
        const Mask stays = (weight > 0) & (tail_[j] > 0) & (stay > 0), leaves = (leave > 0) & (leaving > 0);
        tail_[j] = at_least_faint(stayed + left, stays | leaves);
    }

    void end_previous(int64_t t) {
        const V* end = trace_.end.data() + (t - 1) * g_.Kp;
        counts_.move_back(t - 1, tables_, starting_.data(), end, after_.data());
        for (int64_t i = 0; i < K_; ++i) {
            after_[i] = at_least_faint(after_[i], after_[i] > 0);
            if (g_.has_tail) recede_tail(i, t);
            ring_[i * D_ + (t - 1) % D_] = after_[i];
        }
    }

    void step(int64_t t) {
        const V *weight = trace_.weight.data() + t * g_.Kp, *start = trace_.start.data() + t * g_.Kp;
        tables_.read_duration(t);
        counts_.open_segments(t);
        for (int64_t j = 0; j < K_; ++j) {
            if (g_.has_tail) ring_[j * D_ + (t + D_ - 1) % D_] = tail_[j];
            const V entering = start[j] * weight[j];
            starting_[j] = t == 0 && g_.any_left ? recede_to_first(j, weight[j], entering)
                         : by_row_               ? recede<!Shared>(j, t, weight[j], entering)
                                                 : recede<false>(j, t, weight[j], entering);
            began_[j] = start[j] * starting_[j];
        }
        counts_.close_segments(t);
        if (t > 0) end_previous(t);
    }

public:
    Backward(const Group<F, N>& g, Tables<F, N, Shared>& tables, const Trace<F, N>& trace, Counts<F, N>& counts)
        : g_(g), tables_(tables), trace_(trace), counts_(counts), K_(g.K), D_(g.D), by_row_(g.view.p.duration_by_row),
          ring_(K_ * D_ + full_width<F>), tail_(K_), after_(g.Kp), began_(K_), starting_(g.Kp),
          probability_(g.Kp), state_(K_) {
        fill_zero(ring_, K_ * D_ + full_width<F>);
        fill_zero(tail_, K_);
        for (auto* x : {&after_, &starting_, &probability_}) fill_zero(*x, g.Kp);
        for (int l = 0; l < g.n_lanes; ++l) left_[l] = g.left[l] ? -1 : 0;
        fill_zero(began_, K_);
        fill_zero(state_, K_);
    }

    void run(StateRows<F, N>& rows) {
        for (int64_t t = g_.longest - 1; t >= 0; --t) {
            update_state(t);
            for (int l = g_.running(t) - 1; l >= 0 && g_.length[l] == t + 1; --l) enter(l, t);
            for (int64_t j = 0; j < K_; ++j) {
                const V state = __builtin_convertvector(state_[j], V);
                const V possible = trace_.weight[t * g_.Kp + j] > 0 ? state : V{};
                probability_[j] = minimum(maximum(possible, V{}), broadcast<V>(F(1)));
            }
            rows.add(t, probability_.data());
            step(t);
            if (t % steps_between_flushes == 0) counts_.flush();
        }
        counts_.finish();
        std::copy_n(began_.data(), K_, counts_.initial.data());
        for (int64_t j = 0; j < K_; ++j) counts_.paths += to_doubles<F, N>(tables_.initial[j] * starting_[j]);
    }
};

}  // namespace hsmm

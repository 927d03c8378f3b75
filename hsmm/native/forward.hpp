// Forward recursion over the steps a segment has left: p(state, steps left | data so far), scaled.
//
// Ring slot e = (t + r - 1) mod D holds the mass with r steps left at t, so that time passing moves nothing.
// With a tail slot, r = D is held apart, and what leaves it enters the ring with D - 1 steps left.
#pragma once

#include "moves.hpp"
#include "scale.hpp"

namespace hsmm {

//
// Watch: notice, at some cost, when positive mass rounds to zero. A backward pass makes that unnecessary.
template <class F, int N, bool Shared, bool Watch>
class Forward {
    using V = typename Lanes<F, N>::V;
    using Mask = typename Lanes<F, N>::Mask;

    const Group<F, N>& g_;
    const Tables<F, N, Shared>& tables_;
    const int64_t K_, D_;
    Mask lost_now_{}, lost_{};
    Buffer<V> ring_, open_, start_, occupancy_, tail_, weight_;

    template <class Row>
    V moved(const V& slot, Row duration, int64_t i, V weight, V entering) {
        const V mass = fma(weight, slot, entering * duration[i]);
        if constexpr (Watch) lost_now_ |= (mass <= V{}) & ((slot > V{}) | ((entering > V{}) & (duration[i] > V{})));
        return mass;
    }

    template <class Row>
    V pass(V* slot, Row duration, int64_t n, V weight, V entering, V sum) {
        V a0 = sum, a1{}, a2{}, a3{};
        int64_t i = 0;
        for (; i + 3 < n; i += 4) {
            const V v0 = moved(slot[i], duration, i, weight, entering);
            const V v1 = moved(slot[i + 1], duration, i + 1, weight, entering);
            const V v2 = moved(slot[i + 2], duration, i + 2, weight, entering);
            const V v3 = moved(slot[i + 3], duration, i + 3, weight, entering);
            slot[i] = v0, slot[i + 1] = v1, slot[i + 2] = v2, slot[i + 3] = v3;
            a0 += v0, a1 += v1, a2 += v2, a3 += v3;
        }
        for (; i < n; ++i) {
            slot[i] = moved(slot[i], duration, i, weight, entering);
            a0 += slot[i];
        }
        return (a0 + a1) + (a2 + a3);
    }

    // Returns the mass of state j that ends at t; what stays open is left in open_[j].
    template <class Row>
    V advance(int64_t j, int64_t t, Row duration) {
        const int64_t now = t % D_;
        V* slot = ring_.data() + j * D_;
        const V weight = weight_[j], entering = weight * start_[j];
        if constexpr (Watch) lost_now_ = (entering <= V{}) & (start_[j] > V{});
        V end = moved(slot[now], duration, 0, weight, entering);
        slot[now] = V{};
        V open = pass(slot + now + 1, duration.from(1), D_ - now - 1, weight, entering, V{});
        open = pass(slot, duration.from(D_ - now), now, weight, entering, open);
        if (g_.has_tail) {
            const V stayed = weight * tail_[j];
            V* leaving = slot + (now + D_ - 1) % D_;
            const V mass = stayed + (D_ == 1 ? end : *leaving);
            tail_mass[j] = mass;
            if constexpr (Watch) lost_now_ |= (mass <= V{}) & (tail_[j] > V{});
            tail_[j] = mass * tables_.stay[j];
            if (D_ == 1) {
                end = mass * tables_.leave[j];
                open = tail_[j];
            } else {
                *leaving = mass * tables_.leave[j];
                open += stayed;
            }
        }
        if constexpr (Watch) lost_ |= lost_now_ & scale.allows(j);
        open_[j] = open;
        return end;
    }

public:
    Scale<F, N> scale;
    Buffer<V> tail_mass;  // in the tail slot at t

    Forward(const Group<F, N>& g, const Tables<F, N, Shared>& tables)
        : g_(g), tables_(tables), K_(g.K), D_(g.D), ring_(K_ * D_), open_(K_), start_(K_), occupancy_(K_), tail_(K_),
          weight_(K_), scale(g), tail_mass(K_) {
        fill_zero(ring_, K_ * D_);
        fill_zero(open_, K_);
        fill_zero(tail_, K_);
        std::copy_n(tables.initial.data(), K_, start_.data());
    }

    const V* start() const { return start_.data(); }    // begins at t (before step t)
    const V* weight() const { return weight_.data(); }  // of the emissions at t

    V occupancy(int64_t j) const { return occupancy_[j] * weight_[j]; }

    void step(int64_t t, V* end) {
        const V* mass = t == 0 ? tables_.first_mass.data() : tables_.mass.data();
        for (int64_t j = 0; j < K_; ++j) occupancy_[j] = fma(start_[j], mass[j], open_[j]);
        scale.weigh(t, occupancy_.data(), weight_.data());
        const Table<F, N, false> first{reinterpret_cast<const F*>(tables_.first.data())};
        for (int64_t j = 0; j < K_; ++j)
            end[j] = t == 0 && g_.any_left ? advance(j, t, first.from(j * D_)) : advance(j, t, tables_.duration.from(j * D_));
    }

    void begin_next(const V* end) {
        for (int64_t i = 0; Watch && i < K_; ++i)
            lost_ |= (end[i] * tables_.least_transition[i] <= V{}) & (end[i] > V{});
        move_on(end, tables_.transition, K_, start_.data());
    }

    bool lost(int l) const { return lost_[l] != 0; }
};

}  // namespace hsmm

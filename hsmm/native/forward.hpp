// Forward recursion over the steps a segment has left: p(state, steps left | data so far), scaled.
//
// Ring slot e = (t + r - 1) mod D holds the mass with r steps left at t, so that time passing moves nothing.
// With a tail slot, r = D is held apart, and what leaves it enters the ring with D - 1 steps left.
#pragma once

#include "counts.hpp"
#include "moves.hpp"
#include "scale.hpp"

namespace hsmm {

// Watch: notice, at some cost, when positive mass rounds to zero. A backward pass makes that unnecessary.
template <class F, int N, bool Shared, bool Watch>
class Forward {
    using V = typename Lanes<F, N>::V;
    using Mask = typename Lanes<F, N>::Mask;

    // Of every number in a chunk, whether it was positive and has become zero.
    template <class U>
    using Lost = decltype(U{} > U{});

    const Group<F, N>& g_;
    Tables<F, N, Shared>& tables_;
    const int64_t K_, D_;
    Mask lost_now_{}, lost_{};
    Buffer<V> ring_, open_, occupancy_, weight_;
    Buffer<V> start_;             // begins at t (before step t)
    Buffer<V> tail_, tail_mass_;  // stays in the tail slot, is in it at t

    // One entry of the ring, carried over a row and joined by what enters.
    template <class U, class Row>
    static U moved(const V* slot, Row duration, V weight, V entering, Lost<U>& lost) {
        const U before = load<U>(slot), joining = duration.template chunk<U>(0), entered = widen<U>(entering);
        const U mass = fma(widen<U>(weight), before, entered * joining);
        if constexpr (Watch) lost |= (mass <= U{}) & ((before > U{}) | ((entered > U{}) & (joining > U{})));
        return mass;
    }

    template <class Row>
    void pass(V* slot, Row duration, int64_t n, V weight, V entering, Sum<F, N>& open) {
        using Flags = Lost<Chunk<F, N>>;
        Flags lost{};
        open.add(n, [&](int64_t i, auto part, auto& sum) {
            using U = typename decltype(part)::Chunk;
            Flags lost_here{};
            const U mass = moved<U>(slot + i, duration.from(i), weight, entering, lost_here);
            if constexpr (Watch) lost |= (Flags)part.only((U)lost_here);
            part.store(slot + i, mass);
            sum += part.only(mass);
        });
        if constexpr (std::is_same_v<Flags, Mask>) lost_now_ |= lost;
        else lost_now_ |= any(lost) ? ~Mask{} : Mask{};
    }

    // What is in the tail slot stays there, or leaves for the slot of D - 1 steps left; where D = 1, it ends.
    void pass_tail(int64_t j, V weight, V& leaving, V& end, V& open) {
        const V stayed = weight * tail_[j], mass = stayed + (D_ == 1 ? end : leaving);
        tail_mass_[j] = mass;
        const V stay = tables_.stay[j], leave = tables_.leave[j], left = mass * leave;
        if constexpr (Watch) lost_now_ |= (mass <= V{}) & (tail_[j] > V{});
        tail_[j] = mass * stay;
        if constexpr (Watch) {
            const Mask stay_lost = (tail_[j] <= V{}) & (stay > V{}), leave_lost = (left <= V{}) & (leave > V{});
            lost_now_ |= (mass > V{}) & (stay_lost | leave_lost);
        }
        (D_ == 1 ? end : leaving) = left;
        open = D_ == 1 ? tail_[j] : open + stayed;
    }

    // Returns the mass of state j that ends at t; what stays open is left in open_[j].
    template <class Row>
    V advance(int64_t j, int64_t t, Row duration) {
        const int64_t now = t % D_;
        V* slot = ring_.data() + j * D_;
        const V weight = weight_[j], entering = weight * start_[j];
        if constexpr (Watch) lost_now_ = (entering <= V{}) & (start_[j] > V{});
        V end = moved<V>(slot + now, duration, weight, entering, lost_now_);
        slot[now] = V{};
        Sum<F, N> still_open;
        pass(slot + now + 1, duration.from(1), D_ - now - 1, weight, entering, still_open);
        pass(slot, duration.from(D_ - now), now, weight, entering, still_open);
        V open = still_open.total();
        if (g_.has_tail) pass_tail(j, weight, slot[(now + D_ - 1) % D_], end, open);
        if constexpr (Watch) lost_ |= lost_now_ & scale.allows(j);
        open_[j] = open;
        return end;
    }

public:
    Scale<F, N> scale;

    Forward(const Group<F, N>& g, Tables<F, N, Shared>& tables)
        : g_(g), tables_(tables), K_(g.K), D_(g.D), ring_(K_ * D_ + full_width<F>), open_(g.Kp), occupancy_(g.Kp),
          weight_(g.Kp), start_(g.Kp), tail_(K_), tail_mass_(K_), scale(g) {
        fill_zero(ring_, K_ * D_ + full_width<F>);
        fill_zero(open_, g.Kp);
        fill_zero(tail_, K_);
        std::copy_n(tables.initial.data(), g.Kp, start_.data());
    }

    // `bounds` (Kp,), if wanted, are those of Scale::weigh.
    void step(int64_t t, V* end, V* bounds) {
        tables_.read_duration(t);
        const V* mass = t == 0 ? tables_.first_mass.data() : tables_.mass;
        for_entries<F, N>(g_.Kp, [&](int64_t j, auto part) {
            using U = typename decltype(part)::Chunk;
            store(occupancy_.data() + j, fma(load<U>(start_.data() + j), load<U>(mass + j), load<U>(open_.data() + j)));
        });
        scale.weigh(t, occupancy_.data(), [&](int64_t j, auto part, auto weight, auto bound) {
            part.store(weight_.data() + j, weight);
            if (bounds) part.store(bounds + j, bound);
        });
        const Table<F, N, false> first{reinterpret_cast<const F*>(tables_.first.data())};
        for (int64_t j = 0; j < K_; ++j)
            end[j] = t == 0 && g_.any_left ? advance(j, t, first.from(j * D_))
                                           : advance(j, t, tables_.duration.from(j * D_));
    }

    // From t to t + 1.
    void begin_next(int64_t t, const V* end) {
        tables_.read_transition(t);
        for (int64_t i = 0; Watch && i < K_; ++i)
            lost_ |= (end[i] * tables_.least_transition[i] <= V{}) & (end[i] > V{});
        move_on<F, N>(end, tables_.transition, K_, start_.data());
    }

    bool lost(int l) const { return lost_[l] != 0; }

    void keep(int64_t t, Trace<F, N>& trace) const {
        std::copy_n(start_.data(), g_.Kp, trace.start.data() + t * g_.Kp);
        if (g_.has_tail) std::copy_n(tail_mass_.data(), K_, trace.tail.data() + t * K_);
    }

    void keep_last(int l, const V* end, Trace<F, N>& trace) const {
        trace.last_end[l] = mass_of<F, N>(g_, end, l);
        for (int64_t j = 0; j < K_; ++j) trace.last_occupancy[j][l] = (occupancy_[j] * weight_[j])[l];
    }
};

}  // namespace hsmm

// Which lane does what: a sequence takes STATES * SLICES lanes, lane = sequence, slice, state; each keeps LENGTH residuals.
//
// Compiled for one shape: REAL, STATES (K), DURATIONS (D), SLICES, TAIL.
#pragma once

#include "tables.hpp"

using Lane = Each<Real>;
using Lanes = Each<int>;
using Mask = Each<bool>;

constexpr int D = DURATIONS;
constexpr bool has_tail = TAIL;
constexpr int lanes_a_sequence = K * SLICES;
constexpr int sequences = 32 / lanes_a_sequence;
constexpr int length = (D + SLICES - 1) / SLICES;
constexpr int last_slice = (D - 1) / length, last_residual = (D - 1) % length;  // where the last column is kept

DEVICE constexpr int smallest_power(int n) { return n <= 1 ? 0 : 1 + smallest_power(n / 2); }
constexpr int n_turns = smallest_power(K) + 1;

constexpr int rows_ahead = 8;  // rows asked for before they are read

struct Place {
    Lanes state, slice, sequence;
    Mask on, first, last, second, top;
    Lanes next, previous;   // lanes of the neighbouring slices
    Lanes source[K];        // lanes of the sequence's states in slice 0
    Lanes turn[n_turns];    // lane of the state 1, 2, 4, ... further on, in the same slice
    Lanes across[SLICES];   // lane of the same state, so many slices on
    int number;             // of the warp

    DEVICE explicit Place(int warp) : number(warp) {
        sequence = by_lane([](int lane) { return lane / lanes_a_sequence; });
        on = sequence < sequences;
        slice = by_lane([](int lane) { return lane % lanes_a_sequence / K; });
        state = by_lane([](int lane) { return lane % K; });
        first = on && slice == 0;
        second = on && slice == (SLICES > 1 ? 1 : 0);
        top = on && slice == last_slice;
        last = slice == SLICES - 1;
        next = pinned(by_lane([](int lane) { return (lane + K) & 31; }));
        previous = pinned(by_lane([](int lane) { return (lane + 32 - K) & 31; }));
        #pragma unroll
        for (int i = 0; i < K; ++i)
            source[i] = pinned(by_lane([i](int lane) { return (lane / lanes_a_sequence * lanes_a_sequence + i) & 31; }));
        #pragma unroll
        for (int i = 0; i < n_turns; ++i)
            turn[i] = pinned(by_lane([i](int lane) { return (lane - lane % K + (lane + (1 << i)) % K) & 31; }));
        #pragma unroll
        for (int i = 0; i < SLICES; ++i)
            across[i] = by_lane([i](int lane) {
                const int start = lane / lanes_a_sequence * lanes_a_sequence;
                return (start + (lane - start + i * K) % lanes_a_sequence) & 31;
            });
    }

    DEVICE Lane of_state(const Lane& value, int i) const {
        return from(value, source[i]);
    }

    // Combines a number of every state; each lane of the slice has the result.
    template <class Combine>
    DEVICE Lane over_states(Lane block, Combine combine) const {
        Lane total = block;
        int done = K & 1;
        #pragma unroll
        for (int i = 0, size = 2; size <= K; ++i, size *= 2) {
            block = combine(block, from(block, turn[i]));
            if (K & size) {
                total = done ? combine(total, shifted(block, done)) : block;
                done += size;
            }
        }
        return total;
    }

    template <class Combine>
    DEVICE Lane over_slices(Lane value, Combine combine) const {
        if constexpr ((SLICES & (SLICES - 1)) == 0) {
            #pragma unroll
            for (int i = 1; i < SLICES; i *= 2) value = combine(value, from(value, across[i]));
            return value;
        }
        Lane total = value;
        #pragma unroll
        for (int i = 1; i < SLICES; ++i) total = combine(total, from(value, across[i]));
        return total;
    }

private:
    // The lane of the state `offset` further on: one of the turns, or two after one another.
    DEVICE Lane shifted(Lane value, int offset) const {
        #pragma unroll
        for (int i = 0; i < n_turns; ++i)
            if (offset & (1 << i)) value = from(value, turn[i]);
        return value;
    }
};

DEVICE Lane plus(const Lane& a, const Lane& b) { return a + b; }

// In four running sums, which do not wait for one another.
template <class Term>
DEVICE Lane sum_of_residuals(Term term) {
    constexpr int n_sums = length < 4 ? length : 4;
    Lane sum[n_sums];
    #pragma unroll
    for (int r = 0; r < length; ++r) sum[r % n_sums] = r < n_sums ? term(r, nullptr) : term(r, &sum[r % n_sums]);
    #pragma unroll
    for (int i = 1; i < n_sums; ++i) sum[0] = sum[0] + sum[i];
    return sum[0];
}

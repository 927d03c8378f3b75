// Loops over entries (states or durations) of N sequences side by side. Where N = 1, vectors hold entries instead of
// sequences. Sums are the same bits either way: entry i is added to accumulator i mod A, and these as a tree.
#pragma once

#include <algorithm>

#include "lanes.hpp"

namespace hsmm {

template <class F>
constexpr int n_accumulators = std::min(4, full_width<F>);

// What a loop over entries takes at once, and how many entries that is.
template <class F, int N>
using Chunk = typename Lanes<F, N == 1 ? n_accumulators<F> : N>::V;

template <class F, int N>
constexpr int chunk_size = N == 1 ? n_accumulators<F> : 1;

template <class F, int N>
constexpr int64_t whole_chunks(int64_t n) {
    return (n + chunk_size<F, N> - 1) / chunk_size<F, N> * chunk_size<F, N>;
}

template <class U, class V>
inline U load(const V* x) {
    U u;
    std::memcpy(&u, x, sizeof u);
    return u;
}

template <class U, class V>
inline void store(V* x, U u) {
    std::memcpy(x, &u, sizeof u);
}

// One number a sequence, for every entry of a chunk.
template <class U, class V>
inline U widen(V x) {
    if constexpr (std::is_same_v<U, V>) return x;
    else return broadcast<U>(x[0]);
}

// Which entries of a chunk belong to the loop: all of them, or the first few.
template <class U>
struct All {
    using Chunk = U;
    static U only(U x) { return x; }
    template <class V>
    static void store(V* to, U x) { hsmm::store(to, x); }
};

template <class U>
struct First {
    using Chunk = U;
    using Mask = decltype(U{} > U{});
    Mask within;

    explicit First(int64_t n) {
        Mask index;
        for (int l = 0; l < int(sizeof(U) / sizeof(index[0])); ++l) index[l] = l;
        within = index < decltype(index[0] + 0)(n);
    }
    U only(U x) const { return within ? x : U{}; }
    template <class V>
    void store(V* to, U x) const { hsmm::store(to, within ? x : load<U>(to)); }
};

// Calls body(i, part) for chunks that cover entries 0 to n. Where N = 1 the last chunk may reach into what lies beyond.
template <class F, int N, class Body>
inline void for_entries(int64_t n, Body body) {
    using U = Chunk<F, N>;
    int64_t i = 0;
    for (; i + chunk_size<F, N> <= n; i += chunk_size<F, N>) body(i, All<U>{});
    if constexpr (N == 1)
        if (i < n) body(i, First<U>(n - i));
}

template <class F, int N>
class Sum {
    using V = typename Lanes<F, N>::V;
    using U = Chunk<F, N>;
    static constexpr int A = n_accumulators<F>, chunks = N == 1 ? 1 : A;
    U sums_[chunks] = {};

public:
    // Calls body(i, part, sum), which adds chunk i to sum; chunks as in for_entries.
    template <class Body>
    void add(int64_t n, Body body) {
        int64_t i = 0;
        for (; i + A <= n; i += A) {
#pragma GCC unroll 16
            for (int c = 0; c < chunks; ++c) body(i + c, All<U>{}, sums_[c]);
        }
        if constexpr (N == 1) {
            if (i < n) body(i, First<U>(n - i), sums_[0]);
        } else {
#pragma GCC unroll 16
            for (int c = 0; c < chunks - 1; ++c) {
                if (i + c >= n) return;
                body(i + c, All<U>{}, sums_[c]);
            }
        }
    }

    V total() const {
        V sums[A];
        for (int c = 0; c < chunks; ++c) store(sums + c, sums_[c]);
#pragma GCC unroll 4
        for (int half = A / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
            for (int a = 0; a < half; ++a) sums[a] += sums[a + half];
        }
        return sums[0];
    }
};

template <class F, int N, class Body>
inline auto sum_entries(int64_t n, Body body) {
    Sum<F, N> sum;
    sum.add(n, body);
    return sum.total();
}

}  // namespace hsmm

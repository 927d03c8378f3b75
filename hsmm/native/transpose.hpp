// Between one array a lane and one vector an entry.
#pragma once

#include <algorithm>
#include <utility>

#include "lanes.hpp"

namespace hsmm {

template <class F, int N, int... index>
inline typename Lanes<F, N>::V shuffle(typename Lanes<F, N>::V a, typename Lanes<F, N>::V b) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, index...);
#else
    return __builtin_shuffle(a, b, typename Lanes<F, N>::Mask{index...});
#endif
}

// Swaps the blocks of `distance` that lie off the diagonal.
template <class F, int N, int distance, int... l>
inline void swap_blocks(typename Lanes<F, N>::V* rows, std::integer_sequence<int, l...>) {
    for (int i = 0; i < N; ++i) {
        if (i & distance) continue;
        const auto a = rows[i], b = rows[i + distance];
        rows[i] = shuffle<F, N, (l & distance ? N + l - distance : l)...>(a, b);
        rows[i + distance] = shuffle<F, N, (l & distance ? N + l : l + distance)...>(a, b);
    }
}

template <class F, int N, int distance = 1>
inline void transpose(typename Lanes<F, N>::V* rows) {
    if constexpr (distance < N) {
        swap_blocks<F, N, distance>(rows, std::make_integer_sequence<int, N>{});
        transpose<F, N, 2 * distance>(rows);
    }
}

// Calls block(i) for blocks of n entries that cover 0 to size, of which the last may reach back into the one before; where
// there are fewer entries, entry(i) for each.
template <int n, class Block, class Entry>
inline void cover(int64_t size, Block block, Entry entry) {
    int64_t i = 0;
    for (; i + n <= size; i += n) block(i);
    if (i == size) return;
    if (size >= n) return block(size - n);
    for (; i < size; ++i) entry(i);
}

// Entries i to i + N of N arrays, a null one all `missing`, to one vector an entry.
template <class F, int N>
inline void block_to_lanes(const F* const (&arrays)[N], int64_t i, F missing, typename Lanes<F, N>::V* out) {
    using V = typename Lanes<F, N>::V;
    for (int l = 0; l < N; ++l) {
        out[l] = broadcast<V>(missing);
        if (arrays[l]) std::memcpy(&out[l], arrays[l] + i, sizeof(V));
    }
    transpose<F, N>(out);
}

// The same of all their `size` entries.
template <class F, int N>
inline void to_lanes(const F* const (&arrays)[N], int64_t size, F missing, typename Lanes<F, N>::V* out) {
    if constexpr (N == 1) {
        if (arrays[0]) std::memcpy(out, arrays[0], size_t(size) * sizeof(F));
        else std::fill_n(reinterpret_cast<F*>(out), size, missing);
        return;
    }
    cover<N>(
        size, [&](int64_t i) { block_to_lanes<F, N>(arrays, i, missing, out + i); },
        [&](int64_t i) {
            for (int l = 0; l < N; ++l) out[i][l] = arrays[l] ? arrays[l][i] : missing;
        });
}

// The way back.
template <class F, int N>
inline void from_lanes(const typename Lanes<F, N>::V* vectors, int64_t size, F* const (&arrays)[N]) {
    using V = typename Lanes<F, N>::V;
    if constexpr (N == 1) {
        if (arrays[0]) std::memcpy(arrays[0], vectors, size_t(size) * sizeof(F));
        return;
    }
    cover<N>(
        size,
        [&](int64_t i) {
            V block[N];
            std::copy_n(vectors + i, N, block);
            transpose<F, N>(block);
            for (int l = 0; l < N; ++l)
                if (arrays[l]) std::memcpy(arrays[l] + i, &block[l], sizeof(V));
        },
        [&](int64_t i) {
            for (int l = 0; l < N; ++l)
                if (arrays[l]) arrays[l][i] = vectors[i][l];
        });
}

}  // namespace hsmm

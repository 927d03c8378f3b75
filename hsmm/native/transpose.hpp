// Between one array a lane and one vector an entry.
#pragma once

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

// N arrays of `size` entries, a null one all `missing`, to one vector an entry.
template <class F, int N>
inline void to_lanes(const F* const (&arrays)[N], int64_t size, F missing, typename Lanes<F, N>::V* out) {
    using V = typename Lanes<F, N>::V;
    int64_t i = 0;
    for (; i + N <= size; i += N) {
        for (int l = 0; l < N; ++l) {
            out[i + l] = broadcast<V>(missing);
            if (arrays[l]) std::memcpy(&out[i + l], arrays[l] + i, sizeof(V));
        }
        transpose<F, N>(out + i);
    }
    for (; i < size; ++i)
        for (int l = 0; l < N; ++l) out[i][l] = arrays[l] ? arrays[l][i] : missing;
}

// The way back; `vectors` is overwritten.
template <class F, int N>
inline void from_lanes(typename Lanes<F, N>::V* vectors, int64_t size, F* const (&arrays)[N]) {
    using V = typename Lanes<F, N>::V;
    int64_t i = 0;
    for (; i + N <= size; i += N) {
        transpose<F, N>(vectors + i);
        for (int l = 0; l < N; ++l)
            if (arrays[l]) std::memcpy(arrays[l] + i, &vectors[i + l], sizeof(V));
    }
    for (; i < size; ++i)
        for (int l = 0; l < N; ++l)
            if (arrays[l]) arrays[l][i] = vectors[i][l];
}

}  // namespace hsmm

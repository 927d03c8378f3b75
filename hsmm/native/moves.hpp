// Products with transition matrices: each sum runs in the order of the states. Where N = 1, vectors and the rows of
// matrices are padded with zeros to whole chunks.
#pragma once

#include "entries.hpp"

namespace hsmm {

// Calls work(first, count) with blocks of up to 4 states, their number a constant.
template <class Work>
inline void in_blocks(int64_t K, Work work) {
    int64_t i = 0;
    for (; i + 4 <= K; i += 4) work(i, std::integral_constant<int, 4>{});
    switch (K - i) {
        case 3: return work(i, std::integral_constant<int, 3>{});
        case 2: return work(i, std::integral_constant<int, 2>{});
        case 1: return work(i, std::integral_constant<int, 1>{});
    }
}

// into_j = Σ_i from_i A_ij
template <class F, int N, class V, class Matrix>
inline void move_on(const V* from, Matrix matrix, int64_t K, V* into) {
    if constexpr (N == 1) {
        using U = Chunk<F, N>;
        const int64_t row = whole_chunks<F, N>(K);
        for (int64_t j = 0; j < row; j += chunk_size<F, N>) {
            U sum{};
            for (int64_t i = 0; i < K; ++i) sum = fma(widen<U>(from[i]), matrix.template chunk<U>(i * row + j), sum);
            store(into + j, sum);
        }
    } else {
        in_blocks(K, [&](int64_t j, auto count) {
            V sum[count()] = {};
            for (int64_t i = 0; i < K; ++i)
                for (int b = 0; b < count(); ++b) sum[b] = fma(from[i], matrix[i * K + j + b], sum[b]);
            for (int b = 0; b < count(); ++b) into[j + b] = sum[b];
        });
    }
}

// from_i = Σ_j A_ij into_j, and count_ij += weight_i into_j, or, of one row alone, = weight_i A_ij into_j. `transposed` is
// A's transpose, asked for only where N = 1.
template <class F, int N, bool OneRow, class V, class Matrix>
inline void move_back(const V* into, Matrix matrix, Matrix transposed, int64_t K, const V* weight, V* counts, V* from) {
    if constexpr (N == 1) {
        using U = Chunk<F, N>;
        move_on<F, N>(into, transposed, K, from);
        const int64_t row = whole_chunks<F, N>(K);
        for (int64_t i = 0; i < K; ++i)
            for (int64_t j = 0; j < row; j += chunk_size<F, N>) {
                V* pairs = counts + i * row + j;
                const U from_i = widen<U>(weight[i]), into_j = load<U>(into + j);
                store(pairs, OneRow ? from_i * (matrix.template chunk<U>(i * row + j) * into_j)
                                    : fma(from_i, into_j, load<U>(pairs)));
            }
    } else {
        in_blocks(K, [&](int64_t i, auto count) {
            V sum[count()] = {};
            for (int64_t j = 0; j < K; ++j)
                for (int b = 0; b < count(); ++b) {
                    const V move = matrix[(i + b) * K + j];
                    sum[b] = fma(move, into[j], sum[b]);
                    V& pairs = counts[(i + b) * K + j];
                    pairs = OneRow ? weight[i + b] * (move * into[j]) : fma(weight[i + b], into[j], pairs);
                }
            for (int b = 0; b < count(); ++b) from[i + b] = sum[b];
        });
    }
}

}  // namespace hsmm

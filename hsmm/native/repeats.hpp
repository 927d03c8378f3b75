// Rows that are equal: tables of the distinct ones spread over all rows, and the weights of all rows added up by them.
// Besides, tables that are linear in a few numbers of each row. Every sum is taken in the order of rows or terms.
#pragma once

#include <algorithm>

#include "threads.hpp"

namespace hsmm::repeats {

constexpr int64_t block_rows = 1 << 13, cells_per_thread = 1 << 16;

HSMM_STRUCTURE(Shape,
    int64_t n_restarts, n_rows, n_states, n_distinct, n_threads;
);

HSMM_STRUCTURE(Spread,
    const double* table;    // (R, U, K)
    const int64_t* of_row;  // (N,)
    double* out;            // (R, N, K)
    int64_t adds;           // to what is there
);

HSMM_STRUCTURE(Gathered,
    const double* weights;  // (R, N, K)
    const int64_t* of_row;  // (N,)
    double* sums;           // (R, U, K), zero before
);

HSMM_STRUCTURE(Linear,
    const double* coefficients;  // (R, K, 1 + U): constant, then one for each of U numbers of a row
    const double* numbers;       // (U, N)
    double* out;                 // (R, N, K)
);

// Calls work(K) with the number of states as a constant where it is small, else with 0.
template <int K = 1, class Work>
void with_states(int64_t n_states, Work work) {
    if constexpr (K > 8) work(std::integral_constant<int, 0>{});
    else if (n_states == K) work(std::integral_constant<int, K>{});
    else with_states<K + 1>(n_states, work);
}

inline int64_t threads(const Shape& s) {
    return std::min(s.n_threads, 1 + s.n_restarts * s.n_rows * s.n_states / cells_per_thread);
}

template <class Work>
void for_each_block(const Shape& s, Work work) {
    const int64_t n_blocks = (s.n_rows + block_rows - 1) / block_rows;
    for_each_group(n_blocks * s.n_restarts, threads(s), [&](int64_t index, InOrder&) {
        const int64_t first = index % n_blocks * block_rows;
        work(index / n_blocks, first, std::min(first + block_rows, s.n_rows));
    });
}

inline void spread(const Shape& s, const Spread& job) {
    with_states(s.n_states, [&](auto fixed) {
        const int64_t k = fixed() ? fixed() : s.n_states;
        for_each_block(s, [&](int64_t restart, int64_t first, int64_t end) {
            const double* table = job.table + restart * s.n_distinct * k;
            double* out = job.out + restart * s.n_rows * k;
            for (int64_t n = first; n < end; ++n) {
                const double* from = table + job.of_row[n] * k;
                double* to = out + n * k;
                if (job.adds)
                    for (int64_t i = 0; i < k; ++i) to[i] += from[i];
                else
                    for (int64_t i = 0; i < k; ++i) to[i] = from[i];
            }
        });
    });
}

inline void gathered(const Shape& s, const Gathered& job) {
    with_states(s.n_states, [&](auto fixed) {
        const int64_t k = fixed() ? fixed() : s.n_states;
        for_each_group(s.n_restarts, threads(s), [&](int64_t restart, InOrder&) {
            const double* weights = job.weights + restart * s.n_rows * k;
            double* sums = job.sums + restart * s.n_distinct * k;
            for (int64_t n = 0; n < s.n_rows; ++n) {
                double* to = sums + job.of_row[n] * k;
                for (int64_t i = 0; i < k; ++i) to[i] += weights[n * k + i];
            }
        });
    });
}

inline void linear(const Shape& s, const Linear& job) {
    const int64_t n_numbers = s.n_distinct;
    with_states(s.n_states, [&](auto fixed) {
        const int64_t k = fixed() ? fixed() : s.n_states;
        for_each_block(s, [&](int64_t restart, int64_t first, int64_t end) {
            const double* of_state = job.coefficients + restart * k * (1 + n_numbers);
            double* out = job.out + restart * s.n_rows * k;
            for (int64_t n = first; n < end; ++n)
                for (int64_t i = 0; i < k; ++i) {
                    const double* coefficients = of_state + i * (1 + n_numbers);
                    double sum = coefficients[0];
                    for (int64_t u = 0; u < n_numbers; ++u) sum += coefficients[1 + u] * job.numbers[u * s.n_rows + n];
                    out[n * k + i] = sum;
                }
        });
    });
}

}  // namespace hsmm::repeats

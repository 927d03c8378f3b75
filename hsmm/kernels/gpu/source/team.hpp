// What a team is: the threads of a block, which work on one sequence; one thread that does the work of all under g++, so
// that tests need no GPU. What is outside of `each` and `log_sums` every thread computes alike.
#pragma once

using Long = long long;
using Byte = unsigned char;
using Real = REAL;

#ifdef __CUDACC__

#define DEVICE __device__ __forceinline__

DEVICE double minus_infinity() { return __longlong_as_double(0xfff0000000000000ULL); }

#else

#include <cmath>
#include <vector>

#define DEVICE inline

inline double minus_infinity() { return -HUGE_VAL; }

// In which order the threads do what they do at once must not matter: tests run them in another.
#ifdef SHUFFLED
inline Long in_turn(Long turn, Long n) { return n - 1 - turn; }
#else
inline Long in_turn(Long turn, Long) { return turn; }
#endif

#endif

DEVICE bool possible(double log) { return log > minus_infinity(); }

// What may be subtracted from numbers that are all -inf as well.
DEVICE double origin_of(double log) { return possible(log) ? log : 0.0; }

// Log-weights of 1e200 leave nothing but rounding in their differences; what comes out is a probability all the same.
DEVICE double probability(double log) { return exp(fmin(log, 0.0)); }

DEVICE double log_add(double a, double b) {
    const double larger = fmax(a, b);
    return possible(larger) ? larger + log1p(exp(fmin(a, b) - larger)) : larger;
}

// log Σ exp of what is added, relative to the largest so far.
struct LogSum {
    double most = minus_infinity(), sum = 0;

    DEVICE void add(double log) {
        if (!possible(log)) return;
        const double share = exp(-fabs(log - most));
        sum = log > most ? fma(sum, share, 1.0) : sum + share;
        most = fmax(log, most);
    }

    DEVICE double relative_to(double largest) const { return possible(most) ? sum * exp(most - largest) : 0.0; }
};

// Of a table's row: how many threads of a warp work on it, a power of two.
DEVICE int lanes_for(int n_columns) {
    int lanes = 1;
    while (lanes < n_columns && lanes < 32) lanes *= 2;
    return lanes;
}

// How many threads should share each of several sums, so that all are done soonest: more idle where sums are few, and
// where many share a sum it takes longer to bring their parts together.
DEVICE int lanes_for(int n_sums, int n_terms, int n_threads) {
    constexpr int term = 4, round = 8;  // times what a step of bringing together takes
    int best = 1, least = 0;
    for (int lanes = 1, steps = 0; lanes <= 32 && lanes < 2 * n_terms; lanes *= 2, ++steps) {
        const int at_once = n_threads / lanes, rounds = (n_sums + at_once - 1) / at_once;
        const int cost = rounds * ((n_terms + lanes - 1) / lanes * term + steps + round);
        if (lanes > 1 && cost >= least) continue;
        best = lanes;
        least = cost;
    }
    return best;
}

struct Team {
    int of_states;  // threads that share a sum over states, where there is one a state

    DEVICE explicit Team(int n_states) {
#ifdef __CUDACC__
        const int n_threads = blockDim.x;
#else
        const int n_threads = 32;
#endif
        of_states = lanes_for(n_states, n_states, n_threads);
    }

    // f(i) for every i below n, by one thread each.
    template <class Work>
    DEVICE void each(Long n, Work work) const {
#ifdef __CUDACC__
        for (Long i = threadIdx.x; i < n; i += blockDim.x) work(i);
#else
        for (Long turn = 0; turn < n; ++turn) work(in_turn(turn, n));
#endif
    }

    // work(i, j) for every row and column of a table, by one thread each.
    template <class Work>
    DEVICE void cells(int n_rows, int n_columns, Work work) const {
#ifdef __CUDACC__
        const int lanes = lanes_for(n_columns);
        for (int i = threadIdx.x / lanes; i < n_rows; i += blockDim.x / lanes)
            for (int j = threadIdx.x & (lanes - 1); j < n_columns; j += lanes) work(i, j);
#else
        for (Long turn = 0; turn < n_rows; ++turn)
            for (Long again = 0; again < n_columns; ++again)
                work(int(in_turn(turn, n_rows)), int(in_turn(again, n_columns)));
#endif
    }

    // finish(i, log Σ_j exp term(i, j)) for every i, by so many lanes each; each term is computed once, by one of them.
    template <class Term, class Finish>
    DEVICE void log_sums(int lanes, int n_sums, int n_terms, Term term, Finish finish) const {
#ifdef __CUDACC__
        const int lane = threadIdx.x & (lanes - 1), at_once = blockDim.x / lanes;
        for (int first = 0; first < n_sums; first += at_once) {
            const int i = first + threadIdx.x / lanes;
            LogSum terms;
            for (int j = lane; i < n_sums && j < n_terms; j += lanes) terms.add(term(i, j));
            double most = terms.most;
            for (int apart = lanes / 2; apart > 0; apart /= 2) most = fmax(most, __shfl_xor_sync(~0u, most, apart));
            double sum = terms.relative_to(most);
            for (int apart = lanes / 2; apart > 0; apart /= 2) sum += __shfl_xor_sync(~0u, sum, apart);
            if (i < n_sums && lane == 0) finish(i, origin_of(most) + log(sum));
        }
#else
        for (Long turn = 0; turn < n_sums; ++turn) {
            const int i = int(in_turn(turn, n_sums));
            LogSum terms[32];
            double most = minus_infinity(), sum[32];
            for (int again = 0; again < lanes; ++again) {
                const int lane = int(in_turn(again, lanes));
                for (int j = lane; j < n_terms; j += lanes) terms[lane].add(term(i, j));
            }
            for (int lane = 0; lane < lanes; ++lane) most = fmax(most, terms[lane].most);
            for (int lane = 0; lane < lanes; ++lane) sum[lane] = terms[lane].relative_to(most);
            for (int apart = lanes / 2; apart > 0; apart /= 2)
                for (int lane = 0; lane < apart; ++lane) sum[lane] += sum[lane + apart];
            finish(i, origin_of(most) + log(sum[0]));
        }
#endif
    }

    // Nobody goes on before all are here.
    DEVICE void wait() const {
#ifdef __CUDACC__
        __syncthreads();
#endif
    }
};

// Memory of one block: what is near is fast and small.
class Memory {
    double *near_, *far_;
    Long left_;

public:
    DEVICE Memory(double* near, Long size, double* far) : near_(near), far_(far), left_(size) {}

    DEVICE double* take(Long size) {
        if (size > left_) return take_far(size);
        left_ -= size;
        return (near_ += size) - size;
    }

    DEVICE double* take_far(Long size) { return (far_ += size) - size; }
};

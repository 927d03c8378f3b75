// The most probable states of HMMs: for every row one word, three bits a state for the best state before it.
#pragma once

#include "chain.hpp"

constexpr int bits_a_state = 3;
static_assert(K <= (1 << bits_a_state), "a state has three bits");

struct Scores {
    Transition transition;
    Real of[K];  // of the best paths to each state, without this row's emission, less `base`
    double base;
};

DEVICE void best_segments(const Paths& p, int warp) {
    NEAR(Real, near, sequences * pitch_of(K));
    NEAR(int, words, sequences * pitch_of(1));
    const Links links(p, warp);
    Each<Scores> scores;
    for_each_lane(scores, [&](Scores& score, int lane) {
        const Long model = mine(links.model, lane);
        score.transition.load(p, model);
        #pragma unroll
        for (int k = 0; k < K; ++k) score.of[k] = read(p.initial + model * K + k);
        score.base = 0;
    });
    const int longest = links.longest();
    for (int first = 0; first < longest; first += chunk) {
        fetch<K>(links, first, near, const_cast<Real*>(p.emission));
        for_each_lane(scores, [&](Scores& score, int lane) {
            const int n_rows = mine(links.n_rows, lane);
            for (int j = 0; j < chunk && first + j < n_rows; ++j) {
                Real ended[K];
                #pragma unroll
                for (int k = 0; k < K; ++k) ended[k] = score.of[k] + near[lane * pitch_of(K) + j * K + k];
                if (first + j + 1 == n_rows) {
                    #pragma unroll
                    for (int k = 0; k < K; ++k)
                        p.ended[mine(links.pair, lane) * K + k] = score.base + double(ended[k]);
                }
                int word = 0;
                #pragma unroll
                for (int k = 0; k < K; ++k) {
                    Real best = minus_infinity();
                    int before = 0;
                    #pragma unroll
                    for (int i = 0; i < K; ++i) {
                        const Real coming = ended[i] + score.transition.of[i][k];
                        before = coming > best ? i : before;
                        best = larger(coming, best);
                    }
                    score.of[k] = best;
                    word |= before << (bits_a_state * k);
                }
                words[lane * pitch_of(1) + j] = word;
            }
            Real best = -largest_real;
            #pragma unroll
            for (int k = 0; k < K; ++k) best = larger(best, score.of[k]);
            #pragma unroll
            for (int k = 0; k < K; ++k) score.of[k] -= best;
            score.base += double(best);
        });
        put<1>(links, first, words, p.steps);
    }
}

DEVICE void decode(const Paths& p, int warp) {
    NEAR(int, words, sequences * pitch_of(1));
    NEAR(Long, states, sequences * pitch_of(1));
    const Links links(p, warp);
    Each<int> state;
    for_each_lane(state, [&](int& last, int lane) {
        last = -1;
        if (mine(links.n_rows, lane) == 0) return;
        const Long pair = mine(links.pair, lane);
        double best = double(minus_infinity());
        for (int k = 0; k < K; ++k) {
            const double score = p.ended[pair * K + k];
            if (score > double(-largest_real) && score > best) {
                last = k;
                best = score;
            }
        }
        p.log_probability[pair] = best;
    });
    const int longest = links.longest();
    for (int first = (longest - 1) / chunk * chunk; first >= 0; first -= chunk) {
        fetch<1>(links, first, words, p.steps);
        for_each_lane(state, [&](int& now, int lane) {
            const int n_rows = mine(links.n_rows, lane);
            for (int j = chunk - 1; j >= 0; --j) {
                if (first + j >= n_rows) continue;
                const bool moves = first + j + 1 < n_rows && now >= 0;
                if (moves) now = (words[lane * pitch_of(1) + j] >> (bits_a_state * now)) & ((1 << bits_a_state) - 1);
                states[lane * pitch_of(1) + j] = now;
            }
        });
        put<1>(links, first, states, p.states);
    }
}

#include "parameters.hpp"

ENTRY(hsmm_best_segments, best_segments, Paths, PATHS, THESE_PATHS)
ENTRY(hsmm_decode, decode, Paths, PATHS, THESE_PATHS)

// What an HMM knows at each row from that row and those before it: in log space, so that nothing is lost of unlikely states.
#pragma once

#include "chain.hpp"

struct Known : Tables {
    Real *filtered, *predicted;      // (R, N, K), or null
    Real* log_density;               // (R, N), or null
    const double* before;            // (R, S, K) log P(state at the first row | rows before it), or null
    double *starting, *steps_left;   // (R, S, K) the same after the last row; log P(state at the last row); or null
};

DEVICE bool possible(double log) { return log > -infinite(); }
DEVICE double origin_of(double log) { return possible(log) ? log : 0.0; }

DEVICE double log_sum(const double (&terms)[K]) {
    double most = terms[0], sum = 0;
    #pragma unroll
    for (int k = 1; k < K; ++k) most = fmax(most, terms[k]);
    const double origin = origin_of(most);
    #pragma unroll
    for (int k = 0; k < K; ++k) sum += exp(terms[k] - origin);
    return origin + log(sum);
}

struct Expectation {
    double started[K], filtered[K], transition[K][K];

    DEVICE void begin(const Known& p, Long pair, Long model) {
        #pragma unroll
        for (int i = 0; i < K; ++i) {
            started[i] = p.before ? p.before[pair * K + i] : double(p.initial[model * K + i]);
            #pragma unroll
            for (int j = 0; j < K; ++j) transition[i][j] = p.transition[(model * K + i) * K + j];
        }
    }

    // Returns log p(y_t | y before t).
    DEVICE double see(const Real* emission) {
        double most = -infinite(), relative[K], joint[K];
        #pragma unroll
        for (int k = 0; k < K; ++k) most = possible(started[k]) ? fmax(most, double(emission[k])) : most;
        const double origin = origin_of(most);
        #pragma unroll
        for (int k = 0; k < K; ++k) {
            relative[k] = double(emission[k]) - origin;
            joint[k] = started[k] + relative[k];
        }
        const double scale = log_sum(joint);
        #pragma unroll
        for (int k = 0; k < K; ++k) filtered[k] = started[k] + (relative[k] - origin_of(scale));
        return scale + origin;
    }

    DEVICE void move_on() {
        #pragma unroll
        for (int j = 0; j < K; ++j) {
            double coming[K];
            #pragma unroll
            for (int i = 0; i < K; ++i) coming[i] = filtered[i] + transition[i][j];
            started[j] = log_sum(coming);
        }
    }
};

DEVICE void causal(const Known& p, int warp) {
    NEAR(Real, near, sequences * pitch_of(K));
    NEAR(Real, expected, sequences * pitch_of(K));
    NEAR(Real, density, sequences * pitch_of(1));
    const Links links(p, warp);
    Each<Expectation> expectations;
    for_each_lane(expectations, [&](Expectation& known, int lane) {
        known.begin(p, mine(links.pair, lane), mine(links.model, lane));
    });
    const int longest = links.longest();
    for (int first = 0; first < longest; first += chunk) {
        fetch<K>(links, first, near, const_cast<Real*>(p.emission));
        for_each_lane(expectations, [&](Expectation& known, int lane) {
            const int n_rows = mine(links.n_rows, lane);
            const Long pair = mine(links.pair, lane);
            for (int j = 0; j < chunk && first + j < n_rows; ++j) {
                Real* row = near + lane * pitch_of(K) + j * K;
                #pragma unroll
                for (int k = 0; k < K; ++k) expected[lane * pitch_of(K) + j * K + k] = Real(known.started[k]);
                density[lane * pitch_of(1) + j] = Real(known.see(row));
                #pragma unroll
                for (int k = 0; k < K; ++k) row[k] = Real(exp(fmin(known.filtered[k], 0.0)));
                known.move_on();
                if (!p.starting || first + j + 1 < n_rows) continue;
                #pragma unroll
                for (int k = 0; k < K; ++k) {
                    p.starting[pair * K + k] = known.started[k];
                    p.steps_left[pair * K + k] = known.filtered[k];
                }
            }
        });
        if (p.filtered) put<K>(links, first, near, p.filtered);
        if (p.predicted) put<K>(links, first, expected, p.predicted);
        if (p.log_density) put<1>(links, first, density, p.log_density);
    }
}

#include "parameters.hpp"

#define KNOWN                                                                                                        \
    Real *filtered, Real *predicted, Real *log_density, const double *before, double *starting, double *steps_left
ENTRY(hsmm_causal, causal, Known, KNOWN, filtered, predicted, log_density, before, starting, steps_left)

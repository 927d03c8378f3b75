// Forward and backward pass of HMMs. The forward pass leaves what it knew before every chunk, the backward pass computes a
// chunk's states from it again: that is quicker than to write and to read them.
#pragma once

#include "chain.hpp"

// What a row's emissions make of the states that are expected there.
struct Row {
    Real largest, scale, inverse, relative[K], filtered[K];

    DEVICE Row(const Real* emission, const Real (&started)[K]) {
        largest = -largest_real;
        #pragma unroll
        for (int k = 0; k < K; ++k) largest = larger(largest, emission[k]);
        scale = 0;
        #pragma unroll
        for (int k = 0; k < K; ++k) {
            relative[k] = exponential(emission[k] - largest);
            filtered[k] = started[k] * relative[k];
            scale += filtered[k];
        }
        inverse = reciprocal(scale);
        #pragma unroll
        for (int k = 0; k < K; ++k) filtered[k] *= inverse;
    }
};

DEVICE void move_on(const Real (&filtered)[K], const Transition& transition, Real (&started)[K]) {
    #pragma unroll
    for (int j = 0; j < K; ++j) {
        started[j] = 0;
        #pragma unroll
        for (int i = 0; i < K; ++i) started[j] = fma_of(filtered[i], transition.of[i][j], started[j]);
    }
}

DEVICE void begin(const Problem& p, Long model, Real (&started)[K]) {
    #pragma unroll
    for (int k = 0; k < K; ++k) started[k] = read(p.initial + model * K + k);
}

// Where (K,) states before the chunk of rows from `first`, which is not a sequence's first, are kept: a sequence ends within
// the chunk, of all rows, where the next begins, and that keeps nothing there.
DEVICE Real* kept(const Problem& p, Long pair, int first) {
    const Long restart = pair / p.n_series, series = pair % p.n_series;
    return p.trace + (restart * (p.n_rows / chunk + 1) + p.offsets[series] / chunk + first / chunk) * K;
}

constexpr int chunks_between_logarithms = chunk < 64 ? 64 / chunk : 1;

struct Filter {
    Transition transition;
    Real started[K], mantissa, least_scale;
    int exponent, n_factors;
    double log_likelihood;

    DEVICE void step(const Row& row) {
        mantissa *= mantissa_of(row.scale);
        exponent += exponent_of(row.scale);
        ++n_factors;
        least_scale = smaller(least_scale, row.scale);
        log_likelihood += double(row.largest);
        move_on(row.filtered, transition, started);
    }

    // Sum of logarithms of positive factors, as a product of mantissas and a sum of exponents.
    DEVICE void flush() {
        const int bias = single ? 127 : 1023;
        log_likelihood += log(double(mantissa)) + double(exponent - n_factors * bias) * 0.6931471805599453;
        mantissa = 1;
        exponent = n_factors = 0;
    }
};

DEVICE void forward(const Problem& p, int warp) {
    NEAR(Real, near, sequences * pitch_of(K));
    const Links links(p, warp);
    Each<Filter> filters;
    for_each_lane(filters, [&](Filter& filter, int lane) {
        filter.transition.load(p, mine(links.model, lane));
        begin(p, mine(links.model, lane), filter.started);
        filter.mantissa = filter.least_scale = 1;
        filter.exponent = filter.n_factors = 0;
        filter.log_likelihood = 0;
    });
    const int longest = links.longest();
    for (int first = 0; first < longest; first += chunk) {
        fetch<K>(links, first, near, const_cast<Real*>(p.emission));
        for_each_lane(filters, [&](Filter& filter, int lane) {
            const int n_rows = mine(links.n_rows, lane);
            const Long pair = mine(links.pair, lane);
            for (int j = 0; j < chunk && first + j < n_rows; ++j) {
                const Row row(near + lane * pitch_of(K) + j * K, filter.started);
                filter.step(row);
                if (j + 1 < chunk || first + chunk >= n_rows) continue;
                Real* states = kept(p, pair, first + chunk);
                #pragma unroll
                for (int k = 0; k < K; ++k) states[k] = row.filtered[k];
            }
            const bool ends = first < n_rows && n_rows <= first + chunk;
            if (ends || first / chunk % chunks_between_logarithms == 0) filter.flush();
            if (!ends) return;
            p.log_likelihood[pair] = filter.log_likelihood;
            p.doubtful[pair] = !(filter.least_scale > collapsed) || !isfinite(filter.log_likelihood);
        });
    }
}

constexpr int chunks_between_flushes = chunk < 256 ? 256 / chunk : 1;

struct Smoother {
    Transition transition;
    Real after[K], counts[K][K], occupied[K];  // counts lack the factor of the transition
    Long at;                                   // of the sequence's counts
    Real series_weight;

    DEVICE void reset() {
        #pragma unroll
        for (int i = 0; i < K; ++i) {
            occupied[i] = 0;
            #pragma unroll
            for (int j = 0; j < K; ++j) counts[i][j] = 0;
        }
    }

    DEVICE void flush(const Problem& p) {
        #pragma unroll
        for (int i = 0; i < K; ++i) {
            p.duration_counts[at + i] += double(occupied[i]);
            #pragma unroll
            for (int j = 0; j < K; ++j)
                p.transition_counts[at + i * K + j] += double(counts[i][j]) * double(transition.of[i][j]);
        }
        reset();
    }

    // From what follows a row to what follows that before it, whose states were `before`.
    DEVICE void step(const Real (&starting)[K], const Real (&before)[K]) {
        #pragma unroll
        for (int i = 0; i < K; ++i) {
            after[i] = 0;
            #pragma unroll
            for (int j = 0; j < K; ++j) {
                counts[i][j] = fma_of(before[i], starting[j], counts[i][j]);
                after[i] = fma_of(transition.of[i][j], starting[j], after[i]);
            }
        }
    }
};

// The data's total probability, as the backward pass finds it from above, is the forward pass's only if that lost nothing.
DEVICE void finish(const Problem& p, const Smoother& smoother, const Real (&starting)[K], Long pair, Long model, int n) {
    Real initial[K], total = 0;
    begin(p, model, initial);
    #pragma unroll
    for (int k = 0; k < K; ++k) {
        const Real count = initial[k] * starting[k];
        p.initial_counts[smoother.at + k] = double(count);
        total += count;
    }
    if (!(fabs(double(total) - 1.0) <= tolerance + drift * double(n))) p.doubtful[pair] = 1;
}

DEVICE void backward(const Problem& p, int warp) {
    NEAR(Real, near, sequences * pitch_of(K));
    NEAR(Real, states, sequences * pitch_of(K));
    const Links links(p, warp);
    Each<Smoother> smoothers;
    for_each_lane(smoothers, [&](Smoother& smoother, int lane) {
        const Long pair = mine(links.pair, lane);
        smoother.transition.load(p, mine(links.model, lane));
        smoother.reset();
        #pragma unroll
        for (int k = 0; k < K; ++k) smoother.after[k] = 1;
        smoother.at = pair * p.stride;
        smoother.series_weight = p.series_weight ? p.series_weight[pair] : Real(1);
    });
    const int longest = links.longest();
    for (int first = (longest - 1) / chunk * chunk; first >= 0; first -= chunk) {
        fetch<K>(links, first, near, const_cast<Real*>(p.emission));
        for_each_lane(smoothers, [&](Smoother& smoother, int lane) {
            const int n_rows = mine(links.n_rows, lane), here = n_rows - first < chunk ? n_rows - first : chunk;
            if (here <= 0) return;
            const Long pair = mine(links.pair, lane), model = mine(links.model, lane);
            Real *weights = near + lane * pitch_of(K), *filtered = states + lane * pitch_of(K);
            Real started[K], entering[K] = {};
            if (first == 0) {
                begin(p, model, started);
            } else {
                const Real* before = kept(p, pair, first);
                #pragma unroll
                for (int k = 0; k < K; ++k) entering[k] = before[k];
                move_on(entering, smoother.transition, started);
            }
            for (int j = 0; j < here; ++j) {
                Real* weight = weights + j * K;
                const Row row(weight, started);
                #pragma unroll
                for (int k = 0; k < K; ++k) {
                    filtered[j * K + k] = row.filtered[k];
                    const bool allowed = weight[k] > -largest_real;
                    weight[k] = allowed ? larger(row.relative[k], smallest) * row.inverse : Real(0);
                }
                move_on(row.filtered, smoother.transition, started);
            }
            for (int j = here - 1; j >= 0; --j) {
                Real starting[K], before[K];
                #pragma unroll
                for (int k = 0; k < K; ++k) {
                    const Real weight = weights[j * K + k];
                    const bool allowed = weight > Real(0);
                    const Real known = smaller(larger(filtered[j * K + k] * smoother.after[k], Real(0)), Real(1));
                    const Real state = allowed ? known : Real(0);
                    smoother.occupied[k] += state;
                    weights[j * K + k] = state * smoother.series_weight;
                    starting[k] = fma_of(weight, smoother.after[k], allowed ? Real(faint) : Real(0));
                    before[k] = j > 0 ? filtered[(j - 1) * K + k] : entering[k];
                }
                if (first + j > 0) smoother.step(starting, before);
                else finish(p, smoother, starting, pair, model, n_rows);
            }
            if (first / chunk % chunks_between_flushes == 0) smoother.flush(p);
        });
        put<K>(links, first, near, p.state);
    }
}

#include "parameters.hpp"

ENTRY(hsmm_forward, forward, Problem, COUNTS, THESE_COUNTS)
ENTRY(hsmm_backward, backward, Problem, COUNTS, THESE_COUNTS)

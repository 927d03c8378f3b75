// What a launcher calls: kernels under NVRTC, functions that loop over the warps under g++; `sequences` a warp.
#pragma once

#include "tables.hpp"

#define TABLES                                                                                                        \
    const Real *initial, const Real *transition, const Real *duration, const Real *residual, const Real *stay,        \
        const Real *leave, const Real *emission, const Long *offsets, const Long *owners, const Byte *left_censored,  \
        const Byte *right_censored, const Long *order, Long n_slots, Long n_series, Long n_rows, Long residual_varies
#define THESE_TABLES                                                                                                  \
    {initial, transition, duration, residual, stay, leave, emission, offsets, owners, left_censored, right_censored,  \
     order, n_slots, n_series, n_rows, residual_varies}

#define COUNTS                                                                                                        \
    Real *trace, Real *last, double *log_likelihood, Byte *doubtful, const Real *series_weight, Real *state,          \
        double *initial_counts, double *transition_counts, double *duration_counts, double *residual_counts,          \
        double *stay_counts, double *leave_counts, Long stride
#define THESE_COUNTS                                                                                                  \
    trace, last, log_likelihood, doubtful, series_weight, state, initial_counts, transition_counts, duration_counts,  \
        residual_counts, stay_counts, leave_counts, stride

#define PATHS                                                                                                         \
    const double *survival, const double *residual_survival, Long window, int *steps, double *recent, double *ended,  \
        double *log_probability, Long *states
#define THESE_PATHS survival, residual_survival, window, steps, recent, ended, log_probability, states

#ifdef __CUDACC__

#define ENTRY(name, pass, Work, PARAMETERS, ...)                                                                      \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) name(TABLES, PARAMETERS) {                          \
        const Work p{THESE_TABLES, __VA_ARGS__};                                                                      \
        const int warp = (blockIdx.x * THREADS + threadIdx.x) / 32;                                                   \
        if (Long(warp) * sequences < n_slots) pass(p, warp);                                                          \
    }

#else

#define ENTRY(name, pass, Work, PARAMETERS, ...)                                                                      \
    extern "C" void name(TABLES, PARAMETERS) {                                                                        \
        const Work p{THESE_TABLES, __VA_ARGS__};                                                                      \
        for (int warp = 0; Long(warp) * sequences < n_slots; ++warp) pass(p, warp);                                   \
    }

#endif

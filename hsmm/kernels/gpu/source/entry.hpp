// What a launcher calls: kernels under NVRTC, functions that loop over the blocks under g++.
#pragma once

#include "sequence.hpp"

#define TABLES                                                                                                        \
    const Real *initial, const Real *transition, const Real *duration, const Real *residual, const Real *stay,        \
        const Real *leave, const Real *emission, const Long *offsets, const Long *owners, const Byte *left_censored,  \
        const Byte *right_censored, const Long *order, Long n_slots, Long n_series, Long n_rows, Long n_states,       \
        Long n_durations, Long transition_varies, Long duration_varies, Long residual_varies, Long n_blocks,          \
        Long near_size, double *far, Long far_size
#define THESE_TABLES                                                                                                  \
    {initial, transition, duration, residual, stay, leave, emission, offsets, owners, left_censored, right_censored,  \
     order, n_slots, n_series, n_rows, n_states, n_durations, transition_varies, duration_varies, residual_varies,    \
     n_blocks, near_size, far, far_size}

#ifdef __CUDACC__

constexpr int most_threads_a_block = 512;

#define ENTRY(name, pass, Work, PARAMETERS, ...)                                                                      \
    extern "C" __global__ void __launch_bounds__(most_threads_a_block) name(TABLES, PARAMETERS) {                     \
        extern __shared__ double near[];                                                                              \
        const Work p{THESE_TABLES, __VA_ARGS__};                                                                      \
        const Memory memory(near, near_size, far + blockIdx.x * far_size);                                            \
        const Team team((int(n_states)));                                                                             \
        for (Long slot = blockIdx.x; slot < n_slots; slot += n_blocks) pass(p, team, memory, slot);                   \
    }

#else

#define ENTRY(name, pass, Work, PARAMETERS, ...)                                                                      \
    extern "C" void name(TABLES, PARAMETERS) {                                                                        \
        const Work p{THESE_TABLES, __VA_ARGS__};                                                                      \
        std::vector<double> near(near_size, -7e77);                                                                   \
        const Team team((int(n_states)));                                                                             \
        for (Long block = 0; block < n_blocks; ++block)                                                               \
            for (Long slot = block; slot < n_slots; slot += n_blocks)                                                 \
                pass(p, team, Memory(near.data(), near_size, far + block * far_size), slot);                          \
    }

#endif

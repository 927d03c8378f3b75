// The kernels of sequences that share a warp, in registers.
#pragma once

#include "backward.hpp"
#include "parameters.hpp"
#include "viterbi.hpp"

#if PATHS_WANTED
ENTRY(hsmm_best_segments, best_segments, Paths, PATHS, THESE_PATHS)
ENTRY(hsmm_decode, decode, Paths, PATHS, THESE_PATHS)
#else
ENTRY(hsmm_forward, forward, Problem, COUNTS, THESE_COUNTS)
ENTRY(hsmm_backward, backward, Problem, COUNTS, THESE_COUNTS)
#endif

// What expected counts are written to.
#pragma once

#include "boundary.hpp"

namespace hsmm {

HSMM_STRUCTURE(CountsOut,
    const double* series_weight;  // (R, S); null: every series counts once
    double* log_likelihood;       // (R, S)
    uint8_t* doubtful;            // (R, S) scaled arithmetic may have lost something: compute again elsewhere
    void* state;                  // (R, N, K), or as the emissions are
    // (R, K), ...; what every row has one of is written whole, the others are added to.
    double *initial, *transition, *duration, *residual, *tail_stay, *tail_leave;
);

}  // namespace hsmm

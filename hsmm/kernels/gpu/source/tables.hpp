// What a launch works on: R models, S series, N rows. For sums the tables are linear, for maxima they are logarithms.
#pragma once

#include "lanes.hpp"

using Real = REAL;
constexpr int K = STATES;

constexpr bool single = sizeof(Real) == 4;
constexpr Real faint = single ? Real(1e-12) : Real(1e-100);      // no value of a backward pass that is possible is less
constexpr Real collapsed = single ? Real(1e-18) : Real(1e-100);  // of a row whose scale is less, too much was lost
constexpr Real smallest = single ? Real(4.7e-38) : Real(8.9e-308);
constexpr Real largest_real = single ? Real(3.4028234e38) : Real(1.7976931348623157e308);
constexpr double tolerance = single ? 3e-6 : 1e-11, drift = single ? 3e-8 : 5.6e-17;

DEVICE Real minus_infinity() { return -Real(infinite()); }

using Long = long long;
using Byte = unsigned char;

struct Tables {
    const Real *initial, *transition, *duration, *residual, *stay, *leave;  // (R, K, ...)
    const Real* emission;                                                   // (R, N, K), logarithms
    const Long *offsets, *owners;  // owners: the model of every series; null where every series is of every model
    const Byte *left_censored, *right_censored;
    const Long* order;  // (n_slots,) sequences, restart * S + series, longest first; the i-th goes to the i-th slot
    Long n_slots, n_series, n_rows, residual_varies;
};

struct Problem : Tables {
    Real* trace;                // (R, N, columns, K): mass that ends, weight, mass in the tail slot; of chains, see `kept`
    Real* last;                 // (R * S, 2, K): occupancy of the last row, mass that ends there
    double* log_likelihood;     // (R * S,)
    Byte* doubtful;             // (R * S,) scaled arithmetic may have lost something: compute again elsewhere
    const Real* series_weight;  // (R * S,) or null
    Real* state;                // (R, N, K)
    double *initial_counts, *transition_counts, *duration_counts, *residual_counts, *stay_counts, *leave_counts;
    Long stride;  // from the counts of one sequence to those of the next
};

struct Paths : Tables {
    const double *survival, *residual_survival;  // log P(d >= column), shaped like duration and residual
    Long window;                                 // rows of `recent`
    int* steps;               // (R, N, K): steps of the best segment that ends here, and the best state before a next one
    double* recent;           // (R * S, window, K): log-weight of what starts at each of the last rows
    double* ended;            // (R * S, K): log-weight of what ends at the last row
    double* log_probability;  // (R * S,)
    Long* states;             // (R, N)
};

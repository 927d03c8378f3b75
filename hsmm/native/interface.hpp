// The plain C interface that library.py loads.
#pragma once

#include <iterator>

#include "causal.hpp"
#include "durations.hpp"
#include "elliptical.hpp"
#include "exponentials.hpp"
#include "repeats.hpp"
#include "sampling.hpp"
#include "scaled.hpp"
#include "viterbi.hpp"

using namespace hsmm;
using durations::DurationCounts, durations::DurationLaw, durations::DurationTable;
using elliptical::DensityOut, elliptical::Law, elliptical::MomentsOut, elliptical::Rows,
    elliptical::Units;
using repeats::Gathered, repeats::Linear, repeats::Shape, repeats::Spread;

HSMM_FUNCTION(hsmm_expected_counts_f32, (const Problem* p, const CountsOut* out), { expected_counts<float>(*p, *out); });

HSMM_FUNCTION(hsmm_expected_counts_f64, (const Problem* p, const CountsOut* out), { expected_counts<double>(*p, *out); });

HSMM_FUNCTION(hsmm_exponentials, (const Exponentials* job), {
    job->is_double ? exponentials<double>(*job) : exponentials<float>(*job);
});

HSMM_FUNCTION(hsmm_log_partition, (const Problem* p, const LikelihoodOut* out), { log_partition(*p, *out); });

HSMM_FUNCTION(hsmm_log_counts, (const Problem* p, const CountsOut* out), { log_counts(*p, *out); });

HSMM_FUNCTION(hsmm_log_score, (const Problem* p, const LikelihoodOut* out), { log_score(*p, out->log_likelihood); });

HSMM_FUNCTION(hsmm_causal, (const Problem* p, const CausalOut* out), { causal(*p, *out); });

HSMM_FUNCTION(hsmm_smoothed, (const Problem* p, const SmoothedOut* out), { smoothed(*p, *out); });

HSMM_FUNCTION(hsmm_viterbi, (const Problem* p, const PathsOut* out), { viterbi(*p, *out); });

HSMM_FUNCTION(hsmm_sample_paths, (const Problem* p, const SamplesOut* out), { sample_paths(*p, *out); });

HSMM_FUNCTION(hsmm_elliptical_density, (const Rows* rows, const Law* law, const DensityOut* out),
              { elliptical::log_density(*rows, *law, *out); });

HSMM_FUNCTION(hsmm_elliptical_moments, (const Rows* rows, const Law* law, const MomentsOut* out),
              { elliptical::moments(*rows, *law, *out); });

HSMM_FUNCTION(hsmm_elliptical_density_of_units, (const Units* units, const Law* law, const DensityOut* out),
              { elliptical::log_density(*units, *law, *out); });

HSMM_FUNCTION(hsmm_elliptical_moments_of_units, (const Units* units, const Law* law, const MomentsOut* out),
              { elliptical::moments(*units, *law, *out); });

HSMM_FUNCTION(hsmm_maximise_durations, (const DurationLaw* law, const DurationCounts* counts),
              { durations::maximise(*law, *counts); });

HSMM_FUNCTION(hsmm_duration_tables, (const DurationLaw* law, const DurationTable* table),
              { durations::tables(*law, *table); });

HSMM_FUNCTION(hsmm_spread, (const Shape* shape, const Spread* job), { repeats::spread(*shape, *job); });

HSMM_FUNCTION(hsmm_gathered, (const Shape* shape, const Gathered* job), { repeats::gathered(*shape, *job); });

HSMM_FUNCTION(hsmm_linear, (const Shape* shape, const Linear* job), { repeats::linear(*shape, *job); });

extern "C" {

// The text of every declaration above, one after the other, and null after the last.
const char* hsmm_declaration(int64_t i) {
    static constexpr const char* all[] = {
        Problem_declaration,
        CountsOut_declaration,
        LikelihoodOut_declaration,
        Exponentials_declaration,
        SavedState_declaration,
        CausalOut_declaration,
        SmoothedOut_declaration,
        PathsOut_declaration,
        SamplesOut_declaration,
        elliptical::Rows_declaration,
        elliptical::Law_declaration,
        elliptical::DensityOut_declaration,
        elliptical::MomentsOut_declaration,
        elliptical::Units_declaration,
        durations::DurationLaw_declaration,
        durations::DurationCounts_declaration,
        durations::DurationTable_declaration,
        repeats::Shape_declaration,
        repeats::Spread_declaration,
        repeats::Gathered_declaration,
        repeats::Linear_declaration,
        hsmm_expected_counts_f32_declaration,
        hsmm_expected_counts_f64_declaration,
        hsmm_log_partition_declaration,
        hsmm_exponentials_declaration,
        hsmm_log_counts_declaration,
        hsmm_log_score_declaration,
        hsmm_causal_declaration,
        hsmm_smoothed_declaration,
        hsmm_viterbi_declaration,
        hsmm_sample_paths_declaration,
        hsmm_elliptical_density_declaration,
        hsmm_elliptical_moments_declaration,
        hsmm_elliptical_density_of_units_declaration,
        hsmm_elliptical_moments_of_units_declaration,
        hsmm_maximise_durations_declaration,
        hsmm_duration_tables_declaration,
        hsmm_spread_declaration,
        hsmm_gathered_declaration,
        hsmm_linear_declaration,
    };
    return i < int64_t(std::size(all)) ? all[i] : nullptr;
}

// 2: AVX-512, 1: AVX2 with FMA, 0: neither, as processor and operating system allow.
int hsmm_instruction_set() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}

int hsmm_lanes(int bytes) { return HSMM_VECTOR_BYTES / bytes; }
}

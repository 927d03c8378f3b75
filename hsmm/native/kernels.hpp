// The plain C interface that library.py loads.
#pragma once

#include "causal.hpp"
#include "sampling.hpp"
#include "scaled.hpp"
#include "viterbi.hpp"

using namespace hsmm;

extern "C" {

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

int hsmm_expected_counts_f32(const Problem* p, const CountsOut* out) {
    return guarded([&] { expected_counts<float>(*p, *out); });
}

int hsmm_expected_counts_f64(const Problem* p, const CountsOut* out) {
    return guarded([&] { expected_counts<double>(*p, *out); });
}

int hsmm_log_partition(const Problem* p, const LikelihoodOut* out) {
    return guarded([&] { log_partition(*p, *out); });
}

int hsmm_log_counts(const Problem* p, const CountsOut* out) {
    return guarded([&] { log_counts(*p, *out); });
}

int hsmm_log_score(const Problem* p, const LikelihoodOut* out) {
    return guarded([&] { log_score(*p, out->log_likelihood); });
}

int hsmm_smoothed(const Problem* p, const SmoothedOut* out) {
    return guarded([&] { smoothed(*p, *out); });
}

int hsmm_sample_paths(const Problem* p, const SamplesOut* out) {
    return guarded([&] { sample_paths(*p, *out); });
}

int hsmm_causal(const Problem* p, const CausalOut* out) {
    return guarded([&] { causal(*p, *out); });
}

int hsmm_viterbi(const Problem* p, const PathsOut* out) {
    return guarded([&] {
        for_each_group(p->n_groups, p->n_threads, [&](int64_t index, InOrder&) {
            with_group<double>(*p, index, [&](const auto& g) {
                with_layout(g, [&](auto shared) { decode<shared()>(g, *out); });
            });
        });
    });
}
}

// State paths drawn from their posterior, segment by segment from the last one back; each by one thread.
#pragma once

#include "log_forward.hpp"

struct Samples : Tables {
    Long n_paths;
    const Long* seeds;  // (R, S)
    Long* states;       // (n_paths, R, N), or (n_paths, 1, N) with owners
    Long n_all_rows;    // R * N
};

// SplitMix64 (Steele, Lea & Flood 2014); every path has a sequence of its own.
struct Random {
    unsigned long long state;

    DEVICE static unsigned long long mixed(unsigned long long x) {
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
        return x ^ (x >> 31);
    }

    DEVICE Random(Long seed, Long path) : state(mixed(mixed((unsigned long long)seed) + (unsigned long long)path)) {}

    DEVICE double uniform() {
        state += 0x9e3779b97f4a7c15ULL;
        return double(mixed(state) >> 11) * 0x1p-53;
    }
};

struct Sampler {
    const Sequence& s;
    const Trace& trace;
    const Forward& last;  // after the last row
    double log_ending;

    // Index of a term, drawn in proportion to its exponential; they sum to exp(log_total), but for rounding.
    template <class Term>
    DEVICE int drawn(Random& random, int n, double log_total, Term term) const {
        const double level = random.uniform();
        double height = 0;
        int found = 0;
        for (int i = 0; i < n; ++i) {
            const double log = term(i);
            if (!possible(log)) continue;
            found = i;
            height += exp(log - log_total);
            if (height > level) break;
        }
        return found;
    }

    // The row where the segment began that holds state k at `end`, with r + 1 steps left there or, where it `ends`, none.
    DEVICE int beginning(Random& random, int k, int r, int end, bool ends) const {
        const double log_total = ends ? trace.ended(end)[k] : last.steps_left(k, r, Slots(end, s.D)), level = random.uniform();
        double height = 0, passed = ends && s.has_tail && s.D == 1 ? s.leave(k) : 0.0;
        int found = end;
        for (int t = end, column = r; t >= 0; --t) {
            passed += trace.relative(t)[k];
            if (!possible(passed)) break;
            const double log = trace.started(t)[k] + double(s.law(t)[k * s.D + column]) + passed;
            if (possible(log)) {
                found = t;
                height += exp(log - log_total);
                if (height > level) break;
            }
            if (column + 1 == s.D) {
                if (!s.has_tail) break;
                passed += s.stay(k);
            } else if (++column + 1 == s.D && s.has_tail) {
                passed += s.leave(k);
            }
        }
        return found;
    }

    DEVICE void draw(Random random, Long* states) const {
        const int n = s.length;
        int k, r = 0, end = n - 1;
        const Slots slot(end, s.D);
        if (s.right) {
            k = drawn(random, s.K, 0.0, [&](int i) { return trace.occupied(end)[i]; });
            r = drawn(random, s.D, trace.occupied(end)[k], [&](int i) { return last.steps_left(k, i, slot); });
        } else {
            k = drawn(random, s.K, log_ending, [&](int i) { return trace.ended(end)[i]; });
        }
        for (bool ends = !s.right;; ends = true) {
            const int start = beginning(random, k, r, end, ends);
            for (int t = start; t <= end; ++t) states[t] = k;
            if (start == 0) return;
            end = start - 1;
            const Real* into = s.transition(end) + k;
            k = drawn(random, s.K, trace.started(start)[k],
                      [&](int i) { return trace.ended(end)[i] + double(into[i * s.K]); });
            r = 0;
        }
    }
};

DEVICE void sample_paths(const Samples& p, const Team& team, Memory memory, Long slot) {
    const Sequence s(p, slot);
    const Trace trace(s, memory);
    const Forward forward(team, s, memory);
    const double log_density = trace.fill(forward), log_ending = forward.ending();
    const bool is_possible = possible(log_density + log_ending);
    const Sampler sampler{s, trace, forward, log_ending};
    team.each(p.n_paths, [&](Long path) {
        Long* states = p.states + path * p.n_all_rows + s.row;
        if (is_possible) sampler.draw(Random(p.seeds[s.pair], path), states);
        for (int t = 0; !is_possible && t < s.length; ++t) states[t] = -1;
    });
    team.wait();
}

#define SAMPLES Long n_paths, const Long *seeds, Long *states, Long n_all_rows
ENTRY(hsmm_sample_paths, sample_paths, Samples, SAMPLES, n_paths, seeds, states, n_all_rows)

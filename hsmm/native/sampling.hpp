// State paths drawn from their posterior, segment by segment from the last one back.
#pragma once

#include <vector>

#include "log_backward.hpp"

namespace hsmm {

HSMM_STRUCTURE(SamplesOut,
    int64_t n_paths;
    const int64_t* seeds;  // (R, S)
    int64_t* states;       // (n_paths, R, N)
);

// SplitMix64 (Steele, Lea & Flood 2014).
class Random {
    uint64_t state_;

public:
    explicit Random(uint64_t seed) : state_(seed) {}

    double uniform() {
        uint64_t x = (state_ += 0x9e3779b97f4a7c15ULL);
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
        return double((x ^ (x >> 31)) >> 11) * 0x1p-53;
    }
};

class PathSampler {
    struct Segment {
        int64_t state, start;
        bool in_tail;  // still in the tail slot at `start`, whose beginning is yet to be drawn
    };

    class Choice {
        std::vector<double> weight_;
        std::vector<Segment> segment_;

    public:
        void clear() { weight_.clear(), segment_.clear(); }

        void add(double log_weight, Segment segment) {
            if (!(log_weight > logs::zero)) return;
            weight_.push_back(log_weight);
            segment_.push_back(segment);
        }

        // From logarithms to heights that rise to their total.
        void close() {
            double most = logs::zero, height = 0;
            for (const double weight : weight_) most = std::max(most, weight);
            for (double& weight : weight_) weight = height += std::exp(weight - most);
        }

        Segment draw(Random& random) const {
            const double level = random.uniform() * weight_.back();
            const auto found = std::upper_bound(weight_.begin(), weight_.end(), level);
            return segment_[std::min<size_t>(found - weight_.begin(), segment_.size() - 1)];
        }
    };

    Sequence& s_;
    const LogTrace& trace_;
    Choice last_, choice_;

    // Segments of state j that may have `last` as their last visible row; `law(start, n)` weighs their lengths.
    template <class Law>
    void collect(Choice& choice, int64_t j, int64_t last, Law law, double leave_tail) const {
        const int64_t direct = std::min(s_.has_tail ? s_.D - 1 : s_.D, last + 1);
        double emission = 0;
        for (int64_t n = 1; n <= direct; ++n) {
            const int64_t start = last - n + 1;
            emission += trace_.relative(start, j);
            if (emission == logs::zero) return;
            choice.add(trace_.start(start)[j] + law(start, n) + emission, {j, start, false});
        }
        const int64_t left = last - s_.D + 1;
        if (s_.has_tail && left >= 0) choice.add(trace_.tail(left)[j] + leave_tail + emission, {j, left, true});
    }

    void collect_ended(Choice& choice, int64_t j, int64_t last) const {
        const auto law = [&](int64_t start, int64_t n) { return s_.law(start, j)[n - 1]; };
        collect(choice, j, last, law, s_.has_tail ? s_.leave()[j] : 0.0);
    }

    void collect_open(Choice& choice, int64_t j, int64_t last) const {
        std::vector<double> later(s_.D);
        if (s_.starts_alike(1)) logs::sums_from(s_.law(1, j), s_.D, later.data());
        const auto law = [&](int64_t start, int64_t n) {
            return s_.starts_alike(start) ? later[n - 1] : s_.log_survival(start, j, n);
        };
        collect(choice, j, last, law, 0.0);
    }

    int64_t beginning(const Segment& segment, Random& random) const {
        const int64_t j = segment.state;
        int64_t t = segment.start;
        for (; segment.in_tail && t > 0; --t) {
            if (trace_.tail(t - 1)[j] == logs::zero) break;
            const double began = trace_.start(t)[j] + s_.law(t, j)[s_.D - 1] + trace_.relative(t, j);
            if (random.uniform() < std::exp(began - trace_.tail(t)[j])) break;
        }
        return t;
    }

    int64_t state_before(int64_t start, int64_t state, Random& random) {
        const double *into = s_.transition_into(start - 1) + state * s_.Kp, *end = trace_.end(start - 1);
        choice_.clear();
        for (int64_t i = 0; i < s_.K; ++i) choice_.add(end[i] + into[i], {i, 0, false});
        choice_.close();
        return choice_.draw(random).state;
    }

public:
    PathSampler(Sequence& s, const LogTrace& trace) : s_(s), trace_(trace) {
        for (int64_t j = 0; j < s.K; ++j) {
            if (s.right) collect_open(last_, j, s.length - 1);
            else collect_ended(last_, j, s.length - 1);
        }
        last_.close();
    }

    void draw(Random& random, int64_t* states) {
        int64_t last = s_.length - 1;
        for (Segment segment = last_.draw(random);;) {
            const int64_t start = beginning(segment, random);
            std::fill(states + start, states + last + 1, segment.state);
            if (start == 0) return;
            last = start - 1;
            const int64_t before = state_before(start, segment.state, random);
            choice_.clear();
            collect_ended(choice_, before, last);
            choice_.close();
            segment = choice_.draw(random);
        }
    }
};

inline void sample_paths(const Problem& p, const SamplesOut& out) {
    for_each_group(p.n_groups, p.n_threads, [&](int64_t index, InOrder&) {
        Sequence s(p, p.lanes[index]);
        const LogTrace trace(s);
        const bool possible = std::isfinite(trace.log_likelihood);
        const auto path = [&](int64_t n) { return out.states + (n * p.n_restarts + s.restart) * p.n_rows + s.offset; };
        for (int64_t n = 0; !possible && n < out.n_paths; ++n) std::fill_n(path(n), s.length, int64_t(-1));
        if (!possible) return;
        PathSampler sampler(s, trace);
        Random random(uint64_t(out.seeds[s.pair]));
        for (int64_t n = 0; n < out.n_paths; ++n) sampler.draw(random, path(n));
    });
}

}  // namespace hsmm

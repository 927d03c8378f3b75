// Parametric laws of durations: the parameters that maximise the expected complete-data log-likelihood of expected counts,
// by Newton's method on the exact objective, never downhill. Derivation: docs/maths/durations.md.
#pragma once

#include "boundary.hpp"
#include "jets.hpp"
#include "threads.hpp"

namespace hsmm::durations {

HSMM_STRUCTURE(DurationLaw,
    int64_t family;  // as in with_family
    int64_t min_duration;
    int64_t max_duration;
    int64_t has_tail;
    const double *low, *high;  // (P,) bounds of the parameters
);

HSMM_STRUCTURE(DurationCounts,
    const double* segments;    // (n, D) by duration, with a tail (n, D + 1), the last column its slot
    const double* residual;    // the same of first segments by the steps they have left; null if there are none
    const double* tail_stay;   // (n,) steps that stayed in the slot
    const double* tail_leave;  // (n,) or left it
    double* parameters;        // (n, P): where to start; in the end where the maximum is
    int64_t n_states, n_threads;
);

HSMM_STRUCTURE(DurationTable,
    const double* parameters;  // (n, P)
    double* log_duration;      // (n, D), with a tail (n, D + 1)
    double* log_tail;          // (n,), null without a tail
    int64_t n_states, n_threads;
);

constexpr double almost_for_ever = -1e-12;  // the log-probability of staying on, where rounding could say more than always
constexpr double slowest_decay = -1e-8;     // of what lies beyond the table, by one step

// The durations 1, 2, … with what the families need of them.
struct Durations {
    const int64_t size;
    Buffer<double> duration, log_duration, log_factorial;  // log (d - 1)!

    explicit Durations(int64_t size) : size(size), duration(size), log_duration(size), log_factorial(size) {
        for (int64_t i = 0; i < size; ++i) {
            duration[i] = double(i + 1);
            log_duration[i] = std::log(duration[i]);
            log_factorial[i] = i == 0 ? 0 : log_factorial[i - 1] + log_duration[i - 1];
        }
    }
};

// Every family fills in its log-weights of the durations, up to a constant, with their derivatives in x.

// P(d) ∝ exp(-(d - 1) e^x): the log of -log of the ratio.
struct Geometric {
    static constexpr int n_parameters = 1;

    static void fill(const Durations& d, const double* x, Jets<1>& out) {
        const double rate = std::exp(x[0]);
        for (int64_t i = 0; i < d.size; ++i)
            out.value()[i] = out.first(0)[i] = out.second(0)[i] = -rate * (d.duration[i] - 1);
    }
};

// The log-mean of d - 1.
struct Poisson {
    static constexpr int n_parameters = 1;

    static void fill(const Durations& d, const double* x, Jets<1>& out) {
        for (int64_t i = 0; i < d.size; ++i) {
            const double steps = d.duration[i] - 1;
            out.value()[i] = steps * x[0] - d.log_factorial[i];
            out.first(0)[i] = steps;
            out.second(0)[i] = 0;
        }
    }
};

// The log-mean of d - 1, and the log of the size r. Γ(s + r) / (Γ(r) r^s) is the product of 1 + i / r, i < s.
struct NegativeBinomial {
    static constexpr int n_parameters = 2;

    static void fill(const Durations& d, const double* x, Jets<2>& out) {
        const double r = std::exp(x[1]), odds = std::exp(x[0] - x[1]);
        const double log_share = x[0] - std::log1p(odds);  // of the mean, in units of r, in 1 + that
        const double share = odds / (1 + odds), bend = share * (1 - share);
        terms(r, out);
        double log_product = 0, slope = 0, curvature = 0;
        for (int64_t i = 0; i < d.size; ++i) {
            const double steps = double(i);
            const double term = out.value()[i], part = out.first(1)[i], change = out.second(2)[i];
            out.value()[i] = log_product + steps * log_share - d.log_factorial[i];
            out.first(0)[i] = steps * (1 - share);
            out.first(1)[i] = steps * share - slope;
            out.second(0)[i] = -steps * bend;
            out.second(1)[i] = steps * bend;
            out.second(2)[i] = curvature - steps * bend;
            log_product += term, slope += part, curvature += change;
        }
    }

private:
    // log(1 + i / r), and its first and second derivatives in log r, but for the first one's sign.
    static void terms(double r, Jets<2>& out) {
        const double inverse = 1 / r;
        for (int64_t i = 0; i < out.filled(); i += logs::width) {
            logs::V steps;
            for (int l = 0; l < logs::width; ++l) steps[l] = double(i + l);
            const logs::V sum = steps + r, part = steps / sum;
            logs::store(out.value() + i, logs::logarithm(1.0 + steps * inverse));
            logs::store(out.first(1) + i, part);
            logs::store(out.second(2) + i, part * (r / sum));
        }
    }
};

// The density of a gamma law: its log-mean and the log of its shape.
struct Gamma {
    static constexpr int n_parameters = 2;

    static void fill(const Durations& d, const double* x, Jets<2>& out) {
        const double a = std::exp(x[1]), rate = a * std::exp(-x[0]);
        for (int64_t i = 0; i < d.size; ++i) {
            const double decay = rate * d.duration[i], growth = a * d.log_duration[i];
            out.value()[i] = growth - d.log_duration[i] - decay;
            out.first(0)[i] = decay;
            out.first(1)[i] = growth - decay;
            out.second(0)[i] = -decay;
            out.second(1)[i] = decay;
            out.second(2)[i] = growth - decay;
        }
    }
};

// The density of a log-normal law: mean and log-deviation of the logarithm.
struct LogNormal {
    static constexpr int n_parameters = 2;

    static void fill(const Durations& d, const double* x, Jets<2>& out) {
        const double inverse = std::exp(-x[1]);
        for (int64_t i = 0; i < d.size; ++i) {
            const double score = (d.log_duration[i] - x[0]) * inverse;
            out.value()[i] = -d.log_duration[i] - 0.5 * score * score;
            out.first(0)[i] = score * inverse;
            out.first(1)[i] = score * score;
            out.second(0)[i] = -inverse * inverse;
            out.second(1)[i] = -2 * score * inverse;
            out.second(2)[i] = -2 * score * score;
        }
    }
};

// Calls work(family) with the family of this number, in the order of native.py.
template <class Work>
void with_family(int64_t family, Work work) {
    switch (family) {
        case 0: return work(Geometric());
        case 1: return work(Poisson());
        case 2: return work(NegativeBinomial());
        case 3: return work(Gamma());
        case 4: return work(LogNormal());
    }
    throw std::invalid_argument("no such family");
}

// A family's log-weights of the durations, and what they make of the table's columns.
template <class Family>
class Weights {
    static constexpr int P = Family::n_parameters;
    using Number = Jet<P>;

    const DurationLaw& law_;
    const Durations& durations_;

    // What lies beyond the last weight, at its rate of decay.
    Number rest() const {
        const Number last = of[durations_.size - 1];
        const Number ratio = at_most(slowest_decay, difference(last, of[durations_.size - 2]));
        Number rest = difference(last, log_one_minus_exp(ratio));
        rest.add(1, ratio);
        return rest;
    }

public:
    const int64_t first, D, columns;  // first: of the columns that min_duration allows
    Jets<P> of;
    Number all, beyond, stay, leave;  // log-weights; beyond D, and where there is a tail, what it stays and leaves with

    Weights(const DurationLaw& law, const Durations& durations)
        : law_(law), durations_(durations), first(law.min_duration - 1), D(law.max_duration),
          columns(D + (law.has_tail ? 1 : 0)), of(durations.size), beyond(constant<P>(logs::zero)) {}

    void fill(const double* x) {
        Family::fill(durations_, x, of);
        if (law_.has_tail) {
            const Number later = log_sum(log_sum(of, D + 1, durations_.size), rest());
            beyond = log_sum(later, of[D]);
            stay = at_most(almost_for_ever, difference(later, beyond));
            leave = log_one_minus_exp(stay);
        }
        all = log_sum(log_sum(of, first, D), beyond);
    }
};

// One state's expected complete-data log-likelihood, in a family's parameters.
template <class Family>
class Objective {
    static constexpr int P = Family::n_parameters;
    using Number = Jet<P>;

    const bool has_tail_;
    Weights<Family> weights_;
    Buffer<double> segments_, residual_;
    double tail_stay_ = 0, tail_leave_ = 0;
    bool has_residual_ = false;

    // log P(steps left) of first segments that are cut on the left: P(d >= r) / E[d].
    void add_residual(Number& sum) const {
        Number survival = weights_.beyond, total = survival;
        double n = 0;
        if (has_tail_) {
            total = difference(survival, weights_.leave);
            n += residual_[weights_.D];
            sum.add(residual_[weights_.D], total);
        }
        for (int64_t i = weights_.D - 1; i >= 0; --i) {
            if (i >= weights_.first) survival = log_sum(survival, weights_.of[i]);
            total = log_sum(total, survival);
            n += residual_[i];
            if (residual_[i] > 0) sum.add(residual_[i], survival);
        }
        sum.add(-n, total);
    }

public:
    double n_segments = 0;

    Objective(const DurationLaw& law, const Durations& durations)
        : has_tail_(law.has_tail), weights_(law, durations), segments_(weights_.columns + logs::width),
          residual_(weights_.columns) {}

    void read(const DurationCounts& counts, int64_t state) {
        const int64_t columns = weights_.columns;
        logs::fill(segments_, columns + logs::width, 0);
        std::copy_n(counts.segments + state * columns, columns, segments_.data());
        n_segments = 0;
        for (int64_t i = weights_.first; i < columns; ++i) n_segments += segments_[i];
        has_residual_ = false;
        for (int64_t i = 0; counts.residual && i < columns; ++i) {
            residual_[i] = counts.residual[state * columns + i];
            has_residual_ |= residual_[i] > 0;
        }
        if (!has_tail_) return;
        tail_stay_ = counts.tail_stay[state];
        tail_leave_ = counts.tail_leave[state];
    }

    Number operator()(const double* x) {
        weights_.fill(x);
        Number sum = weighted_sum(weights_.of, segments_.data(), weights_.first, weights_.D);
        if (has_tail_) {
            sum.add(segments_[weights_.D], weights_.beyond);
            sum.add(tail_stay_, weights_.stay);
            sum.add(tail_leave_, weights_.leave);
        }
        sum.add(-n_segments, weights_.all);
        if (has_residual_) add_residual(sum);
        return sum;
    }
};

// Newton's method between bounds. Where the objective is not concave its curvature is taken by size, so that every step
// leads uphill.
template <class Family>
class Climb {
    static constexpr int P = Family::n_parameters;
    static constexpr int most_steps = 200;
    static constexpr double rounding = 1e-14, nearly_there = 1e-9;  // in units of value and counts

    Objective<Family>& objective_;
    const DurationLaw& law_;
    double x_[P];
    Jet<P> here_;

    bool leaves(const double* x, int i, double change) const {
        return (x[i] <= law_.low[i] && change < 0) || (x[i] >= law_.high[i] && change > 0);
    }

    // Slopes that point out of the bounds are none.
    void slopes(const double* x, const Jet<P>& at, double* out) const {
        for (int i = 0; i < P; ++i) out[i] = leaves(x, i, at.first[i]) ? 0 : at.first[i];
    }

    static double steepest(const double* slope) {
        double most = 0;
        for (int i = 0; i < P; ++i) most = std::max(most, std::fabs(slope[i]));
        return most;
    }

    static double divided(double slope, double curvature) {
        return slope == 0 ? 0 : slope / std::max(std::fabs(curvature), 1e-300);
    }

    // No longer than 1.
    void direction(const double* slope, double* step) const {
        if constexpr (P == 1) {
            step[0] = divided(slope[0], here_.second[0]);
        } else if (slope[0] == 0 || slope[1] == 0) {
            for (int i = 0; i < P; ++i) step[i] = divided(slope[i], here_.second[2 * i]);
        } else {
            const double centre = 0.5 * (here_.second[0] + here_.second[2]);
            const double half = 0.5 * (here_.second[0] - here_.second[2]), off = here_.second[1];
            const double angle = 0.5 * std::atan2(off, half), c = std::cos(angle), s = std::sin(angle);
            const double radius = std::hypot(half, off);
            const double along = divided(c * slope[0] + s * slope[1], centre + radius);
            const double across = divided(c * slope[1] - s * slope[0], centre - radius);
            step[0] = c * along - s * across;
            step[1] = s * along + c * across;
        }
        double length = 0;
        for (int i = 0; i < P; ++i) length = std::hypot(length, step[i]);
        for (int i = 0; i < P && length > 1; ++i) step[i] /= length;
    }

    // Along the bounds where it would lead out of them, and no further than to the next.
    void direction_within(double* slope, double* step) const {
        direction(slope, step);
        for (int i = 0; i < P; ++i)
            if (leaves(x_, i, step[i])) {
                slope[i] = 0;
                direction(slope, step);
            }
        double share = 1;
        for (int i = 0; i < P; ++i) {
            const double room = (step[i] > 0 ? law_.high[i] : law_.low[i]) - x_[i];
            if (std::fabs(step[i]) > std::fabs(room)) share = std::min(share, room / step[i]);
        }
        for (int i = 0; i < P; ++i) step[i] *= share;
    }

    // Whether a step was made: uphill, or where rounding hides what is gained, to where it is flatter.
    bool step() {
        double slope[P], step[P], gain = 0;
        slopes(x_, here_, slope);
        direction_within(slope, step);
        for (int i = 0; i < P; ++i) gain += slope[i] * step[i];
        const double scale = std::fabs(here_.value) + objective_.n_segments;
        const bool is_near = gain <= nearly_there * scale;
        const double least = here_.value + (is_near ? rounding * scale : 0);
        for (double size = 1; gain > 0 && size > 1e-7; size /= 4) {
            double trial[P];
            for (int i = 0; i < P; ++i)
                trial[i] = std::min(std::max(x_[i] + size * step[i], law_.low[i]), law_.high[i]);
            const Jet<P> there = objective_(trial);
            if (there.value > least || (is_near && size == 1 && is_flatter(trial, there, slope, scale))) {
                std::copy_n(trial, P, x_);
                here_ = there;
                return true;
            }
            if (gain <= rounding * scale) return false;
        }
        return false;
    }

    bool is_flatter(const double* trial, const Jet<P>& there, const double* slope, double scale) const {
        double left[P];
        slopes(trial, there, left);
        return there.value >= here_.value - rounding * scale && 2 * steepest(left) < steepest(slope);
    }

public:
    Climb(Objective<Family>& objective, const DurationLaw& law, const double* start)
        : objective_(objective), law_(law) {
        std::copy_n(start, P, x_);
        here_ = objective_(x_);
    }

    void run(double* out) {
        for (int i = 0; i < most_steps && step(); ++i) {
        }
        std::copy_n(x_, P, out);
    }
};

// Weights beyond the table, that the tail's mass and decay are taken from.
inline int64_t n_weights(const DurationLaw& law) {
    return law.max_duration + (law.has_tail ? std::max<int64_t>(law.max_duration, 64) : 0);
}

inline void maximise(const DurationLaw& law, const DurationCounts& counts) {
    const Durations durations(n_weights(law));
    with_family(law.family, [&](auto family) {
        using Family = decltype(family);
        for_each_group(counts.n_states, counts.n_threads, [&](int64_t state, InOrder&) {
            Objective<Family> objective(law, durations);
            objective.read(counts, state);
            double* parameters = counts.parameters + state * Family::n_parameters;
            Climb<Family>(objective, law, parameters).run(parameters);
        });
    });
}

inline void tables(const DurationLaw& law, const DurationTable& table) {
    const Durations durations(n_weights(law));
    with_family(law.family, [&](auto family) {
        using Family = decltype(family);
        for_each_group(table.n_states, table.n_threads, [&](int64_t state, InOrder&) {
            Weights<Family> weights(law, durations);
            weights.fill(table.parameters + state * Family::n_parameters);
            double* columns = table.log_duration + state * weights.columns;
            for (int64_t i = 0; i < weights.D; ++i)
                columns[i] = i < weights.first ? logs::zero : weights.of.value()[i] - weights.all.value;
            if (!law.has_tail) return;
            columns[weights.D] = weights.beyond.value - weights.all.value;
            table.log_tail[state] = weights.stay.value;
        });
    });
}

}  // namespace hsmm::durations

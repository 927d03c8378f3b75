// Numbers with their first and second derivatives in P parameters, P = 1 or 2, and sums of exponentials of such numbers.
#pragma once

#include <algorithm>
#include <cmath>

#include "logs.hpp"

namespace hsmm {

template <int P>
constexpr int n_second = P * (P + 1) / 2;

// Calls work(i, j) for all i <= j; their second derivative is the (i + j)-th.
template <int P, class Work>
inline void for_pairs(Work work) {
    for (int i = 0; i < P; ++i)
        for (int j = i; j < P; ++j) work(i, j);
}

template <int P>
struct Jet {
    double value = 0, first[P] = {}, second[n_second<P>] = {};

    void add(double factor, const Jet& x) {
        value += factor * x.value;
        for (int i = 0; i < P; ++i) first[i] += factor * x.first[i];
        for (int i = 0; i < n_second<P>; ++i) second[i] += factor * x.second[i];
    }
};

template <int P>
Jet<P> constant(double value) {
    Jet<P> x;
    x.value = value;
    return x;
}

// f(x), given f, f' and f'' there.
template <int P>
Jet<P> composed(const Jet<P>& x, double f, double slope, double bend) {
    Jet<P> y;
    y.value = f;
    for (int i = 0; i < P; ++i) y.first[i] = slope * x.first[i];
    for_pairs<P>([&](int i, int j) { y.second[i + j] = slope * x.second[i + j] + bend * x.first[i] * x.first[j]; });
    return y;
}

template <int P>
Jet<P> log_one_minus_exp(const Jet<P>& x) {
    const double f = x.value > -logs::ln2 ? std::log(-std::expm1(x.value)) : std::log1p(-std::exp(x.value));
    const double odds = 1 / std::expm1(-x.value);
    return composed(x, f, -odds, -odds * (1 + odds));
}

template <int P>
Jet<P> difference(const Jet<P>& x, const Jet<P>& y) {
    Jet<P> z = x;
    z.add(-1, y);
    return z;
}

// No more than `most`, where it is constant.
template <int P>
Jet<P> at_most(double most, const Jet<P>& x) {
    return x.value > most ? constant<P>(most) : x;
}

// log(exp x + exp y), of which one may be log 0.
template <int P>
Jet<P> log_sum(const Jet<P>& x, const Jet<P>& y) {
    if (x.value < y.value) return log_sum(y, x);
    Jet<P> sum = x;
    if (y.value == logs::zero) return sum;
    const double ratio = std::exp(y.value - x.value), share = ratio / (1 + ratio);
    const Jet<P> gap = difference(y, x);
    sum.value += std::log1p(ratio);
    for (int i = 0; i < P; ++i) sum.first[i] += share * gap.first[i];
    for_pairs<P>([&](int i, int j) {
        sum.second[i + j] += share * gap.second[i + j] + share * (1 - share) * gap.first[i] * gap.first[j];
    });
    return sum;
}

// Many of them, an array for the values and for each derivative; whole vectors may be read from any entry.
template <int P>
class Jets {
    static constexpr int n_arrays = 1 + P + n_second<P>;
    const int64_t row_;
    Buffer<double> arrays_;

public:
    const int64_t size;

    explicit Jets(int64_t size) : row_(logs::padded(size) + logs::width), arrays_(n_arrays * row_), size(size) {
        logs::fill(arrays_, n_arrays * row_, 0);
    }

    double* value() { return arrays_.data(); }
    double* first(int i) { return arrays_.data() + (1 + i) * row_; }
    double* second(int i) { return arrays_.data() + (1 + P + i) * row_; }
    const double* value() const { return arrays_.data(); }
    const double* first(int i) const { return arrays_.data() + (1 + i) * row_; }
    const double* second(int i) const { return arrays_.data() + (1 + P + i) * row_; }

    // What is filled in: `size`, and the entries that a last vector may reach.
    int64_t filled() const { return row_; }

    Jet<P> operator[](int64_t at) const {
        Jet<P> x;
        x.value = value()[at];
        for (int i = 0; i < P; ++i) x.first[i] = first(i)[at];
        for (int i = 0; i < n_second<P>; ++i) x.second[i] = second(i)[at];
        return x;
    }
};

// x where it belongs to the entries before `end`, else 0.
inline logs::V only_before(int64_t end, int64_t at, logs::V x) {
    if (at + logs::width <= end) return x;
    for (int l = 0; l < logs::width; ++l)
        if (at + l >= end) x[l] = 0;
    return x;
}

// Σ weight · x over the entries from `begin` to `end`.
template <int P>
Jet<P> weighted_sum(const Jets<P>& x, const double* weight, int64_t begin, int64_t end) {
    logs::V value{}, first[P] = {}, second[n_second<P>] = {};
    for (int64_t at = begin; at < end; at += logs::width) {
        const logs::V w = only_before(end, at, logs::load(weight + at));
        value += w * logs::load(x.value() + at);
        for (int i = 0; i < P; ++i) first[i] += w * logs::load(x.first(i) + at);
        for (int i = 0; i < n_second<P>; ++i) second[i] += w * logs::load(x.second(i) + at);
    }
    Jet<P> sum;
    sum.value = logs::total(value);
    for (int i = 0; i < P; ++i) sum.first[i] = logs::total(first[i]);
    for (int i = 0; i < n_second<P>; ++i) sum.second[i] = logs::total(second[i]);
    return sum;
}

// log Σ exp(x) over the entries from `begin` to `end`, of which there is at least one. Slopes are taken relative to those
// of the largest, so that little is lost where it is all but alone.
template <int P>
Jet<P> log_sum(const Jets<P>& x, int64_t begin, int64_t end) {
    const int64_t top = std::max_element(x.value() + begin, x.value() + end) - x.value();
    const Jet<P> largest = x[top];
    logs::V value{}, first[P] = {}, second[n_second<P>] = {};
    for (int64_t at = begin; at < end; at += logs::width) {
        const logs::V relative = minimum(logs::load(x.value() + at) - largest.value, logs::V{});
        const logs::V mass = only_before(end, at, exponential<double, logs::width>(relative));
        logs::V slope[P];
        value += mass;
        for (int i = 0; i < P; ++i) first[i] += mass * (slope[i] = logs::load(x.first(i) + at) - largest.first[i]);
        for_pairs<P>([&](int i, int j) {
            second[i + j] += mass * (logs::load(x.second(i + j) + at) + slope[i] * slope[j]);
        });
    }
    const double total = logs::total(value);
    Jet<P> sum;
    sum.value = largest.value + std::log(total);
    double slope[P];
    for (int i = 0; i < P; ++i) sum.first[i] = largest.first[i] + (slope[i] = logs::total(first[i]) / total);
    for_pairs<P>([&](int i, int j) { sum.second[i + j] = logs::total(second[i + j]) / total - slope[i] * slope[j]; });
    return sum;
}

}  // namespace hsmm

// Arrays of logarithms in float64, worked on in full vectors; -inf is log 0, and pads arrays to whole vectors.
#pragma once

#include <algorithm>

#include "buffer.hpp"
#include "lanes.hpp"

namespace hsmm::logs {

constexpr int width = full_width<double>;
constexpr double zero = -std::numeric_limits<double>::infinity();
using V = Lanes<double, width>::V;
using Bits = Lanes<double, width>::Mask;

constexpr int64_t padded(int64_t n) { return (n + width - 1) / width * width; }

inline V load(const double* x) {
    V v;
    std::memcpy(&v, x, sizeof v);
    return v;
}

inline void store(double* x, V v) { std::memcpy(x, &v, sizeof v); }

inline void add_product(double* x, V a, V b) { store(x, fma(a, b, load(x))); }

inline void fill(Buffer<double>& x, int64_t size, double value) { std::fill_n(x.data(), size, value); }

// log(1 + f) for f between sqrt(1/2) - 1 and sqrt(2) - 1, by the series of atanh.
inline V log_near_one(V f) {
    const V z = f / (f + 2.0), square = z * z;
    V series = broadcast<V>(1.0 / 23.0);
    for (int n = 21; n >= 3; n -= 2) series = fma(series, square, broadcast<V>(1.0 / n));
    return fma(series * square, 2.0 * z, 2.0 * z);
}

constexpr double sqrt2 = 1.4142135623730951, ln2 = 0.6931471805599453;

// log(1 + x) for x between 0 and 1.
inline V log_one_plus(V x) {
    const Bits high = x > sqrt2 - 1.0;
    return log_near_one(high ? (x - 1.0) * 0.5 : x) + (high ? broadcast<V>(ln2) : V{});
}

// log(x) for normal x and 0.
inline V logarithm(V x) {
    const Bits bits = (Bits)x;
    V exponent = (V)(((bits >> 52) & 0x7ff) | 0x4330000000000000LL) - (4503599627370496.0 + 1023.0);
    V mantissa = (V)((bits & 0x000fffffffffffffLL) | 0x3ff0000000000000LL);
    const Bits high = mantissa > sqrt2;
    mantissa = high ? mantissa * 0.5 : mantissa;
    exponent = high ? exponent + 1.0 : exponent;
    return x > 0 ? fma(exponent, broadcast<V>(ln2), log_near_one(mantissa - 1.0)) : broadcast<V>(zero);
}

// What may be subtracted from numbers that are all -inf as well.
inline V finite(V x) { return x > -std::numeric_limits<double>::max() ? x : V{}; }
inline double finite(double x) { return x > -std::numeric_limits<double>::max() ? x : 0.0; }

inline V add(V a, V b) {
    const Bits first = a > b;
    const V larger = first ? a : b, smaller = first ? b : a;
    return larger + log_one_plus(exponential<double, width>(smaller - finite(larger)));
}

inline double add(double a, double b) {
    const double larger = std::max(a, b);
    return larger + std::log1p(std::exp(std::min(a, b) - finite(larger)));
}

inline double largest(V x) {
    double most = zero;
    for (int l = 0; l < width; ++l) most = std::max(most, x[l]);
    return most;
}

inline double largest(const double* x, int64_t size) {
    V most = broadcast<V>(zero);
    for (int64_t i = 0; i < size; i += width) most = maximum(most, load(x + i));
    return largest(most);
}

inline double total(V x) {
    double sum = 0;
    for (int l = 0; l < width; ++l) sum += x[l];
    return sum;
}

// Σ exp(x_i - largest); `each(i, terms)` sees the terms, a vector at a time.
template <class Each>
double sum_relative(const double* x, int64_t size, double largest, Each each) {
    const V origin = broadcast<V>(finite(largest));
    V sum{};
    for (int64_t i = 0; i < size; i += width) {
        const V terms = exponential<double, width>(load(x + i) - origin);
        each(i, terms);
        sum += terms;
    }
    return total(sum);
}

inline double sum_scalar(const double* x, int64_t size) {
    double most = zero, sum = 0;
    for (int64_t i = 0; i < size; ++i) most = std::max(most, x[i]);
    for (int64_t i = 0; i < size; ++i) sum += std::exp(x[i] - finite(most));
    return finite(most) + std::log(sum);
}

// log Σ of x_i and all after it.
inline void sums_from(const double* x, int64_t size, double* out) {
    double sum = zero;
    for (int64_t i = size - 1; i >= 0; --i) out[i] = sum = add(sum, x[i]);
}

inline double sum(const double* x, int64_t size) {
    const double most = largest(x, size);
    return finite(most) + std::log(sum_relative(x, size, most, [](int64_t, V) {}));
}

}  // namespace hsmm::logs

// Emission weights of one row, scaled so that the state probabilities stay of order one.
#pragma once

#include "tables.hpp"

namespace hsmm {

// Product of many positive factors as mantissa and exponent, lane by lane, whose logarithm is taken once.
template <class F, int N>
class LogProduct {
    using Bits = typename Lanes<double, N>::Mask;
    static constexpr int steps_between_splits = 4;
    Doubles<N> mantissa_, exponent_{};
    int pending_ = 0;

    void split() {
        const Bits bits = (Bits)mantissa_;
        const Bits exponent = (bits >> 52) | 0x4330000000000000LL;  // 2^52 + the biased exponent, as a double
        exponent_ += (Doubles<N>)exponent - (4503599627370496.0 + 1023.0);
        mantissa_ = (Doubles<N>)((bits & 0x000fffffffffffffLL) | 0x3ff0000000000000LL);
        pending_ = 0;
    }

public:
    LogProduct() : mantissa_(broadcast<Doubles<N>>(1.0)) {}

    void multiply(typename Lanes<F, N>::V factor) {
        mantissa_ *= to_doubles<F, N>(factor);
        if (++pending_ == steps_between_splits) split();
    }

    // Split first: how many ones were multiplied after a lane's last row must not show in its bits.
    double log(int lane) const {
        LogProduct split_now = *this;
        split_now.split();
        return std::log(split_now.mantissa_[lane]) + split_now.exponent_[lane] * 0.6931471805599453;
    }
};

template <class F, int N>
class Scale {
    using V = typename Lanes<F, N>::V;
    using Mask = typename Lanes<F, N>::Mask;
    static constexpr int64_t block = 8;  // rows read ahead: their exponentials wait for nothing
    static constexpr double none = -std::numeric_limits<double>::infinity();
    static constexpr F floor = 4 * std::numeric_limits<F>::min();

    const Group<F, N>& g_;
    const int64_t K_, row_;  // row_: states in whole chunks
    const int64_t size_;     // of a block, in whole vectors
    Buffer<V> log_emission_, likelihood_;  // (block, row)
    Buffer<V> weight_, bound_;             // (row,)
    V largest_[block];
    const V *now_ = nullptr, *likelihood_now_ = nullptr;
    V inverse_{};
    LogProduct<F, N> product_;
    Doubles<N> row_maximum_{};
    double deficit_[N] = {};

    void read_ahead(int64_t t) {
        const int64_t n_rows = std::min(block, g_.longest - t);
        g_.emissions(t, n_rows, log_emission_.data());
        for (int64_t row = 0; row < n_rows; ++row) {
            const V *log_emission = log_emission_.data() + row * row_, largest = largest_of(log_emission);
            largest_[row] = largest > -std::numeric_limits<F>::max() ? largest : V{};
            for_entries<F, N>(row_, [&](int64_t j, auto part) {
                using U = typename decltype(part)::Chunk;
                store(likelihood_.data() + row * row_ + j, load<U>(log_emission + j) - widen<U>(largest_[row]));
            });
        }
        exponentiate(reinterpret_cast<F*>(likelihood_.data()), size_);
    }

    V largest_of(const V* row) const {
        auto largest = load<Chunk<F, N>>(row);
        for_entries<F, N>(row_, [&](int64_t j, auto) { largest = maximum(largest, load<Chunk<F, N>>(row + j)); });
        if constexpr (N > 1) return largest;
        V one{largest[0]};
        for (int l = 1; l < chunk_size<F, N>; ++l) one[0] = std::max(one[0], largest[l]);
        return one;
    }

    template <class Part>
    typename Part::Chunk bound(int64_t j, Part) const {
        using U = typename Part::Chunk;
        const U least = broadcast<U>(floor);
        const U weight = maximum(maximum(load<U>(likelihood_now_ + j), least) * widen<U>(inverse_), least);
        return load<U>(now_ + j) > -std::numeric_limits<F>::max() ? weight : U{};
    }

    // In some lanes the largest emission belongs to states that hardly anything reaches.
    template <class Each>
    void weigh_rescaled(int64_t t, V sum, const V* occupancy, Each each) {
        for (int64_t j = 0; j < row_; ++j) {
            weight_[j] = (occupancy[j] > 0 ? likelihood_now_[j] : V{}) * inverse_;
            bound_[j] = bound(j, All<V>{});
        }
        for (int l = 0; l < g_.n_lanes; ++l)
            if (t < g_.length[l] && sum[l] <= Limits<F>::collapsed)
                rescale(l, occupancy, double(largest_[t % block][l]));
        for_entries<F, N>(row_, [&](int64_t j, auto part) {
            using U = typename decltype(part)::Chunk;
            each(j, part, load<U>(weight_.data() + j), load<U>(bound_.data() + j));
        });
    }

    // Takes the maximum over the states that are reached.
    void rescale(int l, const V* occupancy, double row_maximum) {
        double largest = none, sum = 0;
        const auto log_joint = [&](int64_t j) { return std::log(double(occupancy[j][l])) + double(now_[j][l]); };
        for (int64_t j = 0; j < K_; ++j)
            if (occupancy[j][l] > 0) largest = std::max(largest, log_joint(j));
        impossible[l] |= largest == none;
        for (int64_t j = 0; j < K_ && !impossible[l]; ++j)
            if (occupancy[j][l] > 0) sum += std::exp(log_joint(j) - largest);
        const double log_scale = impossible[l] ? none : largest + std::log(sum);
        for (int64_t j = 0; j < K_; ++j) {
            const F likelihood = F(std::exp(double(now_[j][l]) - log_scale));
            weight_[j][l] = occupancy[j][l] > 0 && !impossible[l] ? likelihood : F(0);
            if (bound_[j][l] > 0) bound_[j][l] = std::max(floor, likelihood);
        }
        deficit_[l] += impossible[l] ? 0 : row_maximum - log_scale;
    }

public:
    bool impossible[N] = {};

    explicit Scale(const Group<F, N>& g)
        : g_(g), K_(g.K), row_(g.Kp), size_((block * row_ * N + full_width<F> - 1) / full_width<F> * full_width<F>),
          log_emission_(block * row_), likelihood_(size_ / N), weight_(row_), bound_(row_) {
        std::fill_n(log_emission_.data(), block * row_, broadcast<V>(-std::numeric_limits<F>::infinity()));
        fill_zero(likelihood_, size_ / N);
    }

    // Calls each(j, part, weight, bound) over the states. weight_j = p(y_t | j) / p(y_t | before) for states that can
    // be occupied at t, else 0. bound_j is no less than that would be: neither rounded to zero nor zero where nothing
    // was found to arrive; a backward pass with these shows by its total whether the forward pass lost anything.
    template <class Each>
    void weigh(int64_t t, const V* occupancy, Each each) {
        const int64_t row = t % block;
        if (row == 0) read_ahead(t);
        now_ = log_emission_.data() + row * row_;
        likelihood_now_ = likelihood_.data() + row * row_;
        const V sum = sum_entries<F, N>(row_, [&](int64_t j, auto part, auto& sum) {
            using U = typename decltype(part)::Chunk;
            const U occupied = load<U>(occupancy + j);
            sum = fma(occupied, occupied > 0 ? load<U>(likelihood_now_ + j) : U{}, sum);
        });
        const V scale = sum > Limits<F>::collapsed ? sum : broadcast<V>(F(1));
        inverse_ = F(1) / scale;
        product_.multiply(scale);
        row_maximum_ += to_doubles<F, N>(largest_[row]);
        if (any(sum <= Limits<F>::collapsed)) return weigh_rescaled(t, sum, occupancy, each);
        for_entries<F, N>(row_, [&](int64_t j, auto part) {
            using U = typename decltype(part)::Chunk;
            const U inverse = widen<U>(inverse_);
            const U weight = (load<U>(occupancy + j) > 0 ? load<U>(likelihood_now_ + j) : U{}) * inverse;
            each(j, part, weight, bound(j, part));
        });
    }

    // Lanes that the last row does not forbid in state j.
    Mask allows(int64_t j) const { return now_[j] > -std::numeric_limits<F>::max(); }

    // How far the data lay, in all, below each row's best state. Lost mass can matter only where this is large.
    double deficit(int l) const { return deficit_[l] - product_.log(l); }
    double log_likelihood(int l) const { return impossible[l] ? none : row_maximum_[l] - deficit(l); }
};

}  // namespace hsmm

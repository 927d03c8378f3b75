// Emission weights of one row, scaled so that the state probabilities stay of order one.
#pragma once

#include "group.hpp"

namespace hsmm {

template <class F, int N>
class Scale {
    using V = typename Lanes<F, N>::V;
    using Mask = typename Lanes<F, N>::Mask;
    static constexpr int64_t block = 8;  // rows read ahead: their exponentials wait for nothing
    static constexpr double none = -std::numeric_limits<double>::infinity();

    const Group<F, N>& g_;
    const int64_t K_, row_;  // row_: states in whole chunks
    const int64_t size_;     // of a block, in whole vectors
    Buffer<V> log_emission_, likelihood_;  // (block, row)
    V largest_[block];
    const V *now_ = nullptr, *likelihood_now_ = nullptr;
    V inverse_{};
    bool any_rescaled_ = false, rescaled_now_[N] = {};
    LogProduct<F, N> product_;
    Doubles<N> row_maximum_{};
    double deficit_[N] = {}, log_scale_[N] = {};

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

    // The largest emission belongs to states that hardly anything reaches: take the maximum over those reached.
    void rescale(int l, const V* occupancy, V* weight, double row_maximum) {
        collapsed[l] = true;
        double largest = none, sum = 0;
        const auto log_joint = [&](int64_t j) { return std::log(double(occupancy[j][l])) + double(now_[j][l]); };
        for (int64_t j = 0; j < K_; ++j)
            if (occupancy[j][l] > 0) largest = std::max(largest, log_joint(j));
        impossible[l] |= largest == none;
        for (int64_t j = 0; j < K_ && !impossible[l]; ++j)
            if (occupancy[j][l] > 0) sum += std::exp(log_joint(j) - largest);
        const double log_scale = impossible[l] ? none : largest + std::log(sum);
        for (int64_t j = 0; j < K_; ++j) {
            const bool reached = occupancy[j][l] > 0 && !impossible[l];
            weight[j][l] = reached ? F(std::exp(double(now_[j][l]) - log_scale)) : F(0);
        }
        log_scale_[l] = log_scale;
        deficit_[l] += impossible[l] ? 0 : row_maximum - log_scale;
    }

public:
    bool collapsed[N] = {}, impossible[N] = {};

    explicit Scale(const Group<F, N>& g)
        : g_(g), K_(g.K), row_(g.Kp), size_((block * row_ * N + full_width<F> - 1) / full_width<F> * full_width<F>),
          log_emission_(block * row_), likelihood_(size_ / N) {
        std::fill_n(log_emission_.data(), block * row_, broadcast<V>(-std::numeric_limits<F>::infinity()));
        fill_zero(likelihood_, size_ / N);
    }

    // weight_j = p(y_t | j) / p(y_t | before) for the states j that can be occupied at t, else 0.
    void weigh(int64_t t, const V* occupancy, V* weight) {
        const int64_t row = t % block;
        if (row == 0) read_ahead(t);
        now_ = log_emission_.data() + row * row_;
        likelihood_now_ = likelihood_.data() + row * row_;
        const V sum = sum_entries<F, N>(row_, [&](int64_t j, auto part, auto& sum) {
            using U = typename decltype(part)::Chunk;
            const U occupied = load<U>(occupancy + j);
            const U likelihood = occupied > 0 ? load<U>(likelihood_now_ + j) : U{};
            store(weight + j, likelihood);
            sum = fma(occupied, likelihood, sum);
        });
        const V scale = sum > Limits<F>::collapsed ? sum : broadcast<V>(F(1));
        inverse_ = F(1) / scale;
        for_entries<F, N>(row_, [&](int64_t j, auto part) {
            using U = typename decltype(part)::Chunk;
            store(weight + j, load<U>(weight + j) * widen<U>(inverse_));
        });
        product_.multiply(scale);
        row_maximum_ += to_doubles<F, N>(largest_[row]);
        any_rescaled_ = any(sum <= Limits<F>::collapsed);
        if (!any_rescaled_) return;
        for (int l = 0; l < g_.n_lanes; ++l) {
            rescaled_now_[l] = t < g_.length[l] && sum[l] <= Limits<F>::collapsed;
            if (rescaled_now_[l]) rescale(l, occupancy, weight, double(largest_[row][l]));
        }
    }

    // The weights of the last row as no less than they are: neither rounded to zero nor zero where nothing was found
    // to arrive. A backward pass with these shows by its total whether the forward pass lost anything.
    void bound(V* weight) const {
        const F floor = 4 * std::numeric_limits<F>::min();
        for_entries<F, N>(row_, [&](int64_t j, auto part) {
            using U = typename decltype(part)::Chunk;
            const U likelihood = maximum(load<U>(likelihood_now_ + j), broadcast<U>(floor)) * widen<U>(inverse_);
            store(weight + j, load<U>(now_ + j) > -std::numeric_limits<F>::max() ? likelihood : U{});
        });
        for (int l = 0; any_rescaled_ && l < g_.n_lanes; ++l)
            for (int64_t j = 0; j < K_ && rescaled_now_[l]; ++j)
                if (weight[j][l] > 0) weight[j][l] = std::max(floor, F(std::exp(double(now_[j][l]) - log_scale_[l])));
    }

    // Lanes that the last row does not forbid in state j.
    Mask allows(int64_t j) const { return now_[j] > -std::numeric_limits<F>::max(); }

    // How far the data lay, in all, below each row's best state. Lost mass can matter only where this is large.
    double deficit(int l) const { return deficit_[l] - product_.log(l); }
    double log_likelihood(int l) const { return impossible[l] ? none : row_maximum_[l] - deficit(l); }
};

}  // namespace hsmm

// Emission weights of one row, scaled so that the state probabilities stay of order one.
#pragma once

#include "group.hpp"

namespace hsmm {

template <class F, int N>
class Scale {
    using V = typename Lanes<F, N>::V;
    using Mask = typename Lanes<F, N>::Mask;

    const Group<F, N>& g_;
    Buffer<V> log_emission_;
    LogProduct<F, N> product_;
    double row_maximum_[N] = {}, deficit_[N] = {};

    // The largest emission belongs to states that hardly anything reaches: take the maximum over those reached.
    void rescale(int l, int64_t t, const V* occupancy, V* weight, double maximum) {
        const double none = -std::numeric_limits<double>::infinity();
        collapsed[l] = true;
        double largest = none, sum = 0;
        for (int64_t j = 0; j < g_.K; ++j)
            if (occupancy[j][l] > 0)
                largest = std::max(largest, std::log(double(occupancy[j][l])) + double(log_emission_[j][l]));
        if (largest == none) {
            if (impossible_from[l] < 0) impossible_from[l] = t;
            step_log[l] = none;
            step_deficit[l] = 0;
            for (int64_t j = 0; j < g_.K; ++j) weight[j][l] = 0;
            return;
        }
        for (int64_t j = 0; j < g_.K; ++j)
            if (occupancy[j][l] > 0)
                sum += std::exp(std::log(double(occupancy[j][l])) + double(log_emission_[j][l]) - largest);
        const double log_scale = largest + std::log(sum);
        for (int64_t j = 0; j < g_.K; ++j)
            weight[j][l] = occupancy[j][l] > 0 ? F(std::exp(double(log_emission_[j][l]) - log_scale)) : F(0);
        deficit_[l] += maximum - log_scale;
        step_log[l] = log_scale;
        step_deficit[l] = maximum - log_scale;
    }

public:
    bool collapsed[N] = {};
    int64_t impossible_from[N];
    double step_log[N], step_deficit[N];  // of the last row, where asked for: log p(y_t | y before t), and its deficit

    explicit Scale(const Group<F, N>& g) : g_(g), log_emission_(g.K) { std::fill_n(impossible_from, N, -1); }

    // weight_j = p(y_t | j) / p(y_t | before) for the states j that can be occupied at t, else 0.
    template <bool KeepLogs = false>
    void weigh(int64_t t, const V* occupancy, V* weight) {
        g_.emission(t, log_emission_.data());
        V largest = log_emission_[0];
        for (int64_t j = 1; j < g_.K; ++j) largest = maximum(largest, log_emission_[j]);
        largest = largest > -std::numeric_limits<F>::max() ? largest : V{};
        V sum{};
        for (int64_t j = 0; j < g_.K; ++j) {
            const V likelihood = exponential<F, N>(log_emission_[j] - largest);
            weight[j] = occupancy[j] > 0 ? likelihood : V{};
            sum = fma(occupancy[j], weight[j], sum);
        }
        const Mask sound = sum > Limits<F>::collapsed;
        const V scale = sound ? sum : broadcast<V>(F(1));
        const V inverse = F(1) / scale;
        for (int64_t j = 0; j < g_.K; ++j) weight[j] *= inverse;
        product_.multiply(scale);
        for (int l = 0; l < N; ++l) row_maximum_[l] += double(largest[l]);
        const int n = g_.running(t);
        if constexpr (KeepLogs)
            for (int l = 0; l < n; ++l) {
                step_deficit[l] = -std::log(double(scale[l]));
                step_log[l] = double(largest[l]) - step_deficit[l];
            }
        for (int l = 0; l < n; ++l)
            if (!sound[l]) rescale(l, t, occupancy, weight, double(largest[l]));
    }

    // Lanes that the last row does not forbid in state j.
    Mask allows(int64_t j) const { return log_emission_[j] > -std::numeric_limits<F>::max(); }

    // How far the data lay, in all, below each row's best state. Lost mass can matter only where this is large.
    double deficit(int l) const { return deficit_[l] - product_.log(l); }
    double log_likelihood(int l) const { return row_maximum_[l] - deficit(l); }
};

}  // namespace hsmm

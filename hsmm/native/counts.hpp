// What a backward pass leaves behind: state probabilities of every row and expected counts of every lane.
#pragma once

#include "tables.hpp"

namespace hsmm {

HSMM_STRUCTURE(CountsOut,
    const double* series_weight;  // (R, S); null: every series counts once
    double* log_likelihood;       // (R, S)
    uint8_t* doubtful;            // (R, S) scaled arithmetic may have lost something: compute again elsewhere
    void* state;                  // (R, N, K), or as the emissions are
    double *initial, *transition, *duration, *residual, *tail_stay, *tail_leave;
);

// The mass of lane l in a row of states.
template <class F, int N>
double mass_of(const Group<F, N>& g, const typename Lanes<F, N>::V* states, int l) {
    double sum = 0;
    for (int64_t j = 0; j < g.K; ++j) sum += double(states[j][l]);
    return sum;
}

// What the forward pass keeps for the backward pass, (T, Kp) each, but (T, K) of the tail.
template <class F, int N>
struct Trace {
    using V = typename Lanes<F, N>::V;
    Buffer<V> end, start, weight, tail;
    Buffer<V> last_occupancy;  // (K,) at each lane's last row
    double last_end[N] = {};   // mass of the segments that end at the last row

    explicit Trace(const Group<F, N>& g)
        : end(g.longest * g.Kp), start(g.view.p.duration ? g.longest * g.Kp : 0), weight(g.longest * g.Kp),
          tail(g.has_tail ? g.longest * g.K : 0), last_occupancy(g.K) {
        if (g.Kp > g.K) fill_zero(end, g.longest * g.Kp);
    }
};

// Sums over time run in the lanes' own type for a while and are then moved into float64.
template <class F, int N>
class Counts {
    using V = typename Lanes<F, N>::V;
    const Group<F, N>& g_;
    const int64_t size_;
    Buffer<V> recent_;
    Buffer<double> total_;

public:
    static constexpr int64_t steps_between_flushes = 128;
    V *duration, *transition, *stay, *leave;
    Buffer<V> initial, residual;
    Doubles<N> paths{};  // the probability of the data as the backward pass finds it, relative to the forward pass's

    explicit Counts(const Group<F, N>& g)
        : g_(g), size_(std::max(g.K * g.D, g.Kp) + g.K * g.Kp + 2 * g.K), recent_(size_ + full_width<F>),
          total_(size_ * N), initial(g.K), residual(g.any_left ? g.K * g.D : 0) {
        duration = recent_.data();
        transition = duration + std::max(g.K * g.D, g.Kp);
        stay = transition + g.K * g.Kp;
        leave = stay + g.K;
        fill_zero(recent_, size_);
        fill_zero(total_, size_ * N);
        if (g.any_left) fill_zero(residual, g.K * g.D);
    }

    void flush() {
        const F* recent = reinterpret_cast<const F*>(recent_.data());
        for (int64_t i = 0; i < size_ * N; ++i) total_[i] += double(recent[i]);
        fill_zero(recent_, size_);
    }

    bool doubtful(int l) const {
        double sum = 0;
        for (int64_t i = 0; i < size_; ++i) sum += total_[i * N + l];
        for (int64_t i = 0; g_.left[l] && i < g_.K * g_.D; ++i) sum += double(residual[i][l]);
        const double allowed = Limits<F>::tolerance + Limits<F>::drift * double(g_.length[l]);
        return !(std::fabs(paths[l] - 1) <= allowed) || !std::isfinite(sum);
    }

    // Adds lane l; duration and transition counts still lack their own table's factor.
    void add_to(const CountsOut& out, int l, double series_weight) const {
        const auto& view = g_.view;
        const int64_t r = g_.restart[l], K = g_.K, D = g_.D;
        const double* lane = total_.data() + l;
        const auto add = [&](double* sum, const V* counts, int64_t size, const F* factor) {
            const double* total = lane + (counts - recent_.data()) * N;
            for (int64_t i = 0; i < size; ++i)
                sum[i] += series_weight * total[i * N] * (factor ? double(factor[i]) : 1.0);
        };
        for (int64_t j = 0; j < K; ++j) out.initial[r * K + j] += series_weight * double(initial[j][l]);
        for (int64_t i = 0; i < K; ++i)
            add(out.transition + (r * K + i) * K, transition + i * g_.Kp, K, view.transition(r) + i * K);
        add(out.duration + r * K * D, duration, K * D, view.p.duration ? view.duration(r) : nullptr);
        add(out.tail_stay + r * K, stay, K, nullptr);
        add(out.tail_leave + r * K, leave, K, nullptr);
        if (!g_.left[l]) return;
        const F* law = view.residual(r, g_.series[l]);
        double* sum = out.residual + (view.p.residual_varies ? g_.pair[l] : r) * K * D;
        for (int64_t i = 0; i < K * D; ++i) sum[i] += series_weight * double(residual[i][l]) * double(law[i]);
    }
};

// Takes the state probabilities of every row, last row first, and writes them for the lanes that have that row.
template <class F, int N>
class StateRows {
    using V = typename Lanes<F, N>::V;
    static constexpr int64_t block = 8;

    const Group<F, N>& g_;
    F* rows_[N];
    V factor_;
    Buffer<V> waiting_;  // (block, Kp)

    void write(int64_t t, int64_t n_rows) {
        F* out[N] = {};
        if (N > 1 && t + n_rows <= g_.shortest) {
            for (int l = 0; l < g_.n_lanes; ++l) out[l] = rows_[l] + t * g_.K;
            from_lanes<F, N>(waiting_.data(), n_rows * g_.K, out);
            return;
        }
        for (int64_t row = 0; row < n_rows; ++row)
            for (int l = 0; l < g_.running(t + row); ++l)
                for (int64_t j = 0; j < g_.K; ++j) rows_[l][(t + row) * g_.K + j] = waiting_[row * g_.Kp + j][l];
    }

public:
    StateRows(const Group<F, N>& g, const CountsOut& out) : g_(g), factor_(broadcast<V>(F(1))), waiting_(block * g.Kp) {
        for (int l = 0; l < g.n_lanes; ++l) {
            const auto& p = g.view.p;
            rows_[l] = static_cast<F*>(out.state) + first_row(p, g.restart[l], g.series[l]) * g.K;
            if (out.series_weight) factor_[l] = F(out.series_weight[g.pair[l]]);
        }
    }

    void add(int64_t t, const V* state) {
        V* row = waiting_.data() + t % block * g_.Kp;
        for_entries<F, N>(g_.Kp, [&](int64_t j, auto part) {
            using U = typename decltype(part)::Chunk;
            store(row + j, load<U>(state + j) * widen<U>(factor_));
        });
        if (t % block == 0) write(t, std::min(block, g_.longest - t));
    }
};

}  // namespace hsmm

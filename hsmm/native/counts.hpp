// What a backward pass leaves behind: state probabilities of every row and expected counts of every lane.
#pragma once

#include <tuple>
#include <utility>

#include "by_table.hpp"
#include "tables.hpp"

namespace hsmm {

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

// Counts of single rows, written as they come.
template <class F, int N>
class CountRows {
    using V = typename Lanes<F, N>::V;
    static constexpr bool as_table = std::is_same_v<F, double>;
    const Group<F, N>& g_;
    double* const table_;  // (R, N, size), null: not wanted
    const int64_t size_;   // of a row
    Buffer<F> turned_;     // (N, size), where they are not of the table's type

    double* of_lane(int l) const { return table_ + (g_.restart[l] * g_.view.p.n_rows + g_.row(l, 0)) * size_; }

public:
    CountRows(const Group<F, N>& g, bool has_rows, double* table, int64_t size)
        : g_(g), table_(has_rows ? table : nullptr), size_(size), turned_(table_ && !as_table ? N * size : 0) {}

    // `counts` (size,) of row t, of the lanes that have a row `last`.
    void write(int64_t t, int64_t last, const V* counts) {
        if (!table_) return;
        const int n = g_.running(last);
        F* lanes[N] = {};
        for (int l = 0; l < n; ++l) {
            if constexpr (as_table) lanes[l] = of_lane(l) + t * size_;
            else lanes[l] = turned_.data() + l * size_;
        }
        from_lanes<F, N>(counts, size_, lanes);
        for (int l = 0; !as_table && l < n; ++l) std::copy_n(lanes[l], size_, of_lane(l) + t * size_);
    }

    // Lane l has nothing in row t or after it.
    void blank(int l, int64_t t) const {
        if (table_) std::fill_n(of_lane(l) + t * size_, (g_.length[l] - t) * size_, 0.0);
    }
};

constexpr int64_t steps_between_flushes = 128;

// Sums for each of the tables that rows share.
template <class F, int N>
class CountsByTable {
    using V = typename Lanes<F, N>::V;
    static constexpr bool in_double = std::is_same_v<F, double>;
    const int64_t size_;
    ByTable<V> recent_;
    ByTable<double> total_;
    Buffer<int64_t> n_recent_;  // rows, of each table

    // Into float64, where they are of another type.
    void flush(int64_t i) {
        F* const recent = reinterpret_cast<F*>(recent_.sums_of(i));
        double* const total = total_.sums_of(i);
        for (int64_t n = 0; n < size_ * N; ++n) total[n] += double(recent[n]);
        std::fill_n(recent, size_ * N, F(0));
        n_recent_[i] = 0;
    }

public:
    CountsByTable(int64_t n_tables, int64_t size)
        : size_(size), recent_(n_tables, size + full_width<F>), total_(in_double ? 0 : n_tables, size * N),
          n_recent_(n_tables) {
        fill_zero(n_recent_, n_tables);
    }

    V* of(int64_t i) {
        if (!in_double && n_recent_[i]++ == steps_between_flushes) flush(i);
        return recent_.sums_of(i);
    }

    void flush_all() {
        if constexpr (in_double) return;
        for (int64_t i : recent_.used()) flush(i);
    }

    // Calls work(i, sums) with the sums of each table, (size, N).
    template <class Work>
    void each(Work work) const {
        if constexpr (in_double)
            for (int64_t i : recent_.used()) work(i, reinterpret_cast<const double*>(recent_[i]));
        else
            for (int64_t i : total_.used()) work(i, total_[i]);
    }
};

// Sums over time run in the lanes' own type for a while and are then moved into float64. Counts of tables that every row
// has one of are not summed.
template <class F, int N>
class Counts {
    using V = typename Lanes<F, N>::V;
    const Group<F, N>& g_;
    const CountsOut& out_;
    const bool transition_by_row_, duration_by_row_, transition_varies_, duration_varies_;
    const int64_t durations_, transitions_, size_;
    Buffer<V> recent_;
    Buffer<double> total_;
    Buffer<V> durations_of_row_, transitions_of_row_, ends_;
    CountRows<F, N> duration_rows_, transition_rows_;
    CountsByTable<F, N> durations_by_table_, transitions_by_table_;

public:
    V *duration, *transition, *stay, *leave;
    Buffer<V> initial, residual;
    V series_weight = broadcast<V>(F(1));  // by which counts of one row are multiplied, as sums are at their end
    Doubles<N> paths{};  // the probability of the data as the backward pass finds it, relative to the forward pass's

    Counts(const Group<F, N>& g, const CountsOut& out)
        : g_(g), out_(out), transition_by_row_(g.view.p.transition_by_row), duration_by_row_(g.view.p.duration_by_row),
          transition_varies_(transition_varies(g.view.p)), duration_varies_(duration_varies(g.view.p)),
          durations_(std::max(g.K * g.D, g.Kp)), transitions_(g.K * g.Kp),
          size_((duration_varies_ ? 0 : durations_) + (transition_varies_ ? 0 : transitions_) + 2 * g.K),
          recent_(size_ + full_width<F>), total_(size_ * N),
          durations_of_row_(duration_by_row_ ? durations_ + full_width<F> : 0),
          transitions_of_row_(transition_by_row_ ? transitions_ : 0), ends_(transition_by_row_ ? g.K : 0),
          duration_rows_(g, duration_by_row_, out.duration, g.K * g.D),
          transition_rows_(g, transition_by_row_, out.transition, g.K * g.K),
          durations_by_table_(g.view.p.duration_of_row ? g.view.p.n_laws : 0, durations_),
          transitions_by_table_(g.view.p.transition_of_row ? g.view.p.n_transitions : 0, transitions_), initial(g.K),
          residual(g.any_left ? g.K * g.D : 0) {
        stay = recent_.data();
        leave = stay + g.K;
        V* next = leave + g.K;
        transition = transition_by_row_ ? transitions_of_row_.data() : next;
        if (!transition_varies_) next += transitions_;
        duration = duration_by_row_ ? durations_of_row_.data() : next;
        fill_zero(recent_, size_);
        fill_zero(total_, size_ * N);
        for (int l = 0; out.series_weight && l < g.n_lanes; ++l) series_weight[l] = F(out.series_weight[g.pair[l]]);
        for (int l = 0; l < g.n_lanes; ++l) transition_rows_.blank(l, g.length[l] - 1);
        if (g.any_left) fill_zero(residual, g.K * g.D);
    }

    // What is counted next are segments that start at t.
    void open_segments(int64_t t) {
        if (g_.view.p.duration_of_row) duration = durations_by_table_.of(g_.duration_at(t));
    }

    // What has been counted of segments that start at t has a row of its own if its table has one.
    void close_segments(int64_t t) {
        if (duration_by_row_) duration_rows_.write(t, t, duration);
    }

    // Moves from t to t + 1 of what is in `from` and ends: fills `after` from `into`, and counts.
    template <class TablesOfGroup>
    void move_back(int64_t t, TablesOfGroup& tables, const V* into, const V* from, V* after) {
        tables.read_transition(t);
        const auto move = [&](auto one_row, const V* weight) {
            hsmm::move_back<F, N, one_row()>(
                into, tables.transition, tables.transposed, g_.K, weight, transition, after);
        };
        if (!transition_by_row_) {
            if (g_.view.p.transition_of_row) transition = transitions_by_table_.of(g_.transition_at(t));
            return move(std::false_type{}, from);
        }
        for (int64_t i = 0; i < g_.K; ++i) ends_[i] = from[i] * series_weight;
        move(std::true_type{}, ends_.data());
        for (int64_t i = 1; N == 1 && i < g_.K; ++i) std::copy_n(transition + i * g_.Kp, g_.K, transition + i * g_.K);
        transition_rows_.write(t, t + 1, transition);
    }

    // Lane l counts nothing.
    void blank(int l) const {
        duration_rows_.blank(l, 0);
        transition_rows_.blank(l, 0);
    }

    void flush() {
        const F* recent = reinterpret_cast<const F*>(recent_.data());
        for (int64_t i = 0; i < size_ * N; ++i) total_[i] += double(recent[i]);
        fill_zero(recent_, size_);
    }

    // After the last row.
    void finish() {
        flush();
        durations_by_table_.flush_all();
        transitions_by_table_.flush_all();
    }

    // Of each lane all counts, which are finite if they are.
    Doubles<N> sum_of_all() const {
        Doubles<N> sum{};
        const auto add_all = [&](int64_t size, const double* sums) {
            for (int64_t i = 0; i < size; ++i) sum += load<Doubles<N>>(sums + i * N);
        };
        add_all(size_, total_.data());
        durations_by_table_.each([&](int64_t, const double* sums) { add_all(g_.K * g_.D, sums); });
        transitions_by_table_.each([&](int64_t, const double* sums) { add_all(transitions_, sums); });
        for (int64_t i = 0; g_.any_left && i < g_.K * g_.D; ++i) sum += to_doubles<F, N>(residual[i]);
        return sum;
    }

    bool doubtful(int l) const {
        const double allowed = Limits<F>::tolerance + Limits<F>::drift * double(g_.length[l]);
        return !(std::fabs(paths[l] - 1) <= allowed);
    }

    // Adds the lanes that `takes` names; duration and transition counts still lack their own table's factor.
    void add(const bool (&takes)[N]) const {
        for (int l = 0; l < g_.n_lanes; ++l)
            if (takes[l]) add(l);
        const auto& view = g_.view;
        const int64_t K = g_.K, D = g_.D, moves = view.p.n_transitions, laws = view.p.n_laws;
        transitions_by_table_.each([&](int64_t table, const double* sums) {
            for (int64_t i = 0; i < K; ++i)
                add_table(takes, sums + i * g_.Kp * N, K, [&](int64_t r) {
                    return std::pair(out_.transition + ((r * moves + table) * K + i) * K,
                                     view.transition_table(r, table) + i * K);
                });
        });
        durations_by_table_.each([&](int64_t table, const double* sums) {
            add_table(takes, sums, K * D, [&](int64_t r) {
                return std::pair(out_.duration + (r * laws + table) * K * D, view.duration_table(r, table));
            });
        });
    }

private:
    // `of_restart` finds where counts of a table (size,) are added, and its factors.
    template <class OfRestart>
    void add_table(const bool (&takes)[N], const double* sums, int64_t size, OfRestart of_restart) const {
        double *out[N] = {}, weight[N] = {};
        const F* factor[N] = {};
        int lanes[N] = {}, n = 0;
        for (int l = 0; l < g_.n_lanes; ++l) {
            if (!takes[l]) continue;
            lanes[n] = l;
            std::tie(out[n], factor[n]) = of_restart(g_.restart[l]);
            weight[n++] = out_.series_weight ? out_.series_weight[g_.pair[l]] : 1.0;
        }
        for (int64_t i = 0; i < size; ++i)
            for (int m = 0; m < n; ++m) out[m][i] += weight[m] * sums[i * N + lanes[m]] * double(factor[m][i]);
    }

    void add(int l) const {
        const CountsOut& out = out_;
        const double series_weight = out.series_weight ? out.series_weight[g_.pair[l]] : 1.0;
        const auto& view = g_.view;
        const int64_t r = g_.restart[l], K = g_.K, D = g_.D;
        const double* lane = total_.data() + l;
        const auto add = [&](double* sum, const V* counts, int64_t size, const F* factor) {
            const double* total = lane + (counts - recent_.data()) * N;
            for (int64_t i = 0; i < size; ++i)
                sum[i] += series_weight * total[i * N] * (factor ? double(factor[i]) : 1.0);
        };
        for (int64_t j = 0; j < K; ++j) out.initial[r * K + j] += series_weight * double(initial[j][l]);
        for (int64_t i = 0; !transition_varies_ && i < K; ++i)
            add(out.transition + (r * K + i) * K, transition + i * g_.Kp, K, view.transition(r) + i * K);
        if (!duration_varies_)
            add(out.duration + r * K * D, duration, K * D, view.p.duration ? view.duration(r) : nullptr);
        add(out.tail_stay + r * K, stay, K, nullptr);
        add(out.tail_leave + r * K, leave, K, nullptr);
        if (!g_.left[l]) return;
        const F* law = view.residual(r, g_.series[l]);
        double* sum = out.residual + (view.p.residual_by_series ? g_.pair[l] : r) * K * D;
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

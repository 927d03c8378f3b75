// The tables of a lane group, laid out for its kernels.
#pragma once

#include "by_table.hpp"
#include "counts_out.hpp"
#include "moves.hpp"
#include "rows.hpp"

namespace hsmm {

// Calls work(shared), a constant that says whether all lanes have the same tables.
template <class F, int N, class Work>
void with_layout(const Group<F, N>& g, Work work) {
    if (g.one_restart && !g.view.p.transition_by_row && !g.view.p.duration_by_row) work(std::true_type{});
    else work(std::false_type{});
}

// A table whose entries are one number for all lanes, or a number for each.
template <class F, int N, bool Shared>
struct Table {
    using V = typename Lanes<F, N>::V;
    const F* entries;

    V operator[](int64_t i) const {
        if constexpr (Shared) return broadcast<V>(entries[i]);
        else return reinterpret_cast<const V*>(entries)[i];
    }
    template <class U>
    U chunk(int64_t i) const {
        if constexpr (std::is_same_v<U, V>) return (*this)[i];
        else return load<U>(entries + i);
    }
    Table from(int64_t i) const { return {entries + (Shared ? i : i * N)}; }
};

// The tables of one group, spread over lanes unless all lanes belong to one restart. Those that every row has one of are
// read row by row; of those that rows share, each is laid out when the first row has it.
template <class F, int N, bool Shared>
class Tables {
    using V = typename Lanes<F, N>::V;
    using Reader = RowReader<F, N>;
    static constexpr bool spreads = !Shared || N == 1;  // where N = 1, copies have room for whole chunks
    static constexpr int64_t room = chunk_size<F, N> - 1;
    static constexpr double tolerance = 1e-6;

    const Group<F, N>& g_;
    const Entries entries_;
    F *const kept_transitions_, *const kept_durations_;  // null: nothing is kept
    Reader transitions_{entries_}, durations_{entries_};
    V most_given_ = broadcast<V>(F(1));  // the largest sum of a law that changes with time
    Buffer<V> spread_duration_, spread_transition_, transposed_transition_, row_, own_mass_, own_least_;
    const int64_t transition_size_, duration_size_;     // of a layout: entries, if they are spread
    ByTable<V> shared_transitions_, shared_durations_;  // and then the transposed, the least entries; the masses

public:
    Buffer<V> initial, first, stay, leave;
    Buffer<V> first_mass;        // (Kp,) sums of a state's durations; tables need not be normalised
    const V* mass;               // the same of the segments that start at any other row
    const V* least_transition;   // (K,) smallest positive entry of each row
    Table<F, N, Shared> duration, transition, transposed;

    // Linear entries of a row's own tables are kept where `out`, if given, will have the counts of that row.
    Tables(const Group<F, N>& g, Entries entries, const CountsOut* out = nullptr)
        : g_(g), entries_(entries), kept_transitions_(out ? reinterpret_cast<F*>(out->transition) : nullptr),
          kept_durations_(out ? reinterpret_cast<F*>(out->duration) : nullptr), spread_duration_(spreads ? g.K * g.D + room : 0),
          spread_transition_(spreads ? g.K * g.Kp + room : 0),
          transposed_transition_(N == 1 ? g.K * g.Kp : 0), row_(N == 1 ? g.K * g.K + room : 0),
          own_mass_(g.Kp), own_least_(g.K), transition_size_(spreads ? g.K * g.Kp + room : 0),
          duration_size_(spreads ? g.K * g.D + room : 0),
          shared_transitions_(g.view.p.transition_of_row ? g.view.p.n_transitions : 0,
                              transition_size_ + (N == 1 ? g.K * g.Kp : 0) + g.K),
          shared_durations_(g.view.p.duration_of_row ? g.view.p.n_laws : 0, duration_size_ + g.Kp), initial(g.Kp),
          first(g.any_left ? g.K * g.D + room : 0), stay(g.K), leave(g.K), first_mass(g.Kp),
          mass(own_mass_.data()), least_transition(own_least_.data()), duration{nullptr}, transition{nullptr}, transposed{nullptr} {
        const auto& view = g.view;
        fill_zero(initial, g.Kp);
        g.spread([&](int l) { return view.initial(g.restart[l]); }, g.K, initial.data());
        lay_out_transition();
        if (g.has_tail) {
            g.spread([&](int l) { return view.tail_stay(g.restart[l]); }, g.K, stay.data());
            g.spread([&](int l) { return view.tail_leave(g.restart[l]); }, g.K, leave.data());
        }
        if (view.p.duration) lay_out_duration();
    }

    // Of the moves from t to t + 1, and of the segments that start at t; lanes that have no such row get an impossible one.
    void read_transition(int64_t t) {
        if (g_.view.p.transition_of_row) return take_transition(g_.transition_at(t));
        if constexpr (Shared) return;
        if (!g_.view.p.transition_by_row) return;
        const F* rows[N] = {};
        F* kept[N] = {};
        for (int l = 0; l < g_.running(t + 1); ++l) {
            rows[l] = g_.view.transition(g_.restart[l], g_.row(l, t));
            if (kept_transitions_) kept[l] = kept_transitions_ + place_of(l, t, g_.K * g_.K);
        }
        if constexpr (N > 1) {
            transitions_.read(rows, kept, g_.K * g_.K, spread_transition_.data());
        } else {
            transitions_.read(rows, kept, g_.K * g_.K, row_.data());
            pad_transition(
                reinterpret_cast<const F*>(row_.data()), spread_transition_.data(), transposed_transition_.data());
        }
        if (entries_ == Entries::watched) note_moves();
    }

    void read_duration(int64_t t) {
        if (g_.view.p.duration_of_row) return take_duration(g_.duration_at(t));
        if constexpr (Shared) return;
        if (!g_.view.p.duration_by_row) return;
        const F* rows[N] = {};
        F* kept[N] = {};
        for (int l = 0; l < g_.running(t); ++l) {
            rows[l] = g_.view.duration(g_.restart[l], g_.row(l, t));
            if (kept_durations_) kept[l] = kept_durations_ + place_of(l, t, g_.K * g_.D);
        }
        durations_.read(rows, kept, g_.K * g_.D, spread_duration_.data());
        if (entries_ == Entries::raised || entries_ == Entries::kept) return;
        sum_durations(duration, own_mass_.data());
        for (int64_t j = 0; entries_ == Entries::watched && j < g_.K; ++j) most_given_ = maximum(most_given_, mass[j]);
    }

    bool has_faint() const { return transitions_.has_faint() || durations_.has_faint(); }

    // Of the rows read so far: whether a positive entry rounded to zero, whether one is so large that products may
    // overflow, and whether a law gives out more probability than it gets.
    bool rounded(int l) const { return transitions_.rounded(l) || durations_.rounded(l); }
    bool overflow(int l) const { return transitions_.overflows(l) || durations_.overflows(l); }
    bool exceeds_one(int l) const { return double(most_given_[l]) > 1 + tolerance; }

private:
    // Where counts of (size,) a row begin for lane l's row t, in numbers that may be half as long as they.
    int64_t place_of(int l, int64_t t, int64_t size) const {
        const int64_t row = g_.restart[l] * g_.view.p.n_rows + g_.row(l, t);
        return row * size * int64_t(sizeof(double) / sizeof(F));
    }

    void take_transition(int64_t i) {
        const auto& view = g_.view;
        const int64_t table_size = N == 1 ? g_.K * g_.Kp : 0;
        V* const made = shared_transitions_.of(i, [&](V* x) {
            V* const transposed_x = x + transition_size_;
            transition.entries = spreads ? reinterpret_cast<const F*>(x) : view.transition_table(g_.restart[0], i);
            if constexpr (N == 1) {
                std::fill_n(x, transition_size_ + table_size, V{});
                pad_transition(view.transition_table(g_.restart[0], i), x, transposed_x);
            } else if (spreads) {
                g_.spread([&](int l) { return view.transition_table(g_.restart[l], i); }, g_.K * g_.K, x);
            }
            note_least(transposed_x + table_size);
        });
        transition.entries = spreads ? reinterpret_cast<const F*>(made) : view.transition_table(g_.restart[0], i);
        transposed.entries = reinterpret_cast<const F*>(made + transition_size_);
        least_transition = made + transition_size_ + table_size;
    }

    void take_duration(int64_t i) {
        const auto& view = g_.view;
        const auto entries_of = [&](const V* x) {
            return spreads ? reinterpret_cast<const F*>(x) : view.duration_table(g_.restart[0], i);
        };
        V* const made = shared_durations_.of(i, [&](V* x) {
            if (spreads)
                g_.spread([&](int l) { return view.duration_table(g_.restart[l], i); }, g_.K * g_.D, x);
            V* const masses = x + duration_size_;
            std::fill_n(masses, g_.Kp, V{});
            sum_durations(Table<F, N, Shared>{entries_of(x)}, masses);
        });
        duration.entries = entries_of(made);
        mass = made + duration_size_;
    }

    void lay_out_transition() {
        const auto& view = g_.view;
        if (view.p.transition_of_row) return;
        if constexpr (spreads) {
            fill_zero(spread_transition_, g_.K * g_.Kp);
            transition.entries = reinterpret_cast<const F*>(spread_transition_.data());
            transposed.entries = reinterpret_cast<const F*>(transposed_transition_.data());
            if (N == 1) fill_zero(transposed_transition_, g_.K * g_.Kp);
            if (view.p.transition_by_row) return;
            if constexpr (N == 1)
                pad_transition(view.transition(g_.restart[0]), spread_transition_.data(), transposed_transition_.data());
            else g_.spread([&](int l) { return view.transition(g_.restart[l]); }, g_.K * g_.K, spread_transition_.data());
        } else {
            transition.entries = view.transition(g_.restart[0]);
        }
        note_moves();
    }

    void pad_transition(const F* table, V* padded, V* turned) const {
        for (int64_t i = 0; i < g_.K; ++i)
            for (int64_t j = 0; j < g_.K; ++j)
                padded[i * g_.Kp + j][0] = turned[j * g_.Kp + i][0] = table[i * g_.K + j];
    }

    void note_moves() {
        note_least(own_least_.data());
        if (!g_.view.p.transition_by_row) return;
        for (int64_t i = 0; i < g_.K; ++i) {
            V sum{};
            for (int64_t j = 0; j < g_.K; ++j) sum += transition[i * g_.Kp + j];
            most_given_ = maximum(most_given_, sum);
        }
    }

    void note_least(V* found) const {
        for (int64_t i = 0; i < g_.K; ++i) {
            V least = broadcast<V>(F(1));
            for (int64_t j = 0; j < g_.K; ++j) {
                const V entry = transition[i * g_.Kp + j];
                least = (entry > V{}) & (entry < least) ? entry : least;
            }
            found[i] = least;
        }
    }

    void lay_out_duration() {
        const auto& view = g_.view;
        fill_zero(own_mass_, g_.Kp);
        fill_zero(first_mass, g_.Kp);
        if (view.p.duration_of_row) {
            take_duration(g_.duration_at(0));
        } else if constexpr (spreads) {
            duration.entries = reinterpret_cast<const F*>(spread_duration_.data());
            if (view.p.duration_by_row) read_duration(0);
            else g_.spread([&](int l) { return view.duration(g_.restart[l]); }, g_.K * g_.D, spread_duration_.data());
        } else {
            duration.entries = view.duration(g_.restart[0]);
        }
        if (!view.p.duration_of_row) sum_durations(duration, own_mass_.data());
        if (g_.any_left) lay_out_first();
        else std::copy_n(mass, g_.K, first_mass.data());
    }

    void lay_out_first() {
        for (int64_t i = 0; i < g_.K * g_.D; ++i) first[i] = duration[i];
        for (int l = 0; l < g_.n_lanes; ++l) {
            if (!g_.left[l]) continue;
            const F* law = g_.view.residual(g_.restart[l], g_.series[l]);
            for (int64_t i = 0; i < g_.K * g_.D; ++i) first[i][l] = law[i];
        }
        sum_durations(Table<F, N, false>{reinterpret_cast<const F*>(first.data())}, first_mass.data());
    }

    template <class Rows>
    void sum_durations(Rows rows, V* sums) const {
        for (int64_t j = 0; j < g_.K; ++j)
            sums[j] = sum_entries<F, N>(g_.D, [&](int64_t d, auto part, auto& sum) {
                using U = typename decltype(part)::Chunk;
                sum += part.only(rows.template chunk<U>(j * g_.D + d));
            });
    }
};

}  // namespace hsmm

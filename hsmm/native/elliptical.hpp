// Densities and weighted moments of elliptical laws: Gaussian, and Student-t as a Gaussian with a latent precision.
//
// Tables are packed, (row, state) after (row, state), so that over any `width` rows a lane sees one state only. The laws
// are spread over the lanes in that pattern and the rows' values repeated for each state; no table is ever transposed.
#pragma once

#include <algorithm>
#include <utility>

#include "threads.hpp"

namespace hsmm::elliptical {

constexpr int width = full_width<double>;
constexpr int depth = 8;  // vectors in a column
constexpr int64_t tile_rows = width * depth, block_rows = 8 * tile_rows, restarts_at_once = 8;
constexpr int64_t cells_per_thread = 1 << 16, cached_bytes = 1 << 22;

using V = Lanes<double, width>::V;
using Mask = Lanes<double, width>::Mask;

// Rows that observe equally many of the features.
HSMM_STRUCTURE(Rows,
    const double* values;     // (N, columns)
    const uint8_t* observed;  // (N, columns), or null where all features are observed
    const int64_t* rows;      // (n_rows,) of the N, or null for all of them
    const int64_t* features;  // (n_features,) of the columns
    int64_t n_table_rows, n_columns, n_rows, n_features, n_threads;
);

inline int64_t row_of(const Rows& rows, int64_t i) { return rows.rows ? rows.rows[i] : i; }

HSMM_STRUCTURE(Law,
    // (R, K, P): mean (F); precision, 1 / variance (F) or the rows of the lower triangular whitener, F (F + 1) / 2;
    // log-density at the mean under unit scatter; degrees of freedom where they are finite; logarithms of the variances
    // (F), whose sum is the log-determinant.
    const double* parameters;
    int64_t n_restarts, n_states, n_parameters, by_axis, has_dof;
    double n_observed;
);

HSMM_STRUCTURE(DensityOut,
    double* log_density;  // (R, N, K)
);

HSMM_STRUCTURE(MomentsOut,
    const double* weights;  // (R, N, K)
    // (R, K, M) sums over rows: weight; with dof of the terms of with_latent_precision; first moments (F) about the
    // mean; second moments, (F) or the lower triangle; where cells are missing each feature's weight and scaled weight.
    double* sums;
    int64_t n_sums;
);

// One lane in eight vectors: a state in as many rows.
struct Column {
    V at[depth];
};

// Written out, so that a column stays in registers.
template <class Work, int... I>
inline void each(Work work, std::integer_sequence<int, I...>) {
    (work(I), ...);
}

template <int N = depth, class Work>
inline void each(Work work) {
    each(work, std::make_integer_sequence<int, N>());
}

inline Column zeros() {
    Column c;
    each([&](int i) { c.at[i] = V{}; });
    return c;
}

inline double* entries(V* vectors) { return reinterpret_cast<double*>(vectors); }

inline Column product(const Column& a, const Column& b) {
    Column c;
    each([&](int i) { c.at[i] = a.at[i] * b.at[i]; });
    return c;
}

inline V total(const Column& a) {
    return ((a.at[0] + a.at[4]) + (a.at[1] + a.at[5])) + ((a.at[2] + a.at[6]) + (a.at[3] + a.at[7]));
}

inline V dot(const Column& a, const Column& b) {
    V sum[depth / 2];
    each<depth / 2>([&](int i) { sum[i] = fma(a.at[i], b.at[i], a.at[i + depth / 2] * b.at[i + depth / 2]); });
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

inline Column where(const Column& seen, const Column& a) {
    Column found;
    each([&](int i) { found.at[i] = seen.at[i] != 0 ? a.at[i] : V{}; });
    return found;
}

// log(1 + x) for x >= 0: fdlibm's logarithm of the rounded sum, and what the rounding lost.
inline V log1p(V x) {
    constexpr double coefficient[] = {6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01,
                                      2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01,
                                      1.479819860511658591e-01};
    constexpr int64_t root_half = 0x3fe6a09e667f3bcd, one = 0x3ff0000000000000;
    const V y = x + 1.0;
    const V lost = x < 1.0 ? x - (y - 1.0) : 1.0 - (y - x);
    const Mask shifted = (Mask)y + (one - root_half);
    const Mask exponent = (shifted >> 52) - 1023;
    const V mantissa = (V)((shifted & 0x000fffffffffffff) + root_half);
    const V per_unit = (V)((1023 - exponent) << 52);
    const V k = (V)((Mask)broadcast<V>(Limits<double>::round_to_integer) + exponent) - Limits<double>::round_to_integer;
    const V f = mantissa - 1.0;
    const V s = f / (f + 2.0), z = s * s, half_square = 0.5 * f * f;
    V tail = broadcast<V>(coefficient[6]);
    for (int i = 5; i >= 0; --i) tail = fma(tail, z, broadcast<V>(coefficient[i]));
    const V low = fma(lost * per_unit, fma(f, f, 1.0 - f), k * 1.90821492927058770002e-10);
    const V correction = half_square - fma(s, fma(tail, z, half_square), low);
    return fma(k, broadcast<V>(6.93147180369123816490e-01), f - correction);
}

inline V permuted(const double* from, Mask order) {
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64) return (V)_mm512_permutexvar_pd((__m512i)order, _mm512_loadu_pd(from));
#endif
    V found{};
    for (int l = 0; l < width; ++l) found[l] = from[order[l]];
    return found;
}

// The values of some rows as columns, one for every vector of the pattern and every feature.
class Tile {
    const Rows& rows_;
    const int64_t n_states_;
    int64_t first_ = 0, count_ = 0, row_[tile_rows];
    Buffer<Column> values_, seen_;
    Buffer<Mask> row_of_entry_;  // from the first of the rows that a vector of the pattern spans
    Buffer<double> packed_;

    template <class T>
    void repeat(const T* cells, int64_t feature, Buffer<Column>& columns) {
        double cell[tile_rows];
        cells += rows_.features[feature];
        for (int64_t n = 0; n < tile_rows; ++n) cell[n] = double(cells[row_[n] * rows_.n_columns]);
        for (int64_t v = 0; v < n_states_; ++v) {
            Column& column = columns[v * rows_.n_features + feature];
            for (int i = 0; i < depth; ++i) column.at[i] = permuted(cell + i * width, row_of_entry_[v]);
        }
    }

    bool lies_packed() const { return !rows_.rows && count_ == tile_rows; }

public:
    Tile(const Rows& rows, int64_t n_states)
        : rows_(rows), n_states_(n_states), values_(n_states * rows.n_features),
          seen_(rows.observed ? n_states * rows.n_features : 0), row_of_entry_(n_states),
          packed_(tile_rows * n_states) {
        for (int64_t i = 0; i < n_states * width; ++i) row_of_entry_[i / width][i % width] = i / n_states;
    }

    // Beyond the last row it is repeated.
    void load(int64_t first) {
        first_ = first;
        count_ = std::min(tile_rows, rows_.n_rows - first);
        for (int64_t n = 0; n < tile_rows; ++n) row_[n] = row_of(rows_, first + std::min(n, count_ - 1));
        for (int64_t f = 0; f < rows_.n_features; ++f) {
            repeat(rows_.values, f, values_);
            if (rows_.observed) repeat(rows_.observed, f, seen_);
        }
    }

    const Column* values(int64_t v) const { return values_.data() + v * rows_.n_features; }
    const Column* seen(int64_t v) const { return rows_.observed ? seen_.data() + v * rows_.n_features : nullptr; }

    // The tile's part of one model's table (N, K), packed: where it lies, or a place from which put_back takes it.
    double* place(double* table) { return lies_packed() ? table + first_ * n_states_ : packed_.data(); }
    const double* buffer() const { return packed_.data(); }

    void put_back(double* table) {
        if (lies_packed()) return;
        for (int64_t n = 0; n < count_; ++n)
            std::copy_n(packed_.data() + n * n_states_, n_states_, table + row_[n] * n_states_);
    }

    // The same to read, followed by zeros.
    const double* read(const double* table) {
        if (lies_packed()) return table + first_ * n_states_;
        for (int64_t n = 0; n < count_; ++n)
            std::copy_n(table + row_[n] * n_states_, n_states_, packed_.data() + n * n_states_);
        std::fill(packed_.data() + count_ * n_states_, packed_.data() + tile_rows * n_states_, 0.0);
        return packed_.data();
    }
};

inline Column load_column(const double* packed, int64_t v, int64_t n_states) {
    Column column;
    each([&](int i) { std::memcpy(&column.at[i], packed + (i * n_states + v) * width, sizeof(V)); });
    return column;
}

inline void store_column(const Column& column, double* packed, int64_t v, int64_t n_states) {
    each([&](int i) { std::memcpy(packed + (i * n_states + v) * width, &column.at[i], sizeof(V)); });
}

// The same past the caches, for a table that does not fit in them; `packed` is aligned to vectors.
inline void stream_column(const Column& column, double* packed, int64_t v, int64_t n_states) {
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64)
        return each([&](int i) { _mm512_stream_pd(packed + (i * n_states + v) * width, (__m512d)column.at[i]); });
#elif defined(__AVX__)
    if constexpr (sizeof(V) == 32)
        return each([&](int i) { _mm256_stream_pd(packed + (i * n_states + v) * width, (__m256d)column.at[i]); });
#endif
    store_column(column, packed, v, n_states);
}

inline void finish_streams() {
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

// A column of rows as the law of its lanes measures them.
class Measured {
    const Law& law_;
    const int64_t n_features_;
    const Column* values_;
    const Column* seen_;
    const V* mean_;
    const V* precision_;
    const V* rest_;

    V peak() const { return rest_[0]; }
    V dof() const { return rest_[1]; }
    V log_variance(int64_t f) const { return rest_[1 + law_.has_dof + f]; }

    Column offset(int64_t f) const {
        Column found;
        each([&](int i) { found.at[i] = values_[f].at[i] - mean_[f]; });
        return seen_ ? where(seen_[f], found) : found;
    }

    Column whitened(int64_t row) const {
        const V* whitener = precision_ + row * (row + 1) / 2;
        Column sum = zeros();
        for (int64_t f = 0; f <= row; ++f) {
            const Column x = offset(f);
            each([&](int i) { sum.at[i] = fma(whitener[f], x.at[i], sum.at[i]); });
        }
        return sum;
    }

    Column squared_distance() const {
        Column squared = zeros();
        for (int64_t f = 0; f < n_features_; ++f) {
            const Column x = law_.by_axis ? offset(f) : whitened(f);
            const V scale = law_.by_axis ? precision_[f] : broadcast<V>(1.0);
            each([&](int i) { squared.at[i] = fma(x.at[i] * scale, x.at[i], squared.at[i]); });
        }
        return squared;
    }

    Column half_log_determinant() const {
        Column sum = zeros();
        for (int64_t f = 0; f < n_features_; ++f) {
            const V half = 0.5 * log_variance(f);
            each([&](int i) { sum.at[i] += !seen_ ? half : seen_[f].at[i] != 0 ? half : V{}; });
        }
        return sum;
    }

    static Column log1p_ratio(const Column& squared, V dof) {
        const V per_dof = 1.0 / dof;
        Column found;
        for (int i = 0; i < depth; ++i) found.at[i] = log1p(squared.at[i] * per_dof);
        return found;
    }

    // Weights times the rows' expected precisions. The sums, with r = squared distance / dof and q = r / (1 + r): scaled
    // weight, weighted log(1 + r), q and q squared.
    Column with_latent_precision(const Column& weight, V*& sums) const {
        const Column squared = squared_distance();
        Column precision, share;
        each([&](int i) {
            const V inverse = 1.0 / (squared.at[i] + dof());
            precision.at[i] = (dof() + law_.n_observed) * inverse;
            share.at[i] = squared.at[i] * inverse;
        });
        const Column scaled = product(weight, precision), shared = product(weight, share);
        *sums++ += total(scaled);
        *sums++ += dot(weight, log1p_ratio(squared, dof()));
        *sums++ += total(shared);
        *sums++ += dot(shared, share);
        return scaled;
    }

public:
    Measured(const Tile& tile, int64_t v, const Rows& rows, const Law& law, const V* parameters)
        : law_(law), n_features_(rows.n_features), values_(tile.values(v)), seen_(tile.seen(v)),
          mean_(parameters + v * law.n_parameters), precision_(mean_ + n_features_),
          rest_(precision_ + (law.by_axis ? n_features_ : n_features_ * (n_features_ + 1) / 2)) {}

    Column log_density() const {
        const Column squared = squared_distance(), half = half_log_determinant();
        const Column distance = law_.has_dof ? log1p_ratio(squared, dof()) : squared;
        const V slope = law_.has_dof ? -0.5 * (dof() + law_.n_observed) : broadcast<V>(-0.5);
        Column density;
        each([&](int i) { density.at[i] = fma(slope, distance.at[i], peak() - half.at[i]); });
        return density;
    }

    void add_moments(const Column& weight, V* sums) const {
        *sums++ += total(weight);
        const Column scaled = law_.has_dof ? with_latent_precision(weight, sums) : weight;
        V* second = sums + n_features_;
        for (int64_t f = 0; f < n_features_; ++f) {
            const Column x = offset(f), moment = product(scaled, x);
            *sums++ += total(moment);
            for (int64_t g = law_.by_axis ? f : 0; g < f; ++g) *second++ += dot(moment, offset(g));
            *second++ += dot(moment, x);
        }
        for (int64_t f = 0; seen_ && f < n_features_; ++f) {
            *second++ += total(where(seen_[f], weight));
            *second++ += total(where(seen_[f], scaled));
        }
    }
};

// Entry i of the pattern belongs to state i % K: (K, P) becomes a (K, P) table of vectors.
inline void spread(const double* table, int64_t n_states, int64_t n_parameters, V* pattern) {
    for (int64_t i = 0; i < n_states * width; ++i)
        for (int64_t p = 0; p < n_parameters; ++p)
            entries(pattern)[((i / width) * n_parameters + p) * width + i % width] =
                table[(i % n_states) * n_parameters + p];
}

inline void add_lanes(const V* pattern, int64_t n_states, int64_t n_sums, double* table) {
    for (int64_t i = 0; i < n_states * width; ++i)
        for (int64_t m = 0; m < n_sums; ++m)
            table[(i % n_states) * n_sums + m] += pattern[(i / width) * n_sums + m][i % width];
}

// Calls work(index, block, first restart, end of restarts, order) for each block of rows and a few of the models.
template <class Work>
void for_each_block(const Rows& rows, const Law& law, Work work) {
    const int64_t n_parts = (law.n_restarts + restarts_at_once - 1) / restarts_at_once;
    const int64_t n_blocks = (rows.n_rows + block_rows - 1) / block_rows;
    const int64_t n_threads = 1 + rows.n_rows * law.n_states * law.n_restarts / cells_per_thread;
    for_each_group(n_blocks * n_parts, std::min(n_threads, rows.n_threads), [&](int64_t index, InOrder& order) {
        const int64_t first = index % n_parts * restarts_at_once;
        work(index, index / n_parts * block_rows, first, std::min(first + restarts_at_once, law.n_restarts), order);
    });
}

// Calls work(tile, restart, parameters) for each tile of a block and each of some models.
template <class Work>
void for_each_tile(const Rows& rows, const Law& law, int64_t block, int64_t first, int64_t end, Work work) {
    const int64_t size = law.n_states * law.n_parameters;
    Buffer<V> parameters((end - first) * size);
    for (int64_t r = first; r < end; ++r)
        spread(law.parameters + r * size, law.n_states, law.n_parameters, parameters.data() + (r - first) * size);
    Tile tile(rows, law.n_states);
    for (int64_t row = block; row < std::min(block + block_rows, rows.n_rows); row += tile_rows) {
        tile.load(row);
        for (int64_t r = first; r < end; ++r) work(tile, r, parameters.data() + (r - first) * size);
    }
}

inline void log_density(const Rows& rows, const Law& law, const DensityOut& out) {
    const int64_t size = rows.n_table_rows * law.n_states;
    const bool is_large = law.n_restarts * size * int64_t(sizeof(double)) > cached_bytes;
    for_each_block(rows, law, [&](int64_t, int64_t block, int64_t first, int64_t end, InOrder&) {
        for_each_tile(rows, law, block, first, end, [&](Tile& tile, int64_t restart, const V* parameters) {
            double* table = out.log_density + restart * size;
            double* packed = tile.place(table);
            const bool streams = is_large && packed != tile.buffer() && uintptr_t(packed) % sizeof(V) == 0;
            for (int64_t v = 0; v < law.n_states; ++v) {
                const Measured measured(tile, v, rows, law, parameters);
                const Column density = measured.log_density();
                if (streams) stream_column(density, packed, v, law.n_states);
                else store_column(density, packed, v, law.n_states);
            }
            tile.put_back(table);
        });
        finish_streams();
    });
}

inline void moments(const Rows& rows, const Law& law, const MomentsOut& out) {
    const int64_t size = law.n_states * out.n_sums;
    for_each_block(rows, law, [&](int64_t index, int64_t block, int64_t first, int64_t end, InOrder& order) {
        Buffer<V> sums((end - first) * size);
        fill_zero(sums, (end - first) * size);
        for_each_tile(rows, law, block, first, end, [&](Tile& tile, int64_t restart, const V* parameters) {
            const double* weights = tile.read(out.weights + restart * rows.n_table_rows * law.n_states);
            for (int64_t v = 0; v < law.n_states; ++v) {
                const Measured measured(tile, v, rows, law, parameters);
                measured.add_moments(load_column(weights, v, law.n_states),
                                     sums.data() + (restart - first) * size + v * out.n_sums);
            }
        });
        order.commit(index, true, [&] {
            for (int64_t r = first; r < end; ++r)
                add_lanes(sums.data() + (r - first) * size, law.n_states, out.n_sums, out.sums + r * size);
        });
    });
}

// Unrelated units, each seen by models of its own: tables of rows are packed unit after unit, in these model after model.
HSMM_STRUCTURE(Units,
    const void* rows;            // (n_units,) of Rows
    const int64_t* n_models;     // (n_units,) of the restarts, in their order
    const int64_t* first_model;  // (n_units,)
    const int64_t* first_row;    // (n_units,) of the packed tables
    int64_t n_units, n_threads;
);

// Calls work(rows, law, unit) for each unit, its law that of its own models.
template <class Work>
void for_each_unit(const Units& units, const Law& law, Work work) {
    for_each_group(units.n_units, units.n_threads, [&](int64_t unit, InOrder&) {
        Rows rows = static_cast<const Rows*>(units.rows)[unit];
        if (rows.n_rows == 0 || units.n_models[unit] == 0) return;
        rows.n_threads = 1;
        Law own = law;
        own.n_restarts = units.n_models[unit];
        own.parameters += units.first_model[unit] * law.n_states * law.n_parameters;
        work(rows, own, unit);
    });
}

inline void log_density(const Units& units, const Law& law, const DensityOut& out) {
    for_each_unit(units, law, [&](const Rows& rows, const Law& own, int64_t unit) {
        log_density(rows, own, DensityOut{out.log_density + units.first_row[unit] * law.n_states});
    });
}

inline void moments(const Units& units, const Law& law, const MomentsOut& out) {
    for_each_unit(units, law, [&](const Rows& rows, const Law& own, int64_t unit) {
        double* sums = out.sums + units.first_model[unit] * law.n_states * out.n_sums;
        moments(rows, own, MomentsOut{out.weights + units.first_row[unit] * law.n_states, sums, out.n_sums});
    });
}

}  // namespace hsmm::elliptical

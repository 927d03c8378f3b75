// An HMM's sequences, one a lane. Their rows come and go in chunks, one sequence's after the other's, so that what a warp
// reads or writes at once lies side by side; each lane then works on its own chunk.
//
// Compiled for REAL, STATES (K) and the rows of a CHUNK.
#pragma once

#include "tables.hpp"

constexpr int sequences = 32, chunk = CHUNK;

struct Link {
    Long pair, model, row;
    int n_rows;  // 0 where a lane has no sequence
};

struct Links {
    Each<Long> pair, model, row;  // row: first among those of all restarts
    Each<int> n_rows;

    DEVICE Links(const Tables& p, int warp) {
        const auto found = by_lane([&](int lane) {
            const Long slot = Long(warp) * sequences + lane, pair = slot < p.n_slots ? p.order[slot] : 0;
            const Long series = pair % p.n_series, first = p.offsets[series];
            const Long model = p.owners ? p.owners[series] : pair / p.n_series;
            const int n_rows = slot < p.n_slots ? int(p.offsets[series + 1] - first) : 0;
            return Link{pair, model, pair / p.n_series * p.n_rows + first, n_rows};
        });
        pair = map([](const Link& one) { return one.pair; }, found);
        model = map([](const Link& one) { return one.model; }, found);
        row = map([](const Link& one) { return one.row; }, found);
        n_rows = map([](const Link& one) { return one.n_rows; }, found);
    }

    DEVICE int longest() const {
        return -least(map([](int n) { return -n; }, n_rows));
    }
};

// How far apart two lanes' chunks of so many numbers a row are: an odd number, so that lanes meet in no bank.
DEVICE constexpr int pitch_of(int numbers) { return (chunk * numbers) | 1; }

// visit(number in `near`, its address in `table`) for all numbers of the chunk of rows from `first`, of all lanes.
template <int numbers, class T, class Visit>
DEVICE void over_chunks(const Links& links, int first, T* near, T* table, Visit visit) {
    exchanged();
    #pragma unroll 4
    for (int i = 0; i < sequences; ++i) {
        T* rows = table + (of_lane(links.row, i) + first) * numbers;
        const int count = (of_lane(links.n_rows, i) - first) * numbers;
        side_by_side<chunk * numbers>([&](int at) {
            if (at < count) visit(near[i * pitch_of(numbers) + at], rows[at]);
        });
    }
    exchanged();
}

template <int numbers, class T>
DEVICE void fetch(const Links& links, int first, T* near, T* table) {
    over_chunks<numbers>(links, first, near, table, [](T& here, const T& there) { here = there; });
}

template <int numbers, class T>
DEVICE void put(const Links& links, int first, T* near, T* table) {
    over_chunks<numbers>(links, first, near, table, [](const T& here, T& there) { there = here; });
}

struct Transition {
    Real of[K][K];

    DEVICE void load(const Tables& p, Long model) {
        #pragma unroll
        for (int i = 0; i < K; ++i)
            #pragma unroll
            for (int j = 0; j < K; ++j) of[i][j] = read(p.transition + (model * K + i) * K + j);
    }
};

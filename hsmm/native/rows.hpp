// Rows of tables that change with time: every lane's own logarithms, read into lanes as what sums need.
#pragma once

#include "group.hpp"

namespace hsmm {

enum class Entries {
    logarithms,
    linear,
    watched,  // linear, for a forward pass alone, which must notice what is lost
    raised,   // linear; what is positive is not lost in a backward pass's products
    kept,     // as a forward pass has kept them where counts of these rows will be
};

template <class F, int N>
class RowReader {
    using V = typename Lanes<F, N>::V;
    static constexpr int width = full_width<F>;
    using W = typename Lanes<F, width>::V;
    using Logarithms = const F* const (&)[N];
    using Kept = F* const (&)[N];
    static constexpr F none = -std::numeric_limits<F>::infinity();

    const Entries entries_;
    W most_[N], least_[N];  // of the positive entries' logarithms

    W entry(int l, W x) {
        const auto positive = x > -std::numeric_limits<F>::max();
        const W linear = exponential<F, width>(minimum(x, broadcast<W>(Limits<F>::overflow)));
        if (entries_ == Entries::raised)
            return positive ? maximum(linear, broadcast<W>(Limits<F>::least_entry)) : W{};
        most_[l] = maximum(most_[l], x);
        least_[l] = minimum(least_[l], positive ? x : W{});
        return linear;
    }

    // Entries i to i + width of every lane.
    void read_block(Logarithms rows, Kept kept, int64_t i, V* out) {
        W block[N];
        const F* lanes[N];
        for (int l = 0; l < N; ++l) {
            block[l] = rows[l] ? entry(l, load<W>(rows[l] + i)) : W{};
            if (kept[l]) store(kept[l] + i, block[l]);
            lanes[l] = reinterpret_cast<const F*>(block + l);
        }
        if constexpr (N == 1) store(out + i, block[0]);
        else if constexpr (N == width) {
            transpose<F, N>(block);
            std::copy_n(block, N, out + i);
        } else {
            for (int b = 0; b < width; b += N) block_to_lanes<F, N>(lanes, b, F(0), out + i + b);
        }
    }

    // Fewer than a block.
    void read_few(Logarithms rows, Kept kept, int64_t size, V* out) {
        for (int l = 0; l < N; ++l) {
            W few = broadcast<W>(none);
            for (int64_t i = 0; rows[l] && i < size; ++i) few[i] = rows[l][i];
            few = entry(l, few);
            for (int64_t i = 0; i < size; ++i) out[i][l] = few[i];
            for (int64_t i = 0; kept[l] && i < size; ++i) kept[l][i] = few[i];
        }
    }

public:
    explicit RowReader(Entries entries) : entries_(entries) {
        std::fill_n(most_, N, broadcast<W>(none));
        std::fill_n(least_, N, W{});
    }

    // `rows` (size,) of each lane, null where it has none, to `out` (size,); no lane alters another's bits. What is made
    // of logarithms is written to `kept` as well, or is read from there; null where there is no such place.
    void read(Logarithms rows, Kept kept, int64_t size, V* out) {
        if (entries_ == Entries::logarithms) return to_lanes<F, N>(rows, size, none, out);
        if (entries_ == Entries::kept) {
            const F* found[N];
            std::copy_n(kept, N, found);
            return to_lanes<F, N>(found, size, F(0), out);
        }
        if (size < width) return read_few(rows, kept, size, out);
        cover<width>(size, [&](int64_t i) { read_block(rows, kept, i, out); }, [](int64_t) {});
    }

    // Whether a positive entry of lane l rounded to zero, or one is so large that products may overflow.
    bool rounded(int l) const { return least(l) < Limits<F>::min_exponent; }
    bool overflows(int l) const { return largest(most_[l]) > Limits<F>::overflow; }

    // Whether a positive entry is so small that a backward pass needs it raised.
    bool has_faint() const {
        const F faint = std::log(F(Limits<F>::least_entry));
        for (int l = 0; l < N; ++l)
            if (least(l) <= faint) return true;
        return false;
    }

private:
    static F largest(W x) {
        F most = x[0];
        for (int i = 1; i < width; ++i) most = std::max(most, x[i]);
        return most;
    }
    F least(int l) const { return -largest(-least_[l]); }
};

}  // namespace hsmm

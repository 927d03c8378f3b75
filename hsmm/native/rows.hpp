// Rows of tables that change with time: every lane's own logarithms, read into lanes as what sums need.
#pragma once

#include "group.hpp"

namespace hsmm {

enum class Entries {
    logarithms,
    linear,
    raised,  // linear; what is positive is not lost in a backward pass's products
};

template <class F, int N>
class RowReader {
    using V = typename Lanes<F, N>::V;
    static constexpr int width = full_width<F>;
    using W = typename Lanes<F, width>::V;
    using Flags = typename Lanes<F, width>::Mask;

    const Entries entries_;
    W most_ = broadcast<W>(-std::numeric_limits<F>::infinity());
    Flags rounded_{};

    template <Entries entries>
    W linear(W x) {
        const Flags positive = x > -std::numeric_limits<F>::max();
        const W entry = exponential<F, width>(minimum(x, broadcast<W>(Limits<F>::overflow)));
        if constexpr (entries == Entries::raised)
            return positive ? maximum(entry, broadcast<W>(Limits<F>::least_entry)) : W{};
        most_ = maximum(most_, x);
        rounded_ |= positive & (x < Limits<F>::min_exponent);
        return entry;
    }

    template <Entries entries>
    void exponentiate(F* x, int64_t size) {
        std::fill_n(x + size, -size & (width - 1), -std::numeric_limits<F>::infinity());
        for (int64_t i = 0; i < size; i += width) store(x + i, linear<entries>(load<W>(x + i)));
    }

public:
    static constexpr int64_t beyond = width / N;  // what is read is written in whole vectors

    explicit RowReader(Entries entries) : entries_(entries) {}

    // `rows` (size,) of each lane, null where it has none, to `out` (size + beyond,); no lane alters another's bits.
    void read(const F* const (&rows)[N], int64_t size, V* out) {
        if constexpr (N > 1) to_lanes<F, N>(rows, size, -std::numeric_limits<F>::infinity(), out);
        else std::memcpy(out, rows[0], size * sizeof(F));
        F* numbers = reinterpret_cast<F*>(out);
        if (entries_ == Entries::linear) exponentiate<Entries::linear>(numbers, size * N);
        if (entries_ == Entries::raised) exponentiate<Entries::raised>(numbers, size * N);
    }

    // Whether a positive entry of lane l rounded to zero, or one is so large that products may overflow.
    bool rounded(int l) const {
        return any_of(l, [&](int i) { return rounded_[i] != 0; });
    }
    bool overflows(int l) const {
        return any_of(l, [&](int i) { return most_[i] > Limits<F>::overflow; });
    }

private:
    template <class Is>
    static bool any_of(int lane, Is is) {
        for (int i = lane; i < width; i += N)
            if (is(i)) return true;
        return false;
    }
};

}  // namespace hsmm

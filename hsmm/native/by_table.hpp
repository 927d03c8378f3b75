// What belongs to each of a model's tables, made when the first row has that table.
#pragma once

#include <vector>

#include "buffer.hpp"

namespace hsmm {

template <class V>
class ByTable {
    const int64_t size_;
    Buffer<V> all_;
    Buffer<uint8_t> made_;
    std::vector<int64_t> used_;

public:
    ByTable(int64_t n_tables, int64_t size) : size_(size), all_(n_tables * size), made_(n_tables) {
        fill_zero(made_, n_tables);
    }

    // (size,) of table i; make(x) fills it first where it is new.
    template <class Make>
    V* of(int64_t i, Make make) {
        V* const x = all_.data() + i * size_;
        if (made_[i]) return x;
        made_[i] = 1;
        used_.push_back(i);
        make(x);
        return x;
    }
    V* sums_of(int64_t i) {
        return of(i, [&](V* x) { std::memset(static_cast<void*>(x), 0, size_t(size_) * sizeof(V)); });
    }

    const V* operator[](int64_t i) const { return all_.data() + i * size_; }
    const std::vector<int64_t>& used() const { return used_; }

    void forget() {
        for (int64_t i : used_) made_[i] = 0;
        used_.clear();
    }
};

}  // namespace hsmm

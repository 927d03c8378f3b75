// Exponentials of tables that rows share, as those of a row's own are taken: see rows.hpp.
#pragma once

#include "boundary.hpp"
#include "lanes.hpp"

namespace hsmm {

HSMM_STRUCTURE(Exponentials,
    const void* logarithms;  // (size,)
    void *linear, *raised;   // (size,) raised: what is positive is not lost in a backward pass's products
    int64_t size, is_double;
);

template <class F>
void exponentials(const Exponentials& job) {
    constexpr int width = full_width<F>;
    using W = typename Lanes<F, width>::V;
    const F* const logarithms = static_cast<const F*>(job.logarithms);
    F *const linear = static_cast<F*>(job.linear), *const raised = static_cast<F*>(job.raised);
    for (int64_t i = 0; i < job.size; i += width) {
        const size_t bytes = size_t(std::min<int64_t>(width, job.size - i)) * sizeof(F);
        W x{};
        std::memcpy(&x, logarithms + i, bytes);
        const W entry = exponential<F, width>(minimum(x, broadcast<W>(Limits<F>::overflow)));
        const W least = maximum(entry, broadcast<W>(Limits<F>::least_entry));
        const W above = x > -std::numeric_limits<F>::max() ? least : W{};
        std::memcpy(linear + i, &entry, bytes);
        std::memcpy(raised + i, &above, bytes);
    }
}

}  // namespace hsmm

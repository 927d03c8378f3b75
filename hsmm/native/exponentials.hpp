// Exponentials of tables that rows share, as those of a row's own are taken: see rows.hpp.
#pragma once

#include "boundary.hpp"
#include "rows.hpp"

namespace hsmm {

HSMM_STRUCTURE(Exponentials,
    const void* logarithms;  // (n_tables, size)
    void *linear, *raised;   // (n_tables, size) raised: what is positive is not lost in a backward pass's products
    uint8_t *fragile, *faint;  // (n_tables,) as Problem::fragile; whether any entry had to be raised
    int64_t n_tables, size, is_double;
);

template <class F>
void exponentials(const Exponentials& job) {
    for (int64_t i = 0; i < job.n_tables; ++i) {
        const F* const logarithms[] = {static_cast<const F*>(job.logarithms) + i * job.size};
        F *const linear = static_cast<F*>(job.linear) + i * job.size, *const nowhere[] = {nullptr};
        F* const raised = static_cast<F*>(job.raised) + i * job.size;
        RowReader<F, 1> below(Entries::linear), above(Entries::raised);
        below.read(logarithms, nowhere, job.size, reinterpret_cast<typename Lanes<F, 1>::V*>(linear));
        job.fragile[i] = below.overflows(0) ? 2 : below.rounded(0) ? 1 : 0;
        job.faint[i] = below.has_faint();
        if (job.faint[i]) above.read(logarithms, nowhere, job.size, reinterpret_cast<typename Lanes<F, 1>::V*>(raised));
        else std::copy_n(linear, job.size, raised);
    }
}

}  // namespace hsmm

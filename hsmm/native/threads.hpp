// Lane groups over threads; results that are sums are added in the order of the groups, whoever computes them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "lanes.hpp"

namespace hsmm {

class InOrder {
    std::mutex mutex_;
    std::condition_variable changed_;
    int64_t next_ = 0;
    bool abandoned_ = false;

public:
    template <class Work>
    void commit(int64_t index, Work work) {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [&] { return next_ == index || abandoned_; });
        if (abandoned_) return;
        work();
        ++next_;
        changed_.notify_all();
    }

    void abandon() {
        const std::lock_guard<std::mutex> lock(mutex_);
        abandoned_ = true;
        changed_.notify_all();
    }
};

// Runs work(index, order) for every group; rethrows what a thread threw.
template <class Work>
void for_each_group(int64_t n_groups, int64_t n_threads, Work work) {
    InOrder order;
    std::atomic<int64_t> next{0};
    std::exception_ptr failure;
    std::mutex failing;
    const auto drain = [&] {
        const FlushDenormals flush;
        try {
            for (int64_t index; (index = next++) < n_groups;) work(index, order);
        } catch (...) {
            const std::lock_guard<std::mutex> lock(failing);
            failure = std::current_exception();
            next = n_groups;
            order.abandon();
        }
    };
    std::vector<std::thread> helpers;
    for (int64_t i = 1; i < n_threads && i < n_groups; ++i) helpers.emplace_back(drain);
    drain();
    for (auto& helper : helpers) helper.join();
    if (failure) std::rethrow_exception(failure);
}

// 0, or 1 if there was no memory for the work: nothing may be thrown at a C caller.
template <class Work>
int guarded(Work work) {
    try {
        work();
        return 0;
    } catch (...) {
        return 1;
    }
}

}  // namespace hsmm

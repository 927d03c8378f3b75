// Lane groups over threads; results that are sums are added in the order of the groups, whoever computes them.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <system_error>
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
    // The next index has its turn once one `closes`.
    template <class Work>
    void commit(int64_t index, bool closes, Work work) {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [&] { return next_ == index || abandoned_; });
        if (abandoned_) return;
        work();
        if (!closes) return;
        ++next_;
        changed_.notify_all();
    }

    void abandon() {
        const std::lock_guard<std::mutex> lock(mutex_);
        abandoned_ = true;
        changed_.notify_all();
    }
};

// Threads that all do the same, and are joined when this goes. Where the system gives no more, there are fewer.
class Helpers {
    std::vector<std::thread> threads_;

public:
    template <class Work>
    Helpers(int64_t wanted, const Work& work) {
        try {
            for (int64_t i = 0; i < wanted; ++i) threads_.emplace_back(work);
        } catch (const std::system_error&) {
        } catch (const std::bad_alloc&) {
        }
    }
    Helpers(const Helpers&) = delete;
    Helpers& operator=(const Helpers&) = delete;
    ~Helpers() {
        for (auto& thread : threads_) thread.join();
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
    {
        const Helpers helpers(std::min(n_threads, n_groups) - 1, drain);
        drain();
    }
    if (failure) std::rethrow_exception(failure);
}

}  // namespace hsmm

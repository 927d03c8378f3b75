// Aligned work space, kept for the next call.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

namespace hsmm {

struct Memory {
    void* data;
    size_t size;
};

// Freed work space, kept for the next call and any thread: fresh memory costs a page fault for every 4 KiB.
class Spare {
    static constexpr size_t alignment = 128;  // of the largest vector, 16 doubles
    static constexpr size_t least = 4096, most = size_t(128) << 20, most_blocks = 64;
    std::mutex mutex_;
    std::array<Memory, most_blocks> blocks_;  // oldest first; giving back may not need memory
    size_t n_blocks_ = 0, kept_ = 0;

    Memory remove(size_t i) {
        const Memory block = blocks_[i];
        std::copy(blocks_.begin() + i + 1, blocks_.begin() + n_blocks_, blocks_.begin() + i);
        --n_blocks_;
        kept_ -= block.size;
        return block;
    }

    void let_go() {
        const std::lock_guard<std::mutex> lock(mutex_);
        while (n_blocks_ > 0) std::free(remove(0).data);
    }

public:
    static Spare& shared() {
        static Spare* spare = new Spare;  // never destroyed: threads may outlive static objects
        return *spare;
    }

    // At least `size` bytes, at most twice as many.
    Memory take(size_t size) {
        size = (std::max<size_t>(size, 1) + alignment - 1) / alignment * alignment;
        if (size >= least) {
            const std::lock_guard<std::mutex> lock(mutex_);
            for (size_t i = n_blocks_; i-- > 0;)
                if (blocks_[i].size >= size && blocks_[i].size <= 2 * size) return remove(i);
        }
        void* data = std::aligned_alloc(alignment, size);
        if (!data) {
            let_go();
            data = std::aligned_alloc(alignment, size);
        }
        if (!data) throw std::bad_alloc();
#if defined(__SANITIZE_ADDRESS__)
        std::memset(data, 0xff, size);  // NaN, so that what is read before it is written shows
#endif
        return {data, size};
    }

    void give_back(Memory memory) {
#if !defined(__SANITIZE_ADDRESS__)
        if (memory.size >= least && memory.size <= most) {
            const std::lock_guard<std::mutex> lock(mutex_);
            while (kept_ + memory.size > most || n_blocks_ == most_blocks) std::free(remove(0).data);
            blocks_[n_blocks_++] = memory;
            kept_ += memory.size;
            return;
        }
#endif
        std::free(memory.data);
    }
};

template <class T>
class Buffer {
    const Memory memory_;

public:
    explicit Buffer(int64_t size) : memory_(Spare::shared().take(size_t(size) * sizeof(T))) {}
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { Spare::shared().give_back(memory_); }

    T* data() { return static_cast<T*>(memory_.data); }
    const T* data() const { return static_cast<const T*>(memory_.data); }
    T& operator[](int64_t i) { return data()[i]; }
    const T& operator[](int64_t i) const { return data()[i]; }
};

template <class T>
inline void fill_zero(Buffer<T>& buffer, int64_t size) {
    std::memset(static_cast<void*>(buffer.data()), 0, size_t(size) * sizeof(T));
}

}  // namespace hsmm

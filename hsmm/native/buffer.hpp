// Aligned work space, kept for the next call.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

namespace hsmm {

// Freed work space of this thread, kept for the next call: fresh memory costs a page fault for every 4 KiB.
class Spare {
    static constexpr size_t alignment = 128, most = size_t(64) << 20;  // 128: of the largest vector, 16 doubles
    struct Block {
        void* data;
        size_t size;
    };
    std::vector<Block> blocks_;
    size_t kept_ = 0;

public:
    static Spare& of_thread() {
        static thread_local Spare spare;
        return spare;
    }
    ~Spare() {
        for (const Block& block : blocks_) std::free(block.data);
    }

    static size_t rounded(size_t size) { return (std::max<size_t>(size, 1) + alignment - 1) / alignment * alignment; }

    void* take(size_t size) {
        for (Block& block : blocks_) {
            if (block.size != size) continue;
            void* data = block.data;
            kept_ -= size;
            block = blocks_.back();
            blocks_.pop_back();
            return data;
        }
        void* data = std::aligned_alloc(alignment, size);
        if (!data) throw std::bad_alloc();
        return data;
    }

    void give_back(void* data, size_t size) {
#if !defined(__SANITIZE_ADDRESS__)
        if (size >= 4096 && kept_ + size <= most && blocks_.size() < 64) {
            blocks_.push_back({data, size});
            kept_ += size;
            return;
        }
#endif
        std::free(data);
    }
};

template <class T>
class Buffer {
    const size_t bytes_;
    T* data_;

public:
    explicit Buffer(int64_t size)
        : bytes_(Spare::rounded(size_t(size) * sizeof(T))), data_(static_cast<T*>(Spare::of_thread().take(bytes_))) {}
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { Spare::of_thread().give_back(data_, bytes_); }

    T* data() { return data_; }
    const T* data() const { return data_; }
    T& operator[](int64_t i) { return data_[i]; }
    const T& operator[](int64_t i) const { return data_[i]; }
};

template <class T>
inline void fill_zero(Buffer<T>& buffer, int64_t size) {
    std::memset(static_cast<void*>(buffer.data()), 0, size_t(size) * sizeof(T));
}

}  // namespace hsmm

// What a lane is: one thread of a warp under NVRTC; one of 32 numbers side by side under g++, so that tests need no GPU.
#pragma once

#ifdef __CUDACC__

#define DEVICE __device__ __forceinline__

template <class T>
using Each = T;

DEVICE int lane_number() { return threadIdx.x & 31; }

template <class Function, class... Values>
DEVICE auto map(Function function, Values... values) {
    return function(values...);
}

template <class Function>
DEVICE auto by_lane(Function function) {
    return function(lane_number());
}

// Of what every lane has for itself.
template <class T, class Function>
DEVICE void for_each_lane(T& own, Function function) {
    function(own, lane_number());
}

// function(i) for every i below n, side by side.
template <int n, class Function>
DEVICE void side_by_side(Function function) {
    #pragma unroll
    for (int i = 0; i < n; i += 32)
        if (i + 32 <= n || i + lane_number() < n) function(i + lane_number());
}

// Lanes have written what others will read.
DEVICE void exchanged() { __syncwarp(); }

// Memory of `size` numbers that the lanes of a warp share.
#define NEAR(T, name, size)                   \
    __shared__ T name##_of_warps[THREADS / 32][size];    \
    T* const name = name##_of_warps[threadIdx.x / 32]

// A lane's own number.
template <class T>
DEVICE T mine(T value, int) {
    return value;
}

// A number of one lane, for all, which ask together.
template <class T>
DEVICE T of_lane(T value, int lane) {
    return __shfl_sync(~0u, value, lane);
}

template <class T>
DEVICE T from(T value, int lane) {
    return __shfl_sync(~0u, value, lane);
}

DEVICE bool any(bool flag) { return __any_sync(~0u, flag); }

DEVICE int least(int value) {
    for (int offset = 16; offset > 0; offset >>= 1) value = min(value, __shfl_xor_sync(~0u, value, offset));
    return value;
}

template <class T>
DEVICE T read(const T* address) {
    return __ldg(address);
}

// Asks for memory that will be read some steps later, so that it is near when it is.
DEVICE void prefetch(const void* address) { asm volatile("prefetch.global.L2 [%0];" ::"l"(address)); }

DEVICE double infinite() { return __longlong_as_double(0x7ff0000000000000LL); }
DEVICE float fma_of(float a, float b, float c) { return fmaf(a, b, c); }
DEVICE double fma_of(double a, double b, double c) { return fma(a, b, c); }
DEVICE float larger(float a, float b) { return fmaxf(a, b); }
DEVICE double larger(double a, double b) { return fmax(a, b); }
DEVICE float smaller(float a, float b) { return fminf(a, b); }
DEVICE double smaller(double a, double b) { return fmin(a, b); }
DEVICE float exponential(float x) {
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x * 1.4426950408889634f));
    return result;
}
DEVICE double exponential(double x) { return exp(x); }
DEVICE float reciprocal(float x) {
    float result;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}
// Within an ulp or two, without the branches of a division.
DEVICE double reciprocal(double x) {
    double result;
    asm("rcp.approx.ftz.f64 %0, %1;" : "=d"(result) : "d"(x));
    result = fma(result, fma(-x, result, 1.0), result);
    return fma(result, fma(-x, result, 1.0), result);
}

// By way of a shuffle, which the compiler cannot see through: it would compute the number again in every step.
DEVICE int pinned(int x) { return from(x, lane_number()); }

// Two numbers made of a positive one: 1 <= mantissa < 2, and the exponent with its bias.
DEVICE int exponent_of(float x) { return __float_as_int(x) >> 23; }
DEVICE int exponent_of(double x) { return __double2hiint(x) >> 20; }
DEVICE float mantissa_of(float x) { return __int_as_float((__float_as_int(x) & 0x007fffff) | 0x3f800000); }
DEVICE double mantissa_of(double x) {
    return __hiloint2double((__double2hiint(x) & 0x000fffff) | 0x3ff00000, __double2loint(x));
}

#else

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

using std::isfinite;

#define DEVICE inline

constexpr int warp_width = 32;

// In which order the lanes do what they do at once must not matter: tests run them in another.
#ifdef SHUFFLED
constexpr int lane_in_turn(int turn) { return (turn * 11 + 7) % warp_width; }
#else
constexpr int lane_in_turn(int turn) { return turn; }
#endif

template <class T>
struct Each {
    T of[warp_width];
    Each() = default;
    Each(T value) {
        for (T& one : of) one = value;
    }
    template <class U>
    explicit operator Each<U>() const {
        Each<U> result;
        for (int lane = 0; lane < warp_width; ++lane) result.of[lane] = U(of[lane]);
        return result;
    }
};

template <class T>
const T& lane_of(const Each<T>& value, int lane) {
    return value.of[lane];
}
template <class T>
const T& lane_of(const T& value, int) {
    return value;
}

template <class Function, class... Values>
inline auto map(Function function, const Values&... values) {
    using T = decltype(function(lane_of(values, 0)...));
    if constexpr (std::is_void_v<T>) {
        for (int turn = 0; turn < warp_width; ++turn) function(lane_of(values, lane_in_turn(turn))...);
    } else {
        Each<T> result;
        for (int turn = 0; turn < warp_width; ++turn) {
            const int lane = lane_in_turn(turn);
            result.of[lane] = function(lane_of(values, lane)...);
        }
        return result;
    }
}

template <class Function>
inline auto by_lane(Function function) {
    Each<decltype(function(0))> result;
    for (int lane = 0; lane < warp_width; ++lane) result.of[lane] = function(lane);
    return result;
}

template <class T, class Function>
inline void for_each_lane(Each<T>& own, Function function) {
    for (int turn = 0; turn < warp_width; ++turn) function(own.of[lane_in_turn(turn)], lane_in_turn(turn));
}

template <int n, class Function>
inline void side_by_side(Function function) {
#ifdef SHUFFLED
    for (int i = n - 1; i >= 0; --i) function(i);
#else
    for (int i = 0; i < n; ++i) function(i);
#endif
}

inline void exchanged() {}

#define NEAR(T, name, size) T name[size]

template <class T>
T mine(const Each<T>& value, int lane) {
    return value.of[lane];
}

template <class T>
T of_lane(const Each<T>& value, int lane) {
    return value.of[lane];
}

template <class T>
inline Each<T> from(const Each<T>& value, const Each<int>& lane) {
    Each<T> result;
    for (int l = 0; l < warp_width; ++l) result.of[l] = value.of[lane.of[l] & 31];
    return result;
}

inline double infinite() { return HUGE_VAL; }

inline const Each<int>& pinned(const Each<int>& x) { return x; }

inline bool any(const Each<bool>& flag) {
    for (bool one : flag.of)
        if (one) return true;
    return false;
}

inline int least(const Each<int>& value) {
    int result = value.of[0];
    for (int one : value.of) result = one < result ? one : result;
    return result;
}

template <class T>
inline T read(const T* address) {
    return *address;
}

inline void prefetch(const void*) {}

#define OPERATOR(op)                                                                    \
    template <class T>                                                                  \
    inline auto operator op(const Each<T>& a, const Each<T>& b) {                       \
        return map([](T x, T y) { return x op y; }, a, b);                              \
    }                                                                                   \
    template <class T, class U>                                                         \
        requires std::is_arithmetic_v<U>                                                \
    inline auto operator op(const Each<T>& a, U b) {                                    \
        return map([b](T x) { return x op b; }, a);                                     \
    }
OPERATOR(+)
OPERATOR(-)
OPERATOR(*)
OPERATOR(<)
OPERATOR(>)
OPERATOR(>=)
OPERATOR(==)
OPERATOR(&&)
OPERATOR(||)
#undef OPERATOR

inline Each<bool> operator!(const Each<bool>& flag) {
    return map([](bool one) { return !one; }, flag);
}

template <class T>
inline Each<T>& operator+=(Each<T>& a, const Each<T>& b) {
    return a = a + b;
}
template <class T>
inline Each<T*>& operator+=(Each<T*>& pointer, int offset) {
    return pointer = map([offset](T* one) { return one + offset; }, pointer);
}
template <class T>
inline Each<T>& operator*=(Each<T>& a, const Each<T>& b) {
    return a = a * b;
}

inline float fma_of(float a, float b, float c) { return std::fma(a, b, c); }
inline double fma_of(double a, double b, double c) { return std::fma(a, b, c); }
inline float larger(float a, float b) { return std::fmax(a, b); }
inline double larger(double a, double b) { return std::fmax(a, b); }
inline float smaller(float a, float b) { return std::fmin(a, b); }
inline double smaller(double a, double b) { return std::fmin(a, b); }
inline float exponential(float x) { return std::exp(x); }
inline double exponential(double x) { return std::exp(x); }
inline float reciprocal(float x) { return 1.0f / x; }
inline double reciprocal(double x) { return 1.0 / x; }

template <class T>
inline Each<T> fma_of(const Each<T>& a, const Each<T>& b, const Each<T>& c) {
    return map([](T x, T y, T z) { return fma_of(x, y, z); }, a, b, c);
}
template <class T>
inline Each<T> larger(const Each<T>& a, const Each<T>& b) {
    return map([](T x, T y) { return larger(x, y); }, a, b);
}
template <class T>
inline Each<T> smaller(const Each<T>& a, const Each<T>& b) {
    return map([](T x, T y) { return smaller(x, y); }, a, b);
}
template <class T>
inline Each<T> exponential(const Each<T>& x) {
    return map([](T one) { return exponential(one); }, x);
}
template <class T>
inline Each<T> reciprocal(const Each<T>& x) {
    return map([](T one) { return reciprocal(one); }, x);
}

inline int exponent_of(float x) {
    int32_t bits;
    std::memcpy(&bits, &x, sizeof x);
    return bits >> 23;
}
inline int exponent_of(double x) {
    int64_t bits;
    std::memcpy(&bits, &x, sizeof x);
    return int(bits >> 52);
}
inline float mantissa_of(float x) {
    int32_t bits;
    std::memcpy(&bits, &x, sizeof x);
    bits = (bits & 0x007fffff) | 0x3f800000;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}
inline double mantissa_of(double x) {
    int64_t bits;
    std::memcpy(&bits, &x, sizeof x);
    bits = (bits & 0x000fffffffffffffLL) | 0x3ff0000000000000LL;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}
template <class T>
inline Each<int> exponent_of(const Each<T>& x) {
    return map([](T one) { return exponent_of(one); }, x);
}
template <class T>
inline Each<T> mantissa_of(const Each<T>& x) {
    return map([](T one) { return mantissa_of(one); }, x);
}

#endif

template <class T>
DEVICE Each<T> pick(const Each<bool>& which, const Each<T>& yes, const Each<T>& no) {
    return map([](bool one, T a, T b) { return one ? a : b; }, which, yes, no);
}

// Of memory that the kernel does not write.
template <class T>
DEVICE Each<T> load(const Each<const T*>& address, int offset, const Each<bool>& where, T otherwise) {
    return map([=](const T* one, bool here) { return here ? read(one + offset) : otherwise; }, address, where);
}

template <class T>
DEVICE void store(const Each<T*>& address, int offset, const Each<T>& value, const Each<bool>& where) {
    map([=](T* one, T number, bool here) { if (here) one[offset] = number; }, address, value, where);
}

template <class T>
DEVICE void expect(const Each<const T*>& address, int offset, const Each<bool>& where) {
    map([=](const T* one, bool here) { if (here) prefetch(one + offset); }, address, where);
}

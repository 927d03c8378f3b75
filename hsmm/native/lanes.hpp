// Arithmetic on N sequences at once: every operation is lane by lane, so no lane can alter another's bits.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace hsmm {

template <class F>
constexpr int full_width = HSMM_VECTOR_BYTES / sizeof(F);

template <class F, int N>
struct Lanes {
    typedef F V __attribute__((vector_size(sizeof(F) * N)));
    using Mask = decltype(V{} > V{});  // of long or of long long, as the compiler has it
    static constexpr int width = N;
};

template <class V, class F>
inline V broadcast(F x) {
    return V{} + x;
}

// Written out, not left to contraction, so that every width and table layout rounds alike.
template <class V>
inline V fma(V a, V b, V c) {
#if defined(__FMA__)
    using F = std::decay_t<decltype(a[0])>;
    constexpr bool is_double = sizeof(F) == 8;
    if constexpr (sizeof(V) == sizeof(F)) return V{std::fma(a[0], b[0], c[0])};
    if constexpr (sizeof(V) == 16 && is_double) return (V)_mm_fmadd_pd((__m128d)a, (__m128d)b, (__m128d)c);
    if constexpr (sizeof(V) == 16 && !is_double) return (V)_mm_fmadd_ps((__m128)a, (__m128)b, (__m128)c);
    if constexpr (sizeof(V) == 32 && is_double) return (V)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
    if constexpr (sizeof(V) == 32 && !is_double) return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64 && is_double) return (V)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
    if constexpr (sizeof(V) == 64 && !is_double) return (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#endif
#endif
    return a * b + c;
}

template <class V>
inline V maximum(V a, V b) {
    return a > b ? a : b;
}

template <class V>
inline V minimum(V a, V b) {
    return a < b ? a : b;
}

template <class Mask>
inline bool any(Mask mask) {
#if defined(__AVX512F__)
    if constexpr (sizeof(Mask) == 64) return _mm512_test_epi64_mask((__m512i)mask, (__m512i)mask) != 0;
#endif
#if defined(__AVX2__)
    if constexpr (sizeof(Mask) == 32) return !_mm256_testz_si256((__m256i)mask, (__m256i)mask);
#endif
    constexpr int width = sizeof(Mask) / sizeof(mask[0]);
    auto found = mask[0];
    for (int l = 1; l < width; ++l) found |= mask[l];
    return found != 0;
}

template <class F>
struct Limits;

template <>
struct Limits<double> {
    static constexpr double min_exponent = -708.0;
    static constexpr double round_to_integer = 6755399441055744.0;  // 1.5 * 2^52
    static constexpr int64_t bias = 1023;
    static constexpr int mantissa_bits = 52;
    static constexpr double ln2_high = 0.693145751953125, ln2_low = 1.42860682030941723212e-6;
    static constexpr int degree = 12;
    static constexpr double collapsed = 1e-30;   // a scale below this is computed again from reachable states
    static constexpr double faint = 1e-100;      // no positive value of a backward pass is less
    static constexpr double tolerance = 1e-11, drift = 5.6e-17;
    static constexpr double least_entry = 1e-200;  // of a raised table; times faint, it is in range: as in inputs.py
    static constexpr double overflow = 22.0;       // no logarithm of a table's entry is more: log(max) / 32
};

template <>
struct Limits<float> {
    static constexpr float min_exponent = -87.0f;
    static constexpr float round_to_integer = 12582912.0f;  // 1.5 * 2^23
    static constexpr int32_t bias = 127;
    static constexpr int mantissa_bits = 23;
    static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    static constexpr int degree = 7;
    static constexpr float collapsed = 1e-18f;
    static constexpr float faint = 1e-12f;
    static constexpr double tolerance = 3e-6, drift = 3e-8;
    static constexpr float least_entry = 1e-25f;
    static constexpr float overflow = 2.75f;
};

// exp(x) for x <= overflow, by 2^k times a Taylor polynomial; below min_exponent it is 0.
template <class F, int N>
[[gnu::always_inline]] inline typename Lanes<F, N>::V exponential(typename Lanes<F, N>::V x) {
    using V = typename Lanes<F, N>::V;
    using Mask = typename Lanes<F, N>::Mask;
    using L = Limits<F>;
    const Mask flushed = x < L::min_exponent;
    x = flushed ? V{} : x;
    const V shifted = fma(x, broadcast<V>(F(1.4426950408889634)), broadcast<V>(L::round_to_integer));
    const V k = shifted - L::round_to_integer;
    V r = fma(k, broadcast<V>(-L::ln2_high), x);
    r = fma(k, broadcast<V>(-L::ln2_low), r);
    F inverse_factorial[L::degree + 1] = {F(1)};
    for (int n = 1; n <= L::degree; ++n) inverse_factorial[n] = inverse_factorial[n - 1] / F(n);
    V polynomial = broadcast<V>(inverse_factorial[L::degree]);
    for (int n = L::degree - 1; n >= 0; --n) polynomial = fma(polynomial, r, broadcast<V>(inverse_factorial[n]));
    const Mask power = ((Mask)shifted + L::bias) << L::mantissa_bits;
    return flushed ? V{} : polynomial * (V)power;
}

// In place, at full width however narrow the group; size is a multiple of the full width.
template <class F>
inline void exponentiate(F* x, int64_t size) {
    constexpr int N = full_width<F>;
    auto* vectors = reinterpret_cast<typename Lanes<F, N>::V*>(x);
    for (int64_t i = 0; i < size / N; ++i) vectors[i] = exponential<F, N>(vectors[i]);
}

template <int N>
using Doubles = typename Lanes<double, N>::V;

template <class F, int N>
inline Doubles<N> to_doubles(typename Lanes<F, N>::V x) {
    return __builtin_convertvector(x, Doubles<N>);
}

// Denormals are worth nothing here (see Limits::collapsed) and cost much on some processors.
class FlushDenormals {
#if defined(__x86_64__)
    unsigned saved_ = _mm_getcsr();

public:
    FlushDenormals() { _mm_setcsr(saved_ | 0x8040u); }
    ~FlushDenormals() { _mm_setcsr(saved_); }
#endif
};

}  // namespace hsmm

// score_tiles for processors with AVX-512: tiles of 8 × 48, 24 sums in 32 registers.
#include "knn_tiles.h"
#include "prefetch.h"

#if GEOQUANT_X86_KERNELS
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,fma,popcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,fma,popcnt")
#endif

namespace geoquant {
namespace avx512 {

using Vector = __m512;
constexpr int kWidth = 16;
constexpr int kRows = 8;
constexpr int kColGroups = 3;

GEOQUANT_ALWAYS_INLINE Vector load(const float* p) { return _mm512_loadu_ps(p); }
GEOQUANT_ALWAYS_INLINE Vector broadcast(float x) { return _mm512_set1_ps(x); }
GEOQUANT_ALWAYS_INLINE void store(float* p, Vector a) { _mm512_storeu_ps(p, a); }
GEOQUANT_ALWAYS_INLINE Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
GEOQUANT_ALWAYS_INLINE Vector subtract(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
GEOQUANT_ALWAYS_INLINE Vector minimum(Vector a, Vector b) {
  // Not _mm512_min_ps: gcc 12 warns of what that leaves undefined.
  return _mm512_maskz_min_ps(0xffff, a, b);
}
GEOQUANT_ALWAYS_INLINE Vector multiply_add(Vector a, Vector b, Vector c) {
  return _mm512_fmadd_ps(a, b, c);
}
GEOQUANT_ALWAYS_INLINE Vector subtract_square(Vector a, Vector c) {
  return _mm512_fnmadd_ps(a, a, c);
}
GEOQUANT_ALWAYS_INLINE unsigned above(Vector a, Vector b) {
  return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}

#include "knn_tiles_kernel.h"

}  // namespace avx512
}  // namespace geoquant

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif  // GEOQUANT_X86_KERNELS

// score_tiles for processors with AVX2: tiles of 4 × 16, 8 sums in 16 registers.
#include "knn_tiles.h"
#include "prefetch.h"

#if GEOQUANT_X86_KERNELS
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,popcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,popcnt")
#endif

namespace geoquant {
namespace avx2 {

using Vector = __m256;
constexpr int kWidth = 8;
constexpr int kRows = 4;
constexpr int kColGroups = 1;

GEOQUANT_ALWAYS_INLINE Vector load(const float* p) { return _mm256_loadu_ps(p); }
GEOQUANT_ALWAYS_INLINE Vector broadcast(float x) { return _mm256_set1_ps(x); }
GEOQUANT_ALWAYS_INLINE void store(float* p, Vector a) { _mm256_storeu_ps(p, a); }
GEOQUANT_ALWAYS_INLINE Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
GEOQUANT_ALWAYS_INLINE Vector subtract(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
GEOQUANT_ALWAYS_INLINE Vector minimum(Vector a, Vector b) { return _mm256_min_ps(a, b); }
GEOQUANT_ALWAYS_INLINE Vector multiply_add(Vector a, Vector b, Vector c) {
  return _mm256_fmadd_ps(a, b, c);
}
GEOQUANT_ALWAYS_INLINE Vector subtract_square(Vector a, Vector c) {
  return _mm256_fnmadd_ps(a, a, c);
}
GEOQUANT_ALWAYS_INLINE unsigned above(Vector a, Vector b) {
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)));
}

inline bool keep_best_quickly(float*, std::int32_t*, std::int64_t, std::int64_t, float*) {
  return false;
}

#include "knn_tiles_kernel.h"

}  // namespace avx2
}  // namespace geoquant

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif  // GEOQUANT_X86_KERNELS

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

// Not _mm512_reduce_min_ps, for the reason above.
GEOQUANT_ALWAYS_INLINE float least_of(Vector a) {
  a = minimum(a, _mm512_maskz_shuffle_f32x4(0xffff, a, a, 0x4e));
  a = minimum(a, _mm512_maskz_shuffle_f32x4(0xffff, a, a, 0xb1));
  a = minimum(a, _mm512_maskz_permute_ps(0xffff, a, 0x4e));
  a = minimum(a, _mm512_maskz_permute_ps(0xffff, a, 0xb1));
  return _mm512_cvtss_f32(a);
}

// For a buffer of 32 without ties at the threshold: the rank of all scores at once, then a
// compression. Measured: a third of the time of counting one by one.
inline bool keep_best_quickly(float* score, std::int32_t* other, std::int64_t capacity,
                              std::int64_t n_wanted, float* worst) {
  if (capacity != 32) return false;
  const Vector low = load(score);
  const Vector high = load(score + 16);
  const __m512i one = _mm512_set1_epi32(1);
  __m512i low_rank = _mm512_setzero_si512();
  __m512i high_rank = _mm512_setzero_si512();
  for (int i = 0; i < 32; ++i) {
    const Vector s = broadcast(score[i]);
    low_rank = _mm512_mask_add_epi32(low_rank, _mm512_cmp_ps_mask(s, low, _CMP_GT_OQ), low_rank,
                                     one);
    high_rank = _mm512_mask_add_epi32(high_rank, _mm512_cmp_ps_mask(s, high, _CMP_GT_OQ), high_rank,
                                      one);
  }
  const __m512i n = _mm512_set1_epi32(static_cast<int>(n_wanted));
  const __mmask16 low_kept = _mm512_cmplt_epi32_mask(low_rank, n);
  const __mmask16 high_kept = _mm512_cmplt_epi32_mask(high_rank, n);
  const int n_low = __builtin_popcount(low_kept);
  if (n_low + __builtin_popcount(high_kept) != n_wanted) return false;  // ties
  const __m512i low_other = _mm512_loadu_si512(other);
  const __m512i high_other = _mm512_loadu_si512(other + 16);
  *worst = least_of(minimum(_mm512_mask_blend_ps(low_kept, broadcast(__builtin_inff()), low),
                            _mm512_mask_blend_ps(high_kept, broadcast(__builtin_inff()), high)));
  store(score, _mm512_maskz_compress_ps(low_kept, low));
  store(score + n_low, _mm512_maskz_compress_ps(high_kept, high));
  _mm512_storeu_si512(other, _mm512_maskz_compress_epi32(low_kept, low_other));
  _mm512_storeu_si512(other + n_low, _mm512_maskz_compress_epi32(high_kept, high_other));
  return true;
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

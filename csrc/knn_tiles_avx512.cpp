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

// Ranks all scores at once, then compresses; false if there are ties at the threshold. Measured for
// a buffer of 32: a third of the time of counting one by one.
template <int kVectors>
bool keep_best_of(float* score, std::int32_t* other, std::int64_t n_wanted, float* worst) {
  const __m512i one = _mm512_set1_epi32(1);
  Vector s[kVectors];
  __m512i rank[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    s[v] = load(score + v * kWidth);
    rank[v] = _mm512_setzero_si512();
  }
  for (int i = 0; i < kVectors * kWidth; ++i) {
    const Vector better = broadcast(score[i]);
    for (int v = 0; v < kVectors; ++v) {
      const __mmask16 is_worse = _mm512_cmp_ps_mask(better, s[v], _CMP_GT_OQ);
      rank[v] = _mm512_mask_add_epi32(rank[v], is_worse, rank[v], one);
    }
  }
  const __m512i n = _mm512_set1_epi32(static_cast<int>(n_wanted));
  __mmask16 is_kept[kVectors];
  std::int64_t n_kept = 0;
  Vector least = broadcast(__builtin_inff());
  for (int v = 0; v < kVectors; ++v) {
    is_kept[v] = _mm512_cmplt_epi32_mask(rank[v], n);
    n_kept += __builtin_popcount(is_kept[v]);
    least = _mm512_mask_min_ps(least, is_kept[v], least, s[v]);
  }
  if (n_kept != n_wanted) return false;
  *worst = least_of(least);
  n_kept = 0;
  for (int v = 0; v < kVectors; ++v) {
    const __m512i o = _mm512_loadu_si512(other + v * kWidth);
    store(score + n_kept, _mm512_maskz_compress_ps(is_kept[v], s[v]));
    _mm512_storeu_si512(other + n_kept, _mm512_maskz_compress_epi32(is_kept[v], o));
    n_kept += __builtin_popcount(is_kept[v]);
  }
  return true;
}

inline bool keep_best_quickly(float* score, std::int32_t* other, std::int64_t capacity,
                              std::int64_t n_wanted, float* worst) {
  if (capacity == 16) return keep_best_of<1>(score, other, n_wanted, worst);
  if (capacity == 32) return keep_best_of<2>(score, other, n_wanted, worst);
  if (capacity == 48) return keep_best_of<3>(score, other, n_wanted, worst);
  if (capacity == 64) return keep_best_of<4>(score, other, n_wanted, worst);
  return false;
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

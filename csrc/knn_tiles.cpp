#include "knn_tiles.h"

namespace geoquant {

void score_tiles(Simd simd, const TileTask& task) {
#if GEOQUANT_X86_KERNELS
  if (simd == Simd::kAvx512) return avx512::score_tiles(task);
  if (simd == Simd::kAvx2) return avx2::score_tiles(task);
#endif
  (void)simd;
  portable::score_tiles(task);
}

void trim(Simd simd, const CandidateView& buffers, std::int64_t slot) {
#if GEOQUANT_X86_KERNELS
  if (simd == Simd::kAvx512) return avx512::trim(buffers, slot);
  if (simd == Simd::kAvx2) return avx2::trim(buffers, slot);
#endif
  (void)simd;
  portable::trim(buffers, slot);
}

}  // namespace geoquant

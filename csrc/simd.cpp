#include "simd.h"

#include <cstdlib>
#include <stdexcept>

namespace geoquant {

const char* name_of(Simd simd) {
  switch (simd) {
    case Simd::kAvx512:
      return "avx512";
    case Simd::kAvx2:
      return "avx2";
    default:
      return "portable";
  }
}

std::vector<Simd> available_simd() {
  std::vector<Simd> available{Simd::kPortable};
#if GEOQUANT_X86_KERNELS
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    available.push_back(Simd::kAvx2);
    if (__builtin_cpu_supports("avx512f")) available.push_back(Simd::kAvx512);
  }
#endif
  return available;
}

Simd chosen_simd() {
  const std::vector<Simd> available = available_simd();
  const char* const forced = std::getenv("GEOQUANT_SIMD");
  if (forced == nullptr || *forced == '\0') return available.back();
  std::string names;
  for (const Simd simd : available) {
    if (forced == std::string(name_of(simd))) return simd;
    names += (names.empty() ? "" : ", ") + std::string(name_of(simd));
  }
  throw std::invalid_argument("GEOQUANT_SIMD must be one of " + names +
                              " on this processor, found " + forced +
                              "; unset it to take the fastest");
}

}  // namespace geoquant

// Which vector instructions the tile kernels use: chosen once per call from what the processor has,
// or forced by the environment variable GEOQUANT_SIMD, so that tests can compare them all.
//
// The choice decides speed alone. Vector arithmetic only proposes neighbours; what is kept is
// decided by one scalar formula (exact_neighbors.h).
#pragma once

#include <string>
#include <vector>

// The versions for x86 need a compiler that can target instructions function by function.
#if defined(__x86_64__) && defined(__GNUC__)
#define GEOQUANT_X86_KERNELS 1
#else
#define GEOQUANT_X86_KERNELS 0
#endif

namespace geoquant {

enum class Simd { kPortable, kAvx2, kAvx512 };

const char* name_of(Simd simd);

// What this processor can run, the slowest first; kPortable is always there.
std::vector<Simd> available_simd();

// The fastest available, or the one that GEOQUANT_SIMD names; throws std::invalid_argument if that
// is not available here.
Simd chosen_simd();

}  // namespace geoquant

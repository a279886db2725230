// The inner loop of every neighbour search: scores of all pairs of two ranges of groups, as
// register tiles, filtered by the thresholds of the slots; what passes goes into the candidate
// buffers.
//
// Score(x, y) = x·y - |x|²/2 - |y|²/2 = -|x - y|²/2; or, by differences, -(x - y)·(x - y) (twice
// that), which takes twice the operations but does not cancel.
//
// One version per instruction set, made from knn_tiles_kernel.h. Cost: rows · cols · dim multiply-
// adds; a passing pair costs a branch and a store more.
// Preconditions: no other thread touches the buffers of these slots.
#pragma once

#include <cstdint>

#include "candidates.h"
#include "simd.h"

namespace geoquant {

constexpr std::int64_t kGroup = 16;  // points that are packed together

struct TileRange {
  const float* values;  // (groups, dim, 16)
  const float* bias;    // (groups · 16,), -|x|²/2, or 0 by differences; -infinity for padding
  std::int64_t first_slot;
  std::int64_t n_groups;
};

enum class Pairs {
  kRowsOnly,  // every pair is a candidate for its row
  kBoth,      // for its row and for its column: the ranges have no slot in common
  kWithin     // the ranges are one: every unordered pair once, none with itself
};

struct TileTask {
  std::int64_t dim;
  TileRange rows;
  TileRange cols;
  Pairs pairs;
  bool by_differences;
  CandidateView row_buffers;
  CandidateView col_buffers;  // not used with kRowsOnly; those of the rows with kWithin
};

void score_tiles(Simd simd, const TileTask& task);

// Leaves at most the wanted best in the buffer of a slot.
void trim(Simd simd, const CandidateView& buffers, std::int64_t slot);

namespace portable {
void score_tiles(const TileTask& task);
void trim(const CandidateView& buffers, std::int64_t slot);
}  // namespace portable
#if GEOQUANT_X86_KERNELS
namespace avx2 {
void score_tiles(const TileTask& task);
void trim(const CandidateView& buffers, std::int64_t slot);
}  // namespace avx2
namespace avx512 {
void score_tiles(const TileTask& task);
void trim(const CandidateView& buffers, std::int64_t slot);
}  // namespace avx512
#endif

}  // namespace geoquant

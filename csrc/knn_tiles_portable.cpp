// score_tiles for any processor: tiles of 2 × 16, written so that compilers use what vectors there
// are without being told.
#include "knn_tiles.h"
#include "prefetch.h"

namespace geoquant {
namespace portable {

constexpr int kWidth = 4;
constexpr int kRows = 2;
constexpr int kColGroups = 1;

struct Vector {
  float at[kWidth];
};

template <class Operation>
GEOQUANT_ALWAYS_INLINE Vector each(Operation&& operation) {
  return {{operation(0), operation(1), operation(2), operation(3)}};
}

GEOQUANT_ALWAYS_INLINE Vector load(const float* p) {
  return each([&](int i) { return p[i]; });
}
GEOQUANT_ALWAYS_INLINE Vector broadcast(float x) {
  return each([&](int) { return x; });
}
GEOQUANT_ALWAYS_INLINE void store(float* p, Vector a) {
  for (int i = 0; i < kWidth; ++i) p[i] = a.at[i];
}
GEOQUANT_ALWAYS_INLINE Vector add(Vector a, Vector b) {
  return each([&](int i) { return a.at[i] + b.at[i]; });
}
GEOQUANT_ALWAYS_INLINE Vector subtract(Vector a, Vector b) {
  return each([&](int i) { return a.at[i] - b.at[i]; });
}
GEOQUANT_ALWAYS_INLINE Vector minimum(Vector a, Vector b) {
  return each([&](int i) { return a.at[i] < b.at[i] ? a.at[i] : b.at[i]; });
}
GEOQUANT_ALWAYS_INLINE Vector multiply_add(Vector a, Vector b, Vector c) {
  return each([&](int i) { return a.at[i] * b.at[i] + c.at[i]; });
}
GEOQUANT_ALWAYS_INLINE Vector subtract_square(Vector a, Vector c) {
  return each([&](int i) { return c.at[i] - a.at[i] * a.at[i]; });
}
GEOQUANT_ALWAYS_INLINE unsigned above(Vector a, Vector b) {
  unsigned bits = 0;
  for (int i = 0; i < kWidth; ++i) bits |= static_cast<unsigned>(a.at[i] > b.at[i]) << i;
  return bits;
}

inline bool keep_best_quickly(float*, std::int32_t*, std::int64_t, std::int64_t, float*) {
  return false;
}

#include "knn_tiles_kernel.h"

}  // namespace portable
}  // namespace geoquant

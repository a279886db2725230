// Decides among proposed neighbours by exact, reproducible distances.
//
// An index may propose candidates with whatever arithmetic is fast; what is kept is decided here by
// one fixed-order formula (float64 sum of squared differences, one square root, rounded to float32)
// and the order (distance, id), so that no instruction set, batch or thread count shows in it.
//
// For each query the `n_kept` nearest distinct candidates are returned. `is_certain` says whether
// they are surely the nearest of all points: the proposals must reach beyond the last kept one by
// more than the proposing arithmetic can err.
//
// Cost: O(queries · candidates · d). Preconditions: ids in [0, n_points) or -1 for "none".
#pragma once

#include <cstdint>
#include <vector>

#include "csr_graph.h"
#include "run_control.h"

namespace geoquant {

struct Points {
  std::int64_t n_points;
  std::int64_t dim;
  const float* values;  // (n_points, dim), C order

  const float* row(std::int64_t i) const { return values + i * dim; }
};

// The one formula.
float euclidean_distance(const float* a, const float* b, std::int64_t dim);

struct ExactNeighbors {
  std::vector<float> distance;  // (n_queries, n_kept), ascending; infinity where none is left
  std::vector<NodeId> index;    // (n_queries, n_kept); kNoNode where none is left
  std::vector<std::uint8_t> is_certain;  // (n_queries,)
};

// `candidates` is (n_queries, n_candidates); `reach` (n_queries,) is a distance that every point
// not proposed is known to have at least, errors allowed for (infinity: all were proposed).
// `self` (n_queries,), if not null, is the point each query is, and is left out by its id.
ExactNeighbors exact_neighbors(const Points& points, const Points& queries,
                               const std::int64_t* candidates, std::int64_t n_candidates,
                               const double* reach, const std::int64_t* self, std::int64_t n_kept,
                               int n_threads, RunControl& control);

}  // namespace geoquant

// Decides among proposed neighbours by exact, reproducible distances.
//
// A search may propose candidates with whatever arithmetic is fast; what is kept is decided here by
// one fixed-order formula (float64 sum of squared differences, one square root, rounded to float32)
// and the order (distance, id), so that no instruction set, batch or thread count shows in it.
//
// Cost: O(candidates · d) a query. Preconditions: ids in [0, n_points), or kNoNode for "none".
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "csr_graph.h"

namespace geoquant {

struct Points {
  std::int64_t n_points;
  std::int64_t dim;
  const float* values;  // (n_points, dim), C order

  const float* row(std::int64_t i) const { return values + i * dim; }
};

struct Neighbors {
  Neighbors(std::int64_t n_queries, std::int64_t n_kept);

  std::int64_t n_kept;
  std::vector<float> distance;  // (n_queries, n_kept), ascending; infinity where none is left
  std::vector<NodeId> index;    // (n_queries, n_kept); kNoNode where none is left
};

// Fills `ranked` with the distances of `query` to the points of `ids`, in the order of `ids`.
void distances_to(const Points& points, const float* query, const NodeId* ids, std::size_t n,
                  std::pair<float, NodeId>* ranked);

// One thread's scratch for ranking the candidates of one query at a time.
class NeighborRanking {
 public:
  void begin() { ids_.clear(); }
  void add(NodeId id) { ids_.push_back(id); }

  // Writes the nearest of what was added as neighbours of `query_row`, and returns the distance of
  // the last that was asked for; infinity if there were too few. No id may have been added twice.
  float write(const Points& points, const float* query, std::int64_t query_row,
              Neighbors& neighbors);

 private:
  std::vector<NodeId> ids_;
  std::vector<std::pair<float, NodeId>> ranked_;  // sorts the way neighbours are ranked
};

}  // namespace geoquant

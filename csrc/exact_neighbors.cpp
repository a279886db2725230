#include "exact_neighbors.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace geoquant {

namespace {

// The one formula, for kCount points at a time: each sum has its fixed order, but the processor
// need not wait for one before it goes on with the next.
template <int kCount>
void distances(const Points& points, const float* query, const NodeId* ids,
               std::pair<float, NodeId>* ranked) {
  const float* row[kCount];
  double sum[kCount] = {};
  for (int i = 0; i < kCount; ++i) row[i] = points.row(ids[i]);
  for (std::int64_t k = 0; k < points.dim; ++k) {
    const double q = static_cast<double>(query[k]);
    for (int i = 0; i < kCount; ++i) {
      const double difference = q - static_cast<double>(row[i][k]);
      sum[i] += difference * difference;
    }
  }
  for (int i = 0; i < kCount; ++i) {
    // Points that somebody overwrites meanwhile may give NaN, which has no place in an order.
    if (std::isnan(sum[i])) sum[i] = std::numeric_limits<double>::infinity();
    ranked[i] = {static_cast<float>(std::sqrt(sum[i])), ids[i]};
  }
}

}  // namespace

void distances_to(const Points& points, const float* query, const NodeId* ids, std::size_t n,
                  std::pair<float, NodeId>* ranked) {
  std::size_t first_left = 0;
  for (; first_left + 4 <= n; first_left += 4) {
    distances<4>(points, query, ids + first_left, ranked + first_left);
  }
  for (; first_left < n; ++first_left) {
    distances<1>(points, query, ids + first_left, ranked + first_left);
  }
}

Neighbors::Neighbors(std::int64_t n_queries, std::int64_t kept)
    : n_kept(kept),
      distance(static_cast<std::size_t>(n_queries * kept), std::numeric_limits<float>::infinity()),
      index(static_cast<std::size_t>(n_queries * kept), kNoNode) {}

float NeighborRanking::write(const Points& points, const float* query, std::int64_t query_row,
                             Neighbors& neighbors) {
  ranked_.resize(ids_.size());
  distances_to(points, query, ids_.data(), ids_.size(), ranked_.data());
  const std::size_t n_kept = std::min(static_cast<std::size_t>(neighbors.n_kept), ranked_.size());
  const auto end = ranked_.begin() + static_cast<std::ptrdiff_t>(n_kept);
  if (end != ranked_.end()) std::nth_element(ranked_.begin(), end, ranked_.end());
  std::sort(ranked_.begin(), end);
  const std::int64_t first = query_row * neighbors.n_kept;
  for (std::size_t i = 0; i < n_kept; ++i) {
    neighbors.distance[first + static_cast<std::int64_t>(i)] = ranked_[i].first;
    neighbors.index[first + static_cast<std::int64_t>(i)] = ranked_[i].second;
  }
  if (n_kept < static_cast<std::size_t>(neighbors.n_kept)) {
    return std::numeric_limits<float>::infinity();
  }
  return n_kept == 0 ? 0.0f : ranked_[n_kept - 1].first;
}

}  // namespace geoquant

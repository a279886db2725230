#include "exact_neighbors.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "parallel_for.h"

namespace geoquant {
namespace {

constexpr std::int64_t kQueriesPerTask = 256;

using Candidate = std::pair<float, NodeId>;  // (distance, id): sorts the way neighbours are ranked

void rank_candidates(const Points& points, const float* query, const std::int64_t* ids,
                     std::int64_t n_ids, std::int64_t self, std::vector<Candidate>& ranked) {
  ranked.clear();
  for (std::int64_t i = 0; i < n_ids; ++i) {
    if (ids[i] < 0 || ids[i] == self) continue;
    ranked.emplace_back(euclidean_distance(query, points.row(ids[i]), points.dim),
                        static_cast<NodeId>(ids[i]));
  }
  std::sort(ranked.begin(), ranked.end());
  ranked.erase(std::unique(ranked.begin(), ranked.end()), ranked.end());
}

}  // namespace

float euclidean_distance(const float* a, const float* b, std::int64_t dim) {
  double sum = 0.0;
  for (std::int64_t j = 0; j < dim; ++j) {
    const double difference = static_cast<double>(a[j]) - static_cast<double>(b[j]);
    sum += difference * difference;
  }
  return static_cast<float>(std::sqrt(sum));
}

ExactNeighbors exact_neighbors(const Points& points, const Points& queries,
                               const std::int64_t* candidates, std::int64_t n_candidates,
                               const double* reach, const std::int64_t* self, std::int64_t n_kept,
                               int n_threads, RunControl& control) {
  const std::int64_t n = queries.n_points;
  const std::size_t n_entries = static_cast<std::size_t>(n * n_kept);
  ExactNeighbors result{std::vector<float>(n_entries, std::numeric_limits<float>::infinity()),
                        std::vector<NodeId>(n_entries, kNoNode),
                        std::vector<std::uint8_t>(static_cast<std::size_t>(n), 0)};
  ThreadPool pool(n_threads);
  std::vector<std::vector<Candidate>> scratch(static_cast<std::size_t>(pool.size()));
  const std::int64_t n_tasks = (n + kQueriesPerTask - 1) / kQueriesPerTask;
  pool.for_each(n_tasks, control, [&](std::int64_t task, int thread) {
    std::vector<Candidate>& ranked = scratch[thread];
    const std::int64_t end = std::min(n, (task + 1) * kQueriesPerTask);
    for (std::int64_t q = task * kQueriesPerTask; q < end; ++q) {
      rank_candidates(points, queries.row(q), candidates + q * n_candidates, n_candidates,
                      self != nullptr ? self[q] : kNoNode, ranked);
      const std::int64_t n_found = std::min<std::int64_t>(n_kept, ranked.size());
      for (std::int64_t i = 0; i < n_found; ++i) {
        result.distance[q * n_kept + i] = ranked[i].first;
        result.index[q * n_kept + i] = ranked[i].second;
      }
      const double last_kept = n_found == n_kept ? ranked[n_kept - 1].first
                                                 : std::numeric_limits<double>::infinity();
      result.is_certain[q] = last_kept < reach[q] || std::isinf(reach[q]);
    }
  });
  return result;
}

}  // namespace geoquant

#include "edge_lengths.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <utility>

#include "parallel_for.h"

namespace geoquant {
namespace {

constexpr std::int64_t kRowsPerTask = 64;

}  // namespace

std::vector<float> edge_lengths(const EdgeOffset* indptr, const NodeId* indices,
                                const Points& points, int n_threads, RunControl& control) {
  std::vector<float> lengths(static_cast<std::size_t>(indptr[points.n_points]));
  ThreadPool pool(n_threads);
  const std::int64_t n_tasks = (points.n_points + kRowsPerTask - 1) / kRowsPerTask;
  std::atomic<std::int64_t> n_done{0};
  pool.for_each(n_tasks, control, [&](std::int64_t task, int thread) {
    std::vector<std::pair<float, NodeId>> found;
    const std::int64_t end = std::min(points.n_points, (task + 1) * kRowsPerTask);
    for (std::int64_t row = task * kRowsPerTask; row < end; ++row) {
      pool.checkpoint(thread);
      const std::int64_t first = indptr[row];
      found.resize(static_cast<std::size_t>(indptr[row + 1] - first));
      distances_to(points, points.row(row), indices + first, found.size(), found.data());
      std::transform(found.begin(), found.end(), lengths.begin() + first,
                     [](const std::pair<float, NodeId>& near) { return near.first; });
    }
    const std::int64_t done = ++n_done;
    if (thread == 0) control.progress(done, n_tasks);
  });
  return lengths;
}

}  // namespace geoquant

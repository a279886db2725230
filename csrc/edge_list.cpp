#include "edge_list.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <stdexcept>
#include <utility>

#include "parallel_for.h"
#include "prefetch.h"

namespace geoquant {
namespace {

constexpr std::int64_t kNodesPerTask = 4096;

using HalfEdge = std::pair<NodeId, float>;  // (neighbour, length); sorts the way rows are merged

struct Rows {
  std::vector<EdgeOffset> begin;  // (n_nodes + 1,)
  std::vector<HalfEdge> entries;
};

Rows rows_of_both_directions(NodeId n_nodes, EdgeOffset n_edges, const NodeId* from,
                             const NodeId* to, const float* lengths) {
  Rows rows{std::vector<EdgeOffset>(static_cast<std::size_t>(n_nodes) + 1, 0), {}};
  // Rows are counted one place late: filling a row moves its begin to where it belongs.
  std::vector<EdgeOffset>& begin = rows.begin;
  for (EdgeOffset e = 0; e < n_edges; ++e) {
    if (from[e] == to[e]) continue;
    ++begin[from[e]];
    ++begin[to[e]];
  }
  EdgeOffset total = 0;
  for (EdgeOffset& count : begin) {
    total += count;
    count = total - count;
  }
  rows.entries.resize(static_cast<std::size_t>(total));
  for (EdgeOffset e = 0; e < n_edges; ++e) {
    if (from[e] == to[e]) continue;
    rows.entries[begin[from[e]]++] = {to[e], lengths[e]};
    rows.entries[begin[to[e]]++] = {from[e], lengths[e]};
  }
  for (std::size_t u = begin.size() - 1; u > 0; --u) begin[u] = begin[u - 1];
  begin[0] = 0;
  return rows;
}

// Sorts and merges every row where it stands, and moves the rows up against one another.
void merge_parallel_edges(Rows& rows) {
  const auto entries = rows.entries.begin();
  EdgeOffset n_kept = 0;
  EdgeOffset row_begin = 0;
  for (std::size_t u = 0; u + 1 < rows.begin.size(); ++u) {
    const EdgeOffset row_end = rows.begin[u + 1];
    std::sort(entries + row_begin, entries + row_end);
    const auto merged_end = std::unique(
        entries + row_begin, entries + row_end,
        [](const HalfEdge& a, const HalfEdge& b) { return a.first == b.first; });
    n_kept = std::move(entries + row_begin, merged_end, entries + n_kept) - entries;
    rows.begin[u + 1] = n_kept;
    row_begin = row_end;
  }
  rows.entries.resize(static_cast<std::size_t>(n_kept));
}

// Fills the rows of the graph of nearest neighbours.
class NeighborRows {
 public:
  NeighborRows(NodeId n_nodes, std::int64_t n_neighbors, const NodeId* index, const float* distance)
      : n_nodes_(n_nodes),
        n_neighbors_(n_neighbors),
        index_(index),
        distance_(distance),
        n_entered_(static_cast<std::size_t>(n_nodes)) {
    csr_.indptr.assign(static_cast<std::size_t>(n_nodes) + 1, 0);
  }

  CsrArrays run(int n_threads, RunControl& control) {
    ThreadPool pool(n_threads);
    std::vector<std::vector<HalfEdge>> scratch(static_cast<std::size_t>(pool.size()));
    const auto for_each_node = [&](auto&& visit) {
      const std::int64_t n_tasks = (n_nodes_ + kNodesPerTask - 1) / kNodesPerTask;
      pool.for_each(n_tasks, control, [&](std::int64_t task, int thread) {
        const std::int64_t end = std::min(n_nodes_, (task + 1) * kNodesPerTask);
        for (std::int64_t u = task * kNodesPerTask; u < end; ++u) {
          visit(static_cast<NodeId>(u), thread);
        }
      });
    };
    for_each_node([this](NodeId u, int) { count(u); });
    place_rows();
    for_each_node([this](NodeId u, int) { enter(u); });
    for_each_node([&](NodeId u, int thread) { sort_row(u, scratch[thread]); });
    return std::move(csr_);
  }

 private:
  // Calls visit(neighbour, length, whether the neighbour names `u` too) for what `u` names.
  template <class Visit>
  void for_each_named(NodeId u, Visit&& visit) const {
    const NodeId* const named = row_of(index_, u);
    const float* const length = row_of(distance_, u);
    for (std::int64_t j = 0; j < n_neighbors_; ++j) {
      if (j + kAhead < n_neighbors_ && named[j + kAhead] != kNoNode) {
        GEOQUANT_PREFETCH(row_of(index_, named[j + kAhead]));
      }
      const NodeId v = named[j];
      if (v == kNoNode || v == u) continue;
      const NodeId* const theirs = row_of(index_, v);
      const std::int64_t place = std::find(theirs, theirs + n_neighbors_, u) - theirs;
      const bool is_mutual = place < n_neighbors_;
      visit(v, is_mutual ? std::min(length[j], row_of(distance_, v)[place]) : length[j], is_mutual);
    }
  }

  template <class T>
  const T* row_of(const T* values, NodeId u) const {
    return values + static_cast<std::int64_t>(u) * n_neighbors_;
  }

  void count(NodeId u) {
    EdgeOffset n_own = 0;
    for_each_named(u, [&](NodeId v, float, bool is_mutual) {
      ++n_own;
      if (!is_mutual) n_entered_[v].fetch_add(1, std::memory_order_relaxed);
    });
    csr_.indptr[u + 1] = n_own;
  }

  // From counts to offsets; a row has room for what its node names first, then for the others.
  void place_rows() {
    for (std::size_t u = 0; u < n_entered_.size(); ++u) {
      const EdgeOffset n_named = csr_.indptr[u + 1];
      const EdgeOffset others = csr_.indptr[u] + n_named;
      csr_.indptr[u + 1] = others + n_entered_[u].load(std::memory_order_relaxed);
      n_entered_[u].store(others, std::memory_order_relaxed);  // from now on where to enter next
    }
    csr_.indices.resize(static_cast<std::size_t>(csr_.indptr.back()));
    csr_.lengths.resize(csr_.indices.size());
  }

  void enter(NodeId u) {
    EdgeOffset own = csr_.indptr[u];
    for_each_named(u, [&](NodeId v, float length, bool is_mutual) {
      put(own++, v, length);
      if (!is_mutual) put(n_entered_[v].fetch_add(1, std::memory_order_relaxed), u, length);
    });
  }

  void put(EdgeOffset e, NodeId neighbour, float length) {
    csr_.indices[e] = neighbour;
    csr_.lengths[e] = length;
  }

  void sort_row(NodeId u, std::vector<HalfEdge>& row) {
    const EdgeOffset begin = csr_.indptr[u];
    const EdgeOffset end = csr_.indptr[u + 1];
    row.clear();
    for (EdgeOffset e = begin; e < end; ++e) row.emplace_back(csr_.indices[e], csr_.lengths[e]);
    std::sort(row.begin(), row.end());
    const auto is_same_node = [](HalfEdge a, HalfEdge b) { return a.first == b.first; };
    if (std::adjacent_find(row.begin(), row.end(), is_same_node) != row.end()) {
      throw std::invalid_argument("index must not name a neighbour twice for one node");
    }
    for (EdgeOffset e = begin; e < end; ++e) put(e, row[e - begin].first, row[e - begin].second);
  }

  static constexpr std::int64_t kAhead = 4;

  const std::int64_t n_nodes_;
  const std::int64_t n_neighbors_;
  const NodeId* index_;
  const float* distance_;
  std::vector<std::atomic<EdgeOffset>> n_entered_;  // per node, by others: first a count
  CsrArrays csr_;
};

}  // namespace

CsrArrays symmetric_csr(NodeId n_nodes, EdgeOffset n_edges, const NodeId* from, const NodeId* to,
                        const float* lengths) {
  Rows rows = rows_of_both_directions(n_nodes, n_edges, from, to, lengths);
  merge_parallel_edges(rows);
  CsrArrays csr;
  csr.indptr = std::move(rows.begin);
  csr.indices.reserve(rows.entries.size());
  csr.lengths.reserve(rows.entries.size());
  for (const HalfEdge& edge : rows.entries) {
    csr.indices.push_back(edge.first);
    csr.lengths.push_back(edge.second);
  }
  return csr;
}

CsrArrays neighbor_csr(NodeId n_nodes, std::int64_t n_neighbors, const NodeId* index,
                       const float* distance, int n_threads, RunControl& control) {
  return NeighborRows(n_nodes, n_neighbors, index, distance).run(n_threads, control);
}

}  // namespace geoquant

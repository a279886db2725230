#include "packed_graph.h"

#include <algorithm>
#include <cstddef>

namespace geoquant {
namespace {

constexpr std::size_t kNodesPerPoll = 4096;

bool is_shorter(const Edge& a, const Edge& b) {
  return a.length < b.length || (a.length == b.length && a.to < b.to);
}

// One row after another, each from the shortest edge to the longest.
class SortedRows {
 public:
  SortedRows(const EdgeOffset* indptr, const NodeId* indices, const float* lengths)
      : indptr_(indptr), indices_(indices), lengths_(lengths) {}

  const std::vector<Edge>& row(NodeId node) {
    row_.clear();
    for (EdgeOffset e = indptr_[node]; e < indptr_[node + 1]; ++e) {
      row_.push_back({indices_[e], lengths_[e]});
    }
    std::sort(row_.begin(), row_.end(), is_shorter);
    return row_;
  }

 private:
  const EdgeOffset* indptr_;
  const NodeId* indices_;
  const float* lengths_;
  std::vector<Edge> row_;
};

// Nodes in the order of a depth-first walk that takes short edges first.
std::vector<NodeId> depth_first_order(NodeId n_nodes, SortedRows& rows, RunControl& control) {
  std::vector<NodeId> order;
  order.reserve(static_cast<std::size_t>(n_nodes));
  std::vector<bool> is_visited(static_cast<std::size_t>(n_nodes), false);
  std::vector<NodeId> to_visit;
  for (NodeId start = 0; start < n_nodes; ++start) {
    to_visit.push_back(start);
    while (!to_visit.empty()) {
      const NodeId node = to_visit.back();
      to_visit.pop_back();
      if (is_visited[node]) continue;
      is_visited[node] = true;
      order.push_back(node);
      if (order.size() % kNodesPerPoll == 0) control.poll();
      const std::vector<Edge>& row = rows.row(node);
      for (auto edge = row.rbegin(); edge != row.rend(); ++edge) {
        if (!is_visited[edge->to]) to_visit.push_back(edge->to);
      }
    }
  }
  return order;
}

void measure_lengths(PackedGraph& graph) {
  double sum = 0.0;
  for (const Edge& edge : graph.edges) {
    sum += static_cast<double>(edge.length);
    graph.longest_length = std::max(graph.longest_length, static_cast<double>(edge.length));
  }
  graph.mean_length = sum / static_cast<double>(std::max<std::size_t>(1, graph.edges.size()));
}

}  // namespace

PackedGraph pack_graph(NodeId n_nodes, const EdgeOffset* indptr, const NodeId* indices,
                       const float* lengths, RunControl& control) {
  SortedRows rows(indptr, indices, lengths);
  PackedGraph graph;
  graph.original = depth_first_order(n_nodes, rows, control);
  graph.packed.resize(graph.original.size());
  for (NodeId u = 0; u < n_nodes; ++u) graph.packed[graph.original[u]] = u;
  graph.indptr.reserve(graph.original.size() + 1);
  graph.edges.reserve(static_cast<std::size_t>(indptr[n_nodes]));
  graph.indptr.push_back(0);
  for (const NodeId node : graph.original) {
    if (graph.indptr.size() % kNodesPerPoll == 0) control.poll();
    for (const Edge& edge : rows.row(node)) {
      graph.edges.push_back({graph.packed[edge.to], edge.length});
    }
    const EdgeOffset end = static_cast<EdgeOffset>(graph.edges.size());
    graph.largest_degree = std::max(graph.largest_degree, end - graph.indptr.back());
    graph.indptr.push_back(end);
  }
  measure_lengths(graph);
  return graph;
}

}  // namespace geoquant

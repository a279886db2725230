#include "contraction.h"

#include <algorithm>
#include <cstddef>

namespace geoquant {
namespace {

// Calls visit(cell, other cell, length) for every edge between cells, in both directions.
template <class Visit>
void for_each_crossing(const CsrGraph& graph, const std::vector<NearestSource>& nearest,
                       Visit&& visit) {
  for (NodeId u = 0; u < graph.n_nodes; ++u) {
    const NearestSource& here = nearest[u];
    graph.for_each_neighbour(u, [&](NodeId v, float length) {
      const NearestSource& there = nearest[v];
      if (there.source == here.source) return;
      // In this order the sum is the same from both sides.
      visit(here.source, there.source,
            static_cast<float>((here.distance + there.distance) + static_cast<double>(length)));
    });
  }
}

// Sorts a row by neighbour and keeps the shortest edge to each; returns the new end.
Edge* merge_parallel(Edge* begin, Edge* end) {
  std::sort(begin, end, [](const Edge& a, const Edge& b) {
    return a.to < b.to || (a.to == b.to && a.length < b.length);
  });
  return std::unique(begin, end, [](const Edge& a, const Edge& b) { return a.to == b.to; });
}

}  // namespace

PackedGraph contracted_graph(const CsrGraph& graph, const std::vector<NearestSource>& nearest,
                             NodeId n_cells, RunControl& control) {
  std::vector<EdgeOffset> row_end(static_cast<std::size_t>(n_cells) + 1, 0);
  for_each_crossing(graph, nearest, [&](CentreId a, CentreId, float) { ++row_end[a + 1]; });
  control.poll();
  for (NodeId c = 0; c < n_cells; ++c) row_end[c + 1] += row_end[c];
  std::vector<Edge> crossing(static_cast<std::size_t>(row_end.back()));
  for_each_crossing(graph, nearest, [&](CentreId a, CentreId b, float length) {
    crossing[row_end[a]++] = {b, length};  // afterwards row_end[a] is the end of row a
  });
  std::vector<EdgeOffset> indptr{0};
  std::vector<NodeId> indices;
  std::vector<float> lengths;
  for (NodeId c = 0; c < n_cells; ++c) {
    control.poll();
    Edge* const begin = crossing.data() + (c == 0 ? 0 : row_end[c - 1]);
    Edge* const end = merge_parallel(begin, crossing.data() + row_end[c]);
    for (const Edge* edge = begin; edge != end; ++edge) {
      indices.push_back(edge->to);
      lengths.push_back(edge->length);
    }
    indptr.push_back(static_cast<EdgeOffset>(indices.size()));
  }
  return pack_graph(n_cells, indptr.data(), indices.data(), lengths.data(), control);
}

}  // namespace geoquant

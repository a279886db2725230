#include "edge_list.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace geoquant {
namespace {

using HalfEdge = std::pair<NodeId, float>;  // (neighbour, length); sorts the way rows are merged

struct Rows {
  std::vector<EdgeOffset> begin;  // (n_nodes + 1,)
  std::vector<HalfEdge> entries;
};

Rows rows_of_both_directions(NodeId n_nodes, EdgeOffset n_edges, const NodeId* from,
                             const NodeId* to, const float* lengths) {
  Rows rows{std::vector<EdgeOffset>(static_cast<std::size_t>(n_nodes) + 1, 0), {}};
  for (EdgeOffset e = 0; e < n_edges; ++e) {
    if (from[e] == to[e]) continue;
    ++rows.begin[from[e] + 1];
    ++rows.begin[to[e] + 1];
  }
  for (NodeId u = 0; u < n_nodes; ++u) rows.begin[u + 1] += rows.begin[u];
  rows.entries.resize(static_cast<std::size_t>(rows.begin[n_nodes]));
  std::vector<EdgeOffset> next(rows.begin.begin(), rows.begin.end() - 1);
  for (EdgeOffset e = 0; e < n_edges; ++e) {
    if (from[e] == to[e]) continue;
    rows.entries[next[from[e]]++] = {to[e], lengths[e]};
    rows.entries[next[to[e]]++] = {from[e], lengths[e]};
  }
  return rows;
}

}  // namespace

CsrArrays symmetric_csr(NodeId n_nodes, EdgeOffset n_edges, const NodeId* from, const NodeId* to,
                        const float* lengths) {
  Rows rows = rows_of_both_directions(n_nodes, n_edges, from, to, lengths);
  CsrArrays csr;
  csr.indptr.reserve(rows.begin.size());
  csr.indptr.push_back(0);
  csr.indices.reserve(rows.entries.size());
  csr.lengths.reserve(rows.entries.size());
  for (NodeId u = 0; u < n_nodes; ++u) {
    const auto begin = rows.entries.begin() + rows.begin[u];
    const auto end = rows.entries.begin() + rows.begin[u + 1];
    std::sort(begin, end);
    const auto unique_end = std::unique(
        begin, end, [](const HalfEdge& a, const HalfEdge& b) { return a.first == b.first; });
    for (auto edge = begin; edge != unique_end; ++edge) {
      csr.indices.push_back(edge->first);
      csr.lengths.push_back(edge->second);
    }
    csr.indptr.push_back(static_cast<EdgeOffset>(csr.indices.size()));
  }
  return csr;
}

}  // namespace geoquant

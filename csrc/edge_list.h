// From a list of edges to the canonical graph: both directions of every edge, rows sorted by
// neighbour, self loops dropped, parallel edges merged by the minimum length, zero lengths kept.
//
// Counting sort by row, then a sort within each row: O(edges · log degree), O(edges) memory.
// Preconditions: nodes in [0, n_nodes), lengths finite and >= 0.
#pragma once

#include <vector>

#include "csr_graph.h"

namespace geoquant {

struct CsrArrays {
  std::vector<EdgeOffset> indptr;
  std::vector<NodeId> indices;
  std::vector<float> lengths;
};

CsrArrays symmetric_csr(NodeId n_nodes, EdgeOffset n_edges, const NodeId* from, const NodeId* to,
                        const float* lengths);

}  // namespace geoquant

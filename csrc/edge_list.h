// From edges to the canonical graph: both directions of every edge, rows sorted by neighbour, self
// loops dropped, parallel edges merged by the minimum length, zero lengths kept.
//
// Preconditions: nodes in [0, n_nodes), lengths finite and >= 0.
#pragma once

#include <cstdint>
#include <vector>

#include "csr_graph.h"
#include "run_control.h"

namespace geoquant {

struct CsrArrays {
  std::vector<EdgeOffset> indptr;
  std::vector<NodeId> indices;
  std::vector<float> lengths;
};

// Of any list of edges. Counting sort by row, then a sort within each row: O(edges · log degree);
// beside the result, 8 bytes for each direction of an edge and 8 for each node.
CsrArrays symmetric_csr(NodeId n_nodes, EdgeOffset n_edges, const NodeId* from, const NodeId* to,
                        const float* lengths);

// Of nearest neighbours, (n_nodes, n_neighbors) each: node u is joined with index[u, ·], an edge
// being kept if either end names the other; kNoNode is skipped. Beside the result, 16 bytes for
// each node: an edge is entered in the row of its other end only where that end does not name it,
// which is looked up, so no edge is ever held twice.
//
// O(edges · n_neighbors), in parallel over the rows; rows are sorted last, so the threads leave no
// trace. Throws std::invalid_argument if a node names a neighbour twice.
CsrArrays neighbor_csr(NodeId n_nodes, std::int64_t n_neighbors, const NodeId* index,
                       const float* distance, int n_threads, RunControl& control);

}  // namespace geoquant

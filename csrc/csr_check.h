// Whether arrays that somebody else made are a graph that the kernels can trust (csr_graph.h).
//
// Returns the first thing that is wrong. One walk over the edges: rows are visited in order, so the
// mirror image of an entry is the next one in its row that has not been met. O(edges) time, 8 bytes
// for each node. Precondition: indices and lengths have indptr[n_nodes] entries if indptr is right.
#pragma once

#include <cstdint>

#include "csr_graph.h"

namespace geoquant {

enum class CsrDefect {
  kNone,
  kOffsets,     // indptr does not start at 0, decreases, or does not end at n_entries
  kRange,       // a neighbour is not in [0, n_nodes)
  kOrder,       // a row is not strictly ascending, or holds its own node
  kAsymmetric,  // an entry has no mirror image of the same length
};

CsrDefect csr_defect(NodeId n_nodes, EdgeOffset n_entries, const EdgeOffset* indptr,
                     const NodeId* indices, const float* lengths);

}  // namespace geoquant

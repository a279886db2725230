// The graph every kernel walks: a read-only view of rows of edges (see packed_graph.h).
//
// Preconditions (checked once in Python, trusted here): symmetric pattern and lengths, finite
// lengths >= 0, neighbours in [0, n_nodes), no self loops.
#pragma once

#include <cassert>
#include <cstdint>

namespace geoquant {

// 16 bits make a build that meets the end of its numbers in a test (make test-narrow).
#if defined(GEOQUANT_NODE_BITS) && GEOQUANT_NODE_BITS == 16
using NodeId = std::int16_t;
#else
using NodeId = std::int32_t;
#endif
using CentreId = NodeId;
using EdgeOffset = std::int64_t;

constexpr NodeId kNoNode = -1;
constexpr CentreId kNoCentre = -1;

// One direction of an edge. Neighbour and length lie together: a search needs both.
struct Edge {
  NodeId to;
  float length;
};

struct CsrGraph {
  NodeId n_nodes;
  const EdgeOffset* indptr;  // (n_nodes + 1,)
  const Edge* edges;         // (indptr[n_nodes],)
  double mean_length;        // of all edges; 0 where there are none
  double longest_length;
  EdgeOffset largest_degree;

  EdgeOffset degree(NodeId node) const { return indptr[node + 1] - indptr[node]; }

  // Calls visit(neighbour, length) for every edge of `node`.
  template <class Visit>
  void for_each_neighbour(NodeId node, Visit&& visit) const {
    assert(node >= 0 && node < n_nodes);
    const Edge* const end = edges + indptr[node + 1];
    for (const Edge* edge = edges + indptr[node]; edge != end; ++edge) {
      visit(edge->to, edge->length);
    }
  }
};

}  // namespace geoquant

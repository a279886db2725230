// The graph every kernel walks: a read-only view of CSR arrays owned by the caller.
//
// Preconditions (checked once in Python, trusted here): symmetric pattern and lengths, finite
// lengths >= 0, indices in [0, n_nodes), no self loops.
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

struct CsrGraph {
  NodeId n_nodes;
  const EdgeOffset* indptr;  // (n_nodes + 1,)
  const NodeId* indices;     // (n_edges,)
  const float* lengths;      // (n_edges,)
  double mean_length;        // of all edges; 0 where there are none
  double longest_length;

  EdgeOffset n_edges() const { return indptr[n_nodes]; }

  // Calls visit(neighbour, length) for every edge of `node`.
  template <class Visit>
  void for_each_neighbour(NodeId node, Visit&& visit) const {
    assert(node >= 0 && node < n_nodes);
    // Copies: a store by visit must not make the compiler load the pointers again.
    const NodeId* const to = indices;
    const float* const length = lengths;
    const EdgeOffset end = indptr[node + 1];
    for (EdgeOffset e = indptr[node]; e < end; ++e) visit(to[e], length[e]);
  }
};

}  // namespace geoquant

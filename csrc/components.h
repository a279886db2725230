// Connected components. `nodes` lists all nodes; returns the label of each, components numbered in
// the order of their first node there. Depth-first, O(nodes + edges).
#pragma once

#include <vector>

#include "csr_graph.h"

namespace geoquant {

std::vector<NodeId> connected_components(const CsrGraph& graph, const std::vector<NodeId>& nodes);

}  // namespace geoquant

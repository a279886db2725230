// Connected components. Returns a label for every node, components numbered by their smallest node.
// Breadth-first, O(nodes + edges).
#pragma once

#include <vector>

#include "csr_graph.h"

namespace geoquant {

std::vector<NodeId> connected_components(const CsrGraph& graph);

}  // namespace geoquant

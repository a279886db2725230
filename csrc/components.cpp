#include "components.h"

#include <cstddef>

namespace geoquant {

std::vector<NodeId> connected_components(const CsrGraph& graph) {
  std::vector<NodeId> label(static_cast<std::size_t>(graph.n_nodes), kNoNode);
  std::vector<NodeId> to_visit;
  NodeId n_components = 0;
  for (NodeId start = 0; start < graph.n_nodes; ++start) {
    if (label[start] != kNoNode) continue;
    label[start] = n_components;
    to_visit.push_back(start);
    while (!to_visit.empty()) {
      const NodeId u = to_visit.back();
      to_visit.pop_back();
      graph.for_each_neighbour(u, [&](NodeId v, float) {
        if (label[v] != kNoNode) return;
        label[v] = n_components;
        to_visit.push_back(v);
      });
    }
    ++n_components;
  }
  return label;
}

}  // namespace geoquant

#include "components.h"

#include <cstddef>

namespace geoquant {

std::vector<NodeId> connected_components(const CsrGraph& graph, const std::vector<NodeId>& nodes) {
  std::vector<NodeId> label(nodes.size(), kNoNode);
  std::vector<NodeId> label_in_order;
  label_in_order.reserve(nodes.size());
  std::vector<NodeId> to_visit;
  NodeId n_components = 0;
  for (const NodeId start : nodes) {
    if (label[start] == kNoNode) {
      label[start] = n_components++;
      to_visit.push_back(start);
    }
    while (!to_visit.empty()) {
      const NodeId u = to_visit.back();
      to_visit.pop_back();
      graph.for_each_neighbour(u, [&](NodeId v, float) {
        if (label[v] != kNoNode) return;
        label[v] = label[u];
        to_visit.push_back(v);
      });
    }
    label_in_order.push_back(label[start]);
  }
  return label_in_order;
}

}  // namespace geoquant

#include "shortest_paths.h"

#include <cstddef>

namespace geoquant {
namespace {

// At equal distance the smaller label wins; and where rounding hides that a node's predecessor came
// nearer to another source, the node follows it, so that paths stay in their cell.
bool takes_label(CentreId offered, CentreId kept, bool is_from_predecessor) {
  return offered < kept || (is_from_predecessor && offered != kept);
}

}  // namespace

NearestSource nearest_source(const CsrGraph& graph, const std::vector<NodeId>& sources,
                             RunControl& control) {
  const std::size_t n = static_cast<std::size_t>(graph.n_nodes);
  NearestSource result{std::vector<double>(n, kUnreached), std::vector<CentreId>(n, kNoCentre),
                       std::vector<NodeId>(n, kNoNode)};
  BucketQueue<NodeId> queue(graph);
  for (std::size_t k = 0; k < sources.size(); ++k) {
    const NodeId s = sources[k];
    if (result.source[s] != kNoCentre) continue;
    result.distance[s] = 0.0;
    result.source[s] = static_cast<CentreId>(k);
    queue.push(0.0, s);
  }
  // Raw pointers: through the vectors, every store to one would reload the others.
  double* const distance = result.distance.data();
  CentreId* const source = result.source.data();
  NodeId* const predecessor = result.predecessor.data();
  std::int64_t n_served = 0;
  queue.serve_all([&](double d, NodeId u) {
    if (d != distance[u]) return;
    if ((++n_served & 0xfff) == 0) control.poll();
    const CentreId label = source[u];
    graph.for_each_neighbour(u, [&](NodeId v, float length) {
      const double through = d + static_cast<double>(length);
      if (through > distance[v]) return;
      if (through == distance[v] && !takes_label(label, source[v], predecessor[v] == u)) return;
      distance[v] = through;
      source[v] = label;
      predecessor[v] = u;
      queue.push(through, v);
    });
  });
  return result;
}

std::vector<TwoNearest> two_nearest_sources(const CsrGraph& graph,
                                            const std::vector<NodeId>& sources,
                                            RunControl& control) {
  std::vector<TwoNearest> nearest(static_cast<std::size_t>(graph.n_nodes));
  OfferQueue queue(graph);
  for (std::size_t k = 0; k < sources.size(); ++k) {
    const CentreId centre = static_cast<CentreId>(k);
    if (!nearest[sources[k]].wants(0.0, centre)) continue;
    nearest[sources[k]].take(0.0, centre);
    queue.push(0.0, {sources[k], centre});
  }
  std::int64_t n_changes = 0;
  propagate_two_nearest(graph, nearest, queue, [&](NodeId) {
    if ((++n_changes & 0xfff) == 0) control.poll();
  });
  return nearest;
}

}  // namespace geoquant

#include "shortest_paths.h"

#include <algorithm>
#include <cstddef>

namespace geoquant {
namespace {

// At equal distance the smaller label wins; and where rounding hides that a node's predecessor came
// nearer to another source, the node follows it, so that paths stay in their cell.
bool takes_label(CentreId offered, CentreId kept, bool is_from_predecessor) {
  return offered < kept || (is_from_predecessor && offered != kept);
}

}  // namespace

NearestSourceSearch::NearestSourceSearch(const CsrGraph& graph)
    : nearest_(static_cast<std::size_t>(graph.n_nodes)), queue_(graph) {}

const std::vector<NearestSource>& NearestSourceSearch::from(const std::vector<NodeId>& sources,
                                                            RunControl& control) {
  std::fill(nearest_.begin(), nearest_.end(), NearestSource{});
  for (std::size_t k = 0; k < sources.size(); ++k) {
    NearestSource& there = nearest_[sources[k]];
    if (there.source != kNoCentre) continue;
    there = {0.0, static_cast<CentreId>(k), kNoNode};
    queue_.push(0.0, sources[k]);
  }
  NearestSource* const nearest = nearest_.data();
  std::int64_t n_served = 0;
  queue_.relax_all([nearest](NodeId u) { return nearest[u].distance; },
                   [&](double, NodeId) {
                     if ((++n_served & 0xfff) == 0) control.poll();
                   },
                   [nearest](NodeId u, NodeId v, double through) {
                     NearestSource& there = nearest[v];
                     const CentreId label = nearest[u].source;
                     if (through > there.distance) return false;
                     if (through == there.distance &&
                         !takes_label(label, there.source, there.predecessor == u)) {
                       return false;
                     }
                     there = {through, label, u};
                     return true;
                   });
  return nearest_;
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

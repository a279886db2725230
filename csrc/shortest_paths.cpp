#include "shortest_paths.h"

#include <algorithm>
#include <cstddef>

namespace geoquant {
NearestSourceSearch::NearestSourceSearch(const CsrGraph& graph)
    : nearest_(static_cast<std::size_t>(graph.n_nodes)), queue_(graph) {}

const std::vector<NearestSource>& NearestSourceSearch::from(const std::vector<NodeId>& sources,
                                                            RunControl& control) {
  std::fill(nearest_.begin(), nearest_.end(), NearestSource{});
  if (search(sources, Known::kNothing, control)) {
    for (NearestSource& node : nearest_) node = {node.distance, kNoCentre, kNoNode};
    search(sources, Known::kDistances, control);
  }
  return nearest_;
}

bool NearestSourceSearch::search(const std::vector<NodeId>& sources, Known known,
                                 RunControl& control) {
  for (std::size_t k = 0; k < sources.size(); ++k) {
    NearestSource& there = nearest_[sources[k]];
    if (there.source != kNoCentre) continue;
    there = {0.0, static_cast<CentreId>(k), kNoNode};
    queue_.push(0.0, sources[k]);
  }
  return relax_nearest(
      nearest_, queue_, known, control, [](NodeId) { return true; }, [](NodeId) {});
}

ContinuedSearch continue_search(const CsrGraph& graph, const std::vector<bool>& is_ghost,
                                const std::vector<NearestOffer>& offers, Known known,
                                std::vector<NearestSource>& nearest, RunControl& control) {
  BucketQueue<NodeId> queue(graph);
  std::vector<bool> is_changed(nearest.size(), false);
  for (const NearestOffer& offer : offers) {
    NearestSource& there = nearest[offer.node];
    const bool is_nearer = offer.distance < there.distance;
    const bool is_first = there.source == kNoCentre || offer.source < there.source;
    if (!is_nearer && (offer.distance > there.distance || !is_first)) continue;
    there = {offer.distance, offer.source, kNoNode};
    queue.push(offer.distance, offer.node);
  }
  ContinuedSearch done;
  done.is_hidden = relax_nearest(
      nearest, queue, known, control, [&](NodeId node) { return !is_ghost[node]; },
      [&](NodeId node) { is_changed[node] = true; });
  for (NodeId u = 0; u < graph.n_nodes; ++u) {
    if (!is_changed[u] || is_ghost[u]) continue;
    graph.for_each_neighbour(u, [&](NodeId v, float length) {
      const double through = nearest[u].distance + static_cast<double>(length);
      if (is_ghost[v] && through <= nearest[v].distance) done.crossings.push_back({u, v});
    });
  }
  return done;
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

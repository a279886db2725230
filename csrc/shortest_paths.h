// Distances from a set of centres to every node, with the centre each distance belongs to.
//
// All kernels return the fixed point of label correction: float64 sums d[u] + length taken from
// the centre outwards, ties by the lexicographic minimum of (distance, position of the centre in
// `sources`). The distances are those of Dijkstra bit for bit, because rounding is monotone.
//
// The label of a node is the least of those of its predecessors, the neighbours u whose final
// distance gives d[u] + length == d[node]. So it is a function of the graph and the sources alone,
// whatever the order of the search, and paths stay in their cell. Where no sum rounds, label
// correction finds just that. Where one does, a neighbour may come nearer to a source of larger
// label than it offered, and the sum hide it: such a search notices, and finds the labels anew
// along the distances, which are final. Proof that it need not otherwise: as long as no kept label
// is smaller than what its predecessor has come to, every change lowers (distance, label), so each
// label is its predecessor's, and no larger than any that is offered at the same distance.
//
// Cost: O(edges) expected (see bucket_queue.h), O(nodes) memory. Preconditions: sources in range.
#pragma once

#include <limits>
#include <vector>

#include "bucket_queue.h"
#include "csr_graph.h"
#include "run_control.h"

namespace geoquant {

constexpr double kUnreached = std::numeric_limits<double>::infinity();

// Together in 16 bytes: a search that improves a node writes all three.
struct NearestSource {
  double distance = kUnreached;  // kUnreached where no source reaches
  CentreId source = kNoCentre;   // position in `sources`, kNoCentre where unreached
  NodeId predecessor = kNoNode;  // previous node on the path, kNoNode at sources and unreached
};

// What a search may take for granted.
enum class Known {
  kNothing,
  kDistances,  // they are final: only labels are looked for, on paths that reproduce them
};

// Relaxes what is queued. `may_change(node)` says which nodes may be; `served(node)` is called for
// each that was, and for those queued. Returns whether rounding hid from a node that its
// predecessor had changed its source: if so the labels are to be found anew, with the distances
// known.
template <class MayChange, class Served>
bool relax_nearest(std::vector<NearestSource>& state, BucketQueue<NodeId>& queue, Known known,
                   RunControl& control, MayChange&& may_change, Served&& served) {
  NearestSource* const nearest = state.data();
  std::int64_t n_served = 0;
  bool is_hidden = false;
  queue.relax_all([nearest](NodeId u) { return nearest[u].distance; },
                  [&](double, NodeId u) {
                    served(u);
                    if ((++n_served & 0xfff) == 0) control.poll();
                  },
                  [&](NodeId u, NodeId v, double through) {
                    NearestSource& there = nearest[v];
                    if (through > there.distance || !may_change(v)) return false;
                    const CentreId label = nearest[u].source;
                    if (through < there.distance) {
                      if (known == Known::kDistances) return false;
                    } else if (there.source != kNoCentre && label >= there.source) {
                      is_hidden |= label > there.source && there.predecessor == u;
                      return false;
                    }
                    there = {through, label, u};
                    return true;
                  });
  return is_hidden;
}

// Every node's nearest source, by searches that leave their scratch to the next one.
class NearestSourceSearch {
 public:
  explicit NearestSourceSearch(const CsrGraph& graph);

  // Valid until the next search. If a node is given more than once, its first position in
  // `sources` is its label. After an exception the search is not to be used again.
  const std::vector<NearestSource>& from(const std::vector<NodeId>& sources, RunControl& control);

 private:
  bool search(const std::vector<NodeId>& sources, Known known, RunControl& control);

  std::vector<NearestSource> nearest_;
  BucketQueue<NodeId> queue_;
};

// A graph that is spread over several places has its own nodes in each, and beside them ghosts: the
// neighbours that live elsewhere, where they are found. What becomes known of either is an offer.
struct NearestOffer {
  NodeId node;
  double distance;
  CentreId source;
};

// What a place has to tell another: `from`, one of its own nodes, may now improve the ghost `to`.
struct NearestCrossing {
  NodeId from;
  NodeId to;
};

struct ContinuedSearch {
  std::vector<NearestCrossing> crossings;
  bool is_hidden = false;  // see relax_nearest
};

// Goes on with a search from offers, as far as it leads in one place; `nearest` is its state, one
// entry per node, changed in place. An offer that is no better than what is known is passed over;
// with `Known::kDistances`, one at another distance than the known one is taken at its own.
//
// Once every crossing was told as an offer to where the ghost lives, and nothing crosses any more,
// the own nodes of all places have what one search of the whole graph finds. An edge is not crossed
// if it leads no nearer than the ghost is known to be: what is known here is never less than what
// its own place knows.
//
// Preconditions: `is_ghost` and `nearest` of n_nodes entries; nodes of offers in range.
ContinuedSearch continue_search(const CsrGraph& graph, const std::vector<bool>& is_ghost,
                                const std::vector<NearestOffer>& offers, Known known,
                                std::vector<NearestSource>& nearest, RunControl& control);

// The nearest and second nearest of distinct centres; the state that swapping keeps up to date.
struct TwoNearest {
  double d1 = kUnreached;
  double d2 = kUnreached;
  CentreId c1 = kNoCentre;
  CentreId c2 = kNoCentre;

  // Whether (distance, centre) belongs among the two.
  bool wants(double distance, CentreId centre) const {
    if (distance > d2) return false;
    return centre == c1 ? distance < d1 : precedes(distance, centre, d2, c2);
  }

  // Puts a wanted (distance, centre) in its place.
  void take(double distance, CentreId centre) {
    if (centre != c1 && !precedes(distance, centre, d1, c1)) {
      d2 = distance;
      c2 = centre;
      return;
    }
    if (centre != c1) {
      d2 = d1;
      c2 = c1;
    }
    d1 = distance;
    c1 = centre;
  }

  // Whether `distance` is still the one this node keeps for `centre`.
  bool keeps(double distance, CentreId centre) const {
    return (centre == c1 && distance == d1) || (centre == c2 && distance == d2);
  }

 private:
  // An unreached entry has centre kNoCentre = -1 and loses to everything by its distance.
  static bool precedes(double d, CentreId c, double than_d, CentreId than_c) {
    return d < than_d || (d == than_d && c < than_c);
  }
};

using OfferQueue = BucketQueue<Offer>;

// Relaxes until the queue is empty. `before_change(node)` is called ahead of every change.
template <class BeforeChange>
void propagate_two_nearest(const CsrGraph& graph, std::vector<TwoNearest>& nearest,
                           OfferQueue& queue, BeforeChange&& before_change) {
  queue.serve_all([&](double distance, Offer offer) {
    if (!nearest[offer.node].keeps(distance, offer.centre)) return;
    graph.for_each_neighbour(offer.node, [&](NodeId v, float length) {
      const double through = distance + static_cast<double>(length);
      if (!nearest[v].wants(through, offer.centre)) return;
      before_change(v);
      nearest[v].take(through, offer.centre);
      queue.push(through, {v, offer.centre});
    });
  });
}

std::vector<TwoNearest> two_nearest_sources(const CsrGraph& graph,
                                            const std::vector<NodeId>& sources,
                                            RunControl& control);

}  // namespace geoquant

// Distances from a set of centres to every node, with the centre each distance belongs to.
//
// Both kernels return the fixed point of label correction: float64 sums d[u] + length taken from
// the centre outwards, ties by the lexicographic minimum of (distance, position of the centre in
// `sources`). The distances are those of Dijkstra bit for bit, because rounding is monotone.
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

// Every node's nearest source, by searches that leave their scratch to the next one.
class NearestSourceSearch {
 public:
  explicit NearestSourceSearch(const CsrGraph& graph);

  // Valid until the next search. If a node is given more than once, its first position in
  // `sources` is its label. After an exception the search is not to be used again.
  const std::vector<NearestSource>& from(const std::vector<NodeId>& sources, RunControl& control);

 private:
  std::vector<NearestSource> nearest_;
  BucketQueue<NodeId> queue_;
};

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

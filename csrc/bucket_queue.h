// The priority queue of all searches: buckets of equal width in distance, served in order, unsorted
// within. A search that uses it must be label-correcting: a node may be served more than once, and
// an entry whose distance has since been improved is stale, for the search to skip.
//
// Push and service are O(1); an empty bucket costs one test. A bucket is served as a whole, so the
// edges of the nodes to come are known and fetched ahead: the searches are bound by memory latency,
// and this alone makes them about twice as fast. The buckets form a ring that should span the
// longest edge, so their width grows where one edge is very much longer than the mean; an entry
// further ahead than the ring is served early, which costs time but no correctness.
//
// Reference: U. Meyer, P. Sanders, "Delta-stepping: a parallelizable shortest path algorithm",
// J. Algorithms 49 (2003); used here sequentially.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "csr_graph.h"
#include "prefetch.h"

namespace geoquant {

struct Offer {
  NodeId node;
  CentreId centre;
};
inline NodeId node_of(NodeId payload) { return payload; }
inline NodeId node_of(const Offer& payload) { return payload.node; }

// Payload: NodeId or Offer.
template <class Payload>
class BucketQueue {
 public:
  struct Entry {
    double distance;
    Payload payload;
    // Lets emplace_back write both in place: a copy through the stack would stall on forwarding.
    Entry(double d, Payload p) : distance(d), payload(p) {}
  };

  explicit BucketQueue(const CsrGraph& graph) : graph_(graph) {
    std::size_t n_buckets = 2;
    if (graph.longest_length > 0.0) {
      inverse_width_ = 1.0 / std::max(kWidthInMeanLengths * graph.mean_length,
                                      graph.longest_length / (kMaxBuckets - 2.0));
      while (static_cast<double>(n_buckets) < graph.longest_length * inverse_width_ + 2.0) {
        n_buckets *= 2;
      }
    }
    mask_ = n_buckets - 1;
    buckets_.resize(n_buckets);
  }

  bool empty() const { return n_entries_ == 0; }

  void push(double distance, Payload payload) {
    buckets_[static_cast<std::uint64_t>(distance * inverse_width_) & mask_].emplace_back(distance,
                                                                                         payload);
    ++n_entries_;
  }

  // Calls visit(distance, payload) for the entries of the lowest bucket until it stays empty;
  // visit may push. The queue must not be empty. `current_` restarts at bucket 0 after clear() or
  // once the queue has run empty.
  template <class Visit>
  void serve_lowest_bucket(Visit&& visit) {
    while (buckets_[current_ & mask_].empty()) ++current_;
    std::vector<Entry>& bucket = buckets_[current_ & mask_];
    while (!bucket.empty()) {
      serving_.swap(bucket);
      n_entries_ -= serving_.size();
      for (std::size_t i = 0; i < serving_.size(); ++i) {
        fetch_ahead(i);
        visit(serving_[i].distance, serving_[i].payload);
      }
      serving_.clear();
    }
    ++current_;
    if (empty()) current_ = 0;
  }

  template <class Visit>
  void serve_all(Visit&& visit) {
    while (!empty()) serve_lowest_bucket(visit);
  }

  // Every entry still queued, or pushed later, has at least this distance (up to rounding).
  double lower_bound() const { return static_cast<double>(current_) / inverse_width_; }

  void clear() {
    for (std::vector<Entry>& bucket : buckets_) bucket.clear();
    serving_.clear();
    n_entries_ = 0;
    current_ = 0;
  }

 private:
  // Measured: 0.25 to 1 mean lengths are within 10 % of one another.
  static constexpr double kWidthInMeanLengths = 0.5;
  static constexpr double kMaxBuckets = 4096.0;
  static constexpr std::size_t kAhead = 3;  // measured: 2 to 8 are alike

  // Inlined by force: gcc takes a function that only fetches for one without effect, and drops it.
  GEOQUANT_ALWAYS_INLINE void fetch_ahead(std::size_t i) const {
    if (i + 2 * kAhead < serving_.size()) {
      GEOQUANT_PREFETCH(graph_.indptr + node_of(serving_[i + 2 * kAhead].payload));
    }
    if (i + kAhead < serving_.size()) {
      const EdgeOffset e = graph_.indptr[node_of(serving_[i + kAhead].payload)];
      GEOQUANT_PREFETCH(graph_.indices + e);
      GEOQUANT_PREFETCH(graph_.indices + e + kEdgesAhead);
      GEOQUANT_PREFETCH(graph_.lengths + e);
      GEOQUANT_PREFETCH(graph_.lengths + e + kEdgesAhead);
    }
  }
  static constexpr EdgeOffset kEdgesAhead = 13;  // a usual degree: reaches into the second line

  CsrGraph graph_;
  double inverse_width_ = 1.0;
  std::size_t mask_ = 0;  // the number of buckets, a power of two, less one
  std::vector<std::vector<Entry>> buckets_;
  std::vector<Entry> serving_;
  std::uint64_t current_ = 0;
  std::size_t n_entries_ = 0;
};

}  // namespace geoquant

#include "medoids.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "bucket_queue.h"
#include "energy.h"
#include "parallel_for.h"
#include "shortest_paths.h"

namespace geoquant {
namespace {

// Bounds hold in real numbers; this much is given away so that they hold in float64 too.
constexpr double kRoundingSlack = 1.0 - 1e-9;

// One thread's search from a member until all members of its cell are settled.
class CellSearch {
 public:
  CellSearch(const CsrGraph& graph, const double* weights, int power, const CentreId* labels)
      : weights_(weights),
        power_(power),
        labels_(labels),
        queue_(graph),
        distance_(static_cast<std::size_t>(graph.n_nodes), kUnreached) {}

  // The sum of `source` over its cell, or kUnreached once it is known to be at least `best`.
  // distance_to(member) is valid afterwards if the sum is finite.
  double sum_from(NodeId source, std::size_t n_members, double cell_weight, double best) {
    forget_last_search();
    reach(source, 0.0);
    queue_.push(0.0, source);
    const CentreId cell = labels_[source];
    double sum = 0.0;
    double weight_left = cell_weight;
    while (!queue_.empty()) {
      serve_one_bucket(cell);
      for (const NodeId member : settled_) {
        sum += weights_[member] * powered(distance_[member], power_);
        weight_left -= weights_[member];
      }
      n_members -= settled_.size();
      if (n_members == 0) return sum;
      const double bound = sum + std::max(weight_left, 0.0) * powered(queue_.lower_bound(), power_);
      if (bound * kRoundingSlack >= best) return kUnreached;
    }
    return sum;
  }

  double distance_to(NodeId node) const { return distance_[node]; }

 private:
  void forget_last_search() {
    queue_.clear();
    for (const NodeId node : reached_) distance_[node] = kUnreached;
    reached_.clear();
  }

  void reach(NodeId node, double distance) {
    if (distance_[node] == kUnreached) reached_.push_back(node);
    distance_[node] = distance;
  }

  // Serves all of the lowest bucket; `settled_` gets the members of `cell` found final in it.
  void serve_one_bucket(CentreId cell) {
    settled_.clear();
    queue_.relax_lowest_bucket([this](NodeId u) { return distance_[u]; },
                               [this, cell](double, NodeId u) {
                                 if (labels_[u] == cell) settled_.push_back(u);
                               },
                               [this](NodeId, NodeId v, double through) {
                                 if (through >= distance_[v]) return false;
                                 reach(v, through);
                                 return true;
                               });
    std::sort(settled_.begin(), settled_.end());
    settled_.erase(std::unique(settled_.begin(), settled_.end()), settled_.end());
  }

  const double* weights_;
  const int power_;
  const CentreId* labels_;
  BucketQueue<NodeId> queue_;
  std::vector<double> distance_;
  std::vector<NodeId> reached_;
  std::vector<NodeId> settled_;
};

struct Member {
  NodeId node;
  double order;  // distance from the cell's present centre
  double bound;  // no sum from this member is below
};

double triangle_bound(double sum, double weight, double distance, int power) {
  if (power == 1) return std::abs(weight * distance - sum);
  const double root = std::sqrt(weight) * distance - std::sqrt(sum);
  return root * root;
}

// `checkpoint()` is called before every search.
template <class Checkpoint>
NodeId medoid_of(const std::vector<NodeId>& nodes, NodeId centre, const double* weights, int power,
                 CellSearch& search, Checkpoint&& checkpoint) {
  double weight = 0.0;
  for (const NodeId node : nodes) weight += weights[node];
  std::vector<Member> members;
  const auto raise_bounds = [&](double sum) {
    for (Member& m : members) {
      m.bound = std::max(m.bound, triangle_bound(sum, weight, search.distance_to(m.node), power));
    }
  };
  NodeId best = centre;
  double best_sum = search.sum_from(centre, nodes.size(), weight, kUnreached);
  for (const NodeId node : nodes) members.push_back({node, search.distance_to(node), 0.0});
  std::stable_sort(members.begin(), members.end(),
                   [](const Member& a, const Member& b) { return a.order < b.order; });
  raise_bounds(best_sum);
  for (const Member& member : members) {
    if (member.node == centre || member.bound * kRoundingSlack >= best_sum) continue;
    checkpoint();
    const double sum = search.sum_from(member.node, nodes.size(), weight, best_sum);
    if (sum == kUnreached) continue;
    if (sum < best_sum) {
      best = member.node;
      best_sum = sum;
    }
    raise_bounds(sum);
  }
  return best;
}

}  // namespace

std::vector<NodeId> cell_medoids(const CsrGraph& graph, const double* weights, int power,
                                 const CentreId* labels, const std::vector<NodeId>& centres,
                                 const std::vector<NodeId>& nodes, int n_threads,
                                 RunControl& control) {
  std::vector<std::vector<NodeId>> cells(centres.size());
  for (const NodeId u : nodes) cells[labels[u]].push_back(u);
  ThreadPool pool(n_threads);
  std::vector<CellSearch> searches(static_cast<std::size_t>(pool.size()),
                                   CellSearch(graph, weights, power, labels));
  std::vector<NodeId> medoids(centres.size());
  pool.for_each(static_cast<std::int64_t>(cells.size()), control, [&](std::int64_t c, int thread) {
    medoids[c] = medoid_of(cells[c], centres[c], weights, power, searches[thread],
                           [&pool, thread] { pool.checkpoint(thread); });
  });
  return medoids;
}

}  // namespace geoquant

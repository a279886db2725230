#include "seeding.h"

#include <algorithm>
#include <cstddef>

#include "bucket_queue.h"
#include "energy.h"
#include "shortest_paths.h"

namespace geoquant {
namespace {

// Σ weight · distance^power over all nodes, kept as sums of fixed blocks: a draw walks the blocks
// and then one block; a block that changed is summed afresh, so nothing drifts.
class EnergyMass {
 public:
  EnergyMass(const std::vector<double>& distance, const double* weights, int power)
      : distance_(distance),
        weights_(weights),
        power_(power),
        block_sum_((distance.size() + kBlock - 1) / kBlock, 0.0),
        is_stale_(block_sum_.size(), true) {}

  void mark_changed(NodeId node) { is_stale_[static_cast<std::size_t>(node) / kBlock] = true; }

  double total() {
    double sum = 0.0;
    for (std::size_t b = 0; b < block_sum_.size(); ++b) {
      if (is_stale_[b]) refresh(b);
      sum += block_sum_[b];
    }
    return sum;
  }

  // The node at which the running sum passes `target`, in [0, total()); kNoNode if total() is 0.
  NodeId draw(double target) const {
    NodeId last_with_mass = kNoNode;
    for (std::size_t b = 0; b < block_sum_.size(); ++b) {
      if (block_sum_[b] <= 0.0) continue;
      const bool passes_here = target < block_sum_[b];
      for (std::size_t i = b * kBlock; passes_here && i < block_end(b); ++i) {
        if (mass(i) <= 0.0) continue;
        last_with_mass = static_cast<NodeId>(i);
        target -= mass(i);
        if (target < 0.0) return last_with_mass;
      }
      if (passes_here) return last_with_mass;  // rounding ran past the block's end
      target -= block_sum_[b];
      last_with_mass = last_in(b);
    }
    return last_with_mass;
  }

 private:
  static constexpr std::size_t kBlock = 256;

  double mass(std::size_t i) const { return weights_[i] * powered(distance_[i], power_); }
  std::size_t block_end(std::size_t b) const {
    return std::min(distance_.size(), (b + 1) * kBlock);
  }
  NodeId last_in(std::size_t b) const {
    std::size_t i = block_end(b) - 1;
    while (mass(i) <= 0.0) --i;
    return static_cast<NodeId>(i);
  }
  void refresh(std::size_t b) {
    double sum = 0.0;
    for (std::size_t i = b * kBlock; i < block_end(b); ++i) sum += mass(i);
    block_sum_[b] = sum;
    is_stale_[b] = false;
  }

  const std::vector<double>& distance_;
  const double* weights_;
  const int power_;
  std::vector<double> block_sum_;
  std::vector<bool> is_stale_;
};

class Seeder {
 public:
  Seeder(const CsrGraph& graph, const double* weights, int power)
      : graph_(graph),
        weights_(weights),
        power_(power),
        distance_(static_cast<std::size_t>(graph.n_nodes), kUnreached),
        is_seed_(distance_.size(), false),
        mass_(distance_, weights, power),
        queue_(graph) {}

  NodeId first(double uniform) {
    std::fill(distance_.begin(), distance_.end(), 1.0);  // mass = weight
    const NodeId seed = drawn(uniform);
    std::fill(distance_.begin(), distance_.end(), kUnreached);
    return accept(seed);
  }

  NodeId next(const double* uniforms, int n_trials) {
    NodeId best = drawn(uniforms[0]);
    double best_gain = -1.0;
    for (int t = 0; t < n_trials; ++t) {
      const NodeId candidate = drawn(uniforms[t]);
      const double gain = gain_of(candidate);
      if (gain > best_gain) {
        best = candidate;
        best_gain = gain;
      }
    }
    return accept(best);
  }

 private:
  struct Change {
    NodeId node;
    double before;
  };

  NodeId drawn(double uniform) {
    const double total = mass_.total();
    const NodeId node = total > 0.0 ? mass_.draw(uniform * total) : kNoNode;
    return node != kNoNode && !is_seed_[node] ? node : first_unused();
  }

  NodeId first_unused() {
    while (is_seed_[n_used_from_front_]) ++n_used_from_front_;
    return static_cast<NodeId>(n_used_from_front_);
  }

  NodeId accept(NodeId seed) {
    lower_distances(seed);
    for (const Change& change : changes_) mass_.mark_changed(change.node);
    is_seed_[seed] = true;
    return seed;
  }

  // Tries `candidate` and takes it back, newest change first.
  double gain_of(NodeId candidate) {
    lower_distances(candidate);
    double gain = 0.0;
    for (auto change = changes_.rbegin(); change != changes_.rend(); ++change) {
      double& distance = distance_[change->node];
      gain += weights_[change->node] *
              (powered(change->before, power_) - powered(distance, power_));
      distance = change->before;
    }
    return gain;
  }

  // Lowers every distance to the one from `source` where that is smaller, logging the old values.
  void lower_distances(NodeId source) {
    changes_.clear();
    if (distance_[source] > 0.0) lower(source, 0.0);
    queue_.serve_all([this](double distance, NodeId u) {
      if (distance != distance_[u]) return;
      graph_.for_each_neighbour(u, [this, distance](NodeId v, float length) {
        const double through = distance + static_cast<double>(length);
        if (through < distance_[v]) lower(v, through);
      });
    });
  }

  void lower(NodeId node, double to) {
    changes_.push_back({node, distance_[node]});
    distance_[node] = to;
    queue_.push(to, node);
  }

  const CsrGraph& graph_;
  const double* weights_;
  const int power_;
  std::vector<double> distance_;
  std::vector<bool> is_seed_;
  EnergyMass mass_;
  BucketQueue<NodeId> queue_;
  std::vector<Change> changes_;
  std::size_t n_used_from_front_ = 0;
};

}  // namespace

std::vector<NodeId> kmeanspp_seeds(const CsrGraph& graph, const double* weights, int power,
                                   const double* uniforms, int n_seeds, int n_trials,
                                   RunControl& control) {
  Seeder seeder(graph, weights, power);
  std::vector<NodeId> seeds{seeder.first(uniforms[0])};
  while (static_cast<int>(seeds.size()) < n_seeds) {
    seeds.push_back(seeder.next(uniforms + seeds.size() * n_trials, n_trials));
    control.progress(static_cast<std::int64_t>(seeds.size()), n_seeds);
  }
  return seeds;
}

}  // namespace geoquant

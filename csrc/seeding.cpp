#include "seeding.h"

#include <algorithm>
#include <cstddef>

#include "bucket_queue.h"
#include "energy.h"
#include "shortest_paths.h"

namespace geoquant {
namespace {

// The mass that seeds are drawn from, a number per position, with sums of fixed blocks: a draw
// walks the blocks and then one block; a block that changed is summed afresh, so nothing drifts.
class Mass {
 public:
  explicit Mass(std::size_t n)
      : mass_(n, 0.0), block_sum_((n + kBlock - 1) / kBlock, 0.0), is_stale_(block_sum_.size()) {}

  void set(std::size_t i, double mass) {
    mass_[i] = mass;
    is_stale_[i / kBlock] = true;
  }

  double total() {
    double sum = 0.0;
    for (std::size_t b = 0; b < block_sum_.size(); ++b) {
      if (is_stale_[b]) refresh(b);
      sum += block_sum_[b];
    }
    return sum;
  }

  // Where the running sum passes `target`, in [0, total()); `total()` comes first and is not 0.
  std::size_t draw(double target) const {
    std::size_t last_with_mass = 0;
    for (std::size_t b = 0; b < block_sum_.size(); ++b) {
      if (block_sum_[b] <= 0.0) continue;
      const bool passes_here = target < block_sum_[b];
      for (std::size_t i = b * kBlock; passes_here && i < block_end(b); ++i) {
        if (mass_[i] <= 0.0) continue;
        last_with_mass = i;
        target -= mass_[i];
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

  std::size_t block_end(std::size_t b) const { return std::min(mass_.size(), (b + 1) * kBlock); }
  std::size_t last_in(std::size_t b) const {
    std::size_t i = block_end(b) - 1;
    while (mass_[i] <= 0.0) --i;
    return i;
  }
  void refresh(std::size_t b) {
    double sum = 0.0;
    for (std::size_t i = b * kBlock; i < block_end(b); ++i) sum += mass_[i];
    block_sum_[b] = sum;
    is_stale_[b] = false;
  }

  std::vector<double> mass_;
  std::vector<double> block_sum_;
  std::vector<bool> is_stale_;
};

class Seeder {
 public:
  Seeder(const CsrGraph& graph, const double* weights, int power, const std::vector<NodeId>& nodes)
      : weights_(weights),
        power_(power),
        nodes_(nodes),
        position_(nodes.size()),
        distance_(nodes.size(), kUnreached),
        is_seed_(nodes.size(), false),
        mass_(nodes.size()),
        queue_(graph) {
    for (std::size_t i = 0; i < nodes.size(); ++i) position_[nodes[i]] = static_cast<NodeId>(i);
  }

  NodeId first(double uniform) {
    for (std::size_t i = 0; i < nodes_.size(); ++i) mass_.set(i, weights_[nodes_[i]]);
    return accept(drawn(uniform, mass_.total()));
  }

  NodeId next(const double* uniforms, int n_trials, RunControl& control) {
    const double total = mass_.total();
    NodeId best = kNoNode;
    double best_gain = 0.0;
    for (int t = 0; t < n_trials; ++t) {
      control.poll();
      const NodeId candidate = drawn(uniforms[t], total);
      const double gain = gain_of(candidate);
      if (best == kNoNode || gain > best_gain) {
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

  NodeId drawn(double uniform, double total) {
    if (total <= 0.0) return first_unused();
    const NodeId node = nodes_[mass_.draw(uniform * total)];
    return is_seed_[node] ? first_unused() : node;
  }

  NodeId first_unused() {
    while (is_seed_[nodes_[n_used_from_front_]]) ++n_used_from_front_;
    return nodes_[n_used_from_front_];
  }

  NodeId accept(NodeId seed) {
    lower_distances(seed);
    for (const Change& change : changes_) {
      const NodeId u = change.node;
      mass_.set(position_[u], weights_[u] * powered(distance_[u], power_));
    }
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
    if (distance_[source] > 0.0) {
      lower(source, 0.0);
      queue_.push(0.0, source);
    }
    queue_.relax_all([this](NodeId u) { return distance_[u]; }, [](double, NodeId) {},
                     [this](NodeId, NodeId v, double through) {
                       if (through >= distance_[v]) return false;
                       lower(v, through);
                       return true;
                     });
  }

  void lower(NodeId node, double to) {
    changes_.push_back({node, distance_[node]});
    distance_[node] = to;
  }

  const double* weights_;
  const int power_;
  const std::vector<NodeId>& nodes_;
  std::vector<NodeId> position_;  // of each node in `nodes_`
  std::vector<double> distance_;
  std::vector<bool> is_seed_;
  Mass mass_;
  BucketQueue<NodeId> queue_;
  std::vector<Change> changes_;
  std::size_t n_used_from_front_ = 0;
};

}  // namespace

std::vector<NodeId> kmeanspp_seeds(const CsrGraph& graph, const double* weights, int power,
                                   const std::vector<NodeId>& nodes, const double* uniforms,
                                   int n_seeds, int n_trials, RunControl& control) {
  Seeder seeder(graph, weights, power, nodes);
  std::vector<NodeId> seeds{seeder.first(uniforms[0])};
  while (static_cast<int>(seeds.size()) < n_seeds) {
    seeds.push_back(seeder.next(uniforms + seeds.size() * static_cast<std::size_t>(n_trials),
                                n_trials, control));
    control.progress(static_cast<std::int64_t>(seeds.size()), n_seeds);
  }
  return seeds;
}

}  // namespace geoquant

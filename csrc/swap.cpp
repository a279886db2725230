#include "swap.h"

#include <algorithm>
#include <cstddef>

#include "bucket_queue.h"
#include "energy.h"
#include "parallel_for.h"
#include "prefetch.h"
#include "shortest_paths.h"

namespace geoquant {
namespace {

// A swap that takes off less than this share of the sums it is the difference of is rounding, not
// progress.
constexpr double kLeastRelativeGain = 1e-12;
constexpr std::int64_t kBatchSize = 128;
// Below this a batch takes less time than waking the threads.
constexpr NodeId kLeastNodesForThreads = 2048;
// How many times at most a round over all candidates is begun anew after swaps.
constexpr std::int64_t kRestartsPerRound = 32;

struct Swap {
  double energy_change = 0.0;
  CentreId removed = kNoCentre;
};

// One thread's scratch for evaluating candidates.
struct Evaluator {
  Evaluator(const CsrGraph& graph, std::size_t n_centres)
      : queue(graph), limit(static_cast<std::size_t>(graph.n_nodes)), saved(n_centres, 0.0) {}

  BucketQueue<NodeId> queue;
  std::vector<double> limit;   // d2 of each node; during a search the smaller of that and d(j, .)
  std::vector<NodeId> served;  // nodes in the order of service, some more than once
  std::vector<double> saved;   // per centre: what its removal costs less once j is a centre
};

class SwapSearch {
 public:
  SwapSearch(const CsrGraph& graph, const double* weights, int power, std::vector<NodeId> centres,
             int n_threads, RunControl& control)
      : graph_(graph),
        weights_(weights),
        power_(power),
        centres_(std::move(centres)),
        control_(control),
        nearest_(two_nearest_sources(graph, centres_, control)),
        is_centre_(nearest_.size(), false),
        is_changing_(nearest_.size(), false),
        last_change_(nearest_.size(), 0.0),
        repair_queue_(graph),
        pool_(graph.n_nodes < kLeastNodesForThreads ? 1 : n_threads),
        evaluators_(static_cast<std::size_t>(pool_.size()), Evaluator(graph, centres_.size())) {
    for (const NodeId centre : centres_) is_centre_[centre] = true;
    for (std::size_t u = 0; u < nearest_.size(); ++u) set_limits(static_cast<NodeId>(u));
    sum_energies();
  }

  SwapResult run(std::vector<NodeId> candidates, std::int64_t max_evaluations) {
    const std::int64_t n = static_cast<std::int64_t>(candidates.size());
    const std::int64_t least_before_restart = std::max(n / kRestartsPerRound, kBatchSize);
    std::int64_t unchanged_for = 0;  // candidates in a row that no swap came of
    std::int64_t n_since_restart = 0;
    bool has_swapped = false;  // since the restart
    while (unchanged_for < n && n_evaluations_ < max_evaluations) {
      if (n_since_restart == n ||
          (has_swapped && all_known_ && n_since_restart >= least_before_restart)) {
        sort_most_promising_first(candidates);
        sum_energies();
        if (has_swapped) unchanged_for = 0;  // the order is new, so the count begins anew
        n_since_restart = 0;
        has_swapped = false;
      }
      const std::int64_t n_batch = std::min({kBatchSize, n - n_since_restart, n - unchanged_for});
      const bool swapped = process_batch(candidates.data() + n_since_restart, n_batch);
      n_since_restart += n_batch;
      has_swapped |= swapped;
      unchanged_for = swapped ? 0 : unchanged_for + n_batch;
      control_.progress(unchanged_for, n);
    }
    sum_energies();
    return {centres_, energy_, n_swaps_, n_evaluations_, unchanged_for >= n};
  }

 private:
  // By the energy change that each candidate promised when it was last evaluated.
  void sort_most_promising_first(std::vector<NodeId>& candidates) {
    all_known_ = true;
    std::stable_sort(candidates.begin(), candidates.end(),
                     [this](NodeId a, NodeId b) { return last_change_[a] < last_change_[b]; });
  }

  // Evaluates all, applies the improving ones from best to worst; returns whether any was applied.
  bool process_batch(const NodeId* candidates, std::int64_t n) {
    swaps_.assign(static_cast<std::size_t>(n), Swap{});
    pool_.for_each(n, control_, [&](std::int64_t i, int thread) {
      swaps_[i] = evaluate(candidates[i], evaluators_[thread]);
    });
    n_evaluations_ += n;
    ranked_.clear();
    for (std::int64_t i = 0; i < n; ++i) {
      last_change_[candidates[i]] = swaps_[i].energy_change;
      if (improves(swaps_[i])) ranked_.push_back(i);
    }
    std::stable_sort(ranked_.begin(), ranked_.end(), [this](std::int64_t a, std::int64_t b) {
      return swaps_[a].energy_change < swaps_[b].energy_change;
    });
    bool has_swapped = false;
    for (const std::int64_t i : ranked_)
      has_swapped |= try_swap(candidates[i], swaps_[i], has_swapped);
    return has_swapped;
  }

  // Applies `swap` if it improves; evaluates it again first if it `is_stale`.
  bool try_swap(NodeId candidate, Swap swap, bool is_stale) {
    if (is_stale) {
      swap = evaluate(candidate, evaluators_[0]);
      last_change_[candidate] = swap.energy_change;
      ++n_evaluations_;
      control_.poll();
    }
    if (!improves(swap)) return false;
    apply(swap.removed, candidate);
    return true;
  }

  bool improves(const Swap& swap) const {
    if (swap.removed == kNoCentre) return false;
    const double scale = std::max(0.0, energy_) + std::max(0.0, removal_cost_[swap.removed]);
    return swap.energy_change < -kLeastRelativeGain * scale;
  }

  Swap evaluate(NodeId candidate, Evaluator& scratch) const {
    if (is_centre_[candidate]) return {};
    search_from(candidate, scratch);
    double added = 0.0;
    for (const NodeId u : scratch.served) {
      const TwoNearest& near = nearest_[u];
      const double d = scratch.limit[u];
      if (d >= near.d2) continue;  // already counted: its limit is restored
      scratch.limit[u] = near.d2;
      const double kept = powered(std::max(d, near.d1), power_);
      scratch.saved[near.c1] += weights_[u] * (powered(near.d2, power_) - kept);
      if (d < near.d1) added += weights_[u] * (powered(d, power_) - kept);
    }
    return cheapest_removal(added, scratch);
  }

  void search_from(NodeId candidate, Evaluator& scratch) const {
    scratch.served.clear();
    if (scratch.limit[candidate] <= 0.0) return;
    scratch.limit[candidate] = 0.0;
    scratch.queue.push(0.0, candidate);
    double* const limit = scratch.limit.data();
    scratch.queue.relax_all([limit](NodeId u) { return limit[u]; },
                            [&](double, NodeId u) {
                              scratch.served.push_back(u);
                              GEOQUANT_PREFETCH(&nearest_[u]);
                              GEOQUANT_PREFETCH(&weights_[u]);
                            },
                            [limit](NodeId, NodeId v, double through) {
                              if (through >= limit[v]) return false;
                              limit[v] = through;
                              return true;
                            });
  }

  // The swap that `added` and `saved` make best; `saved` is zero again afterwards.
  Swap cheapest_removal(double added, Evaluator& scratch) const {
    Swap best{kUnreached, kNoCentre};
    for (std::size_t c = 0; c < centres_.size(); ++c) {
      const double change = added + removal_cost_[c] - scratch.saved[c];
      scratch.saved[c] = 0.0;
      if (change < best.energy_change) best = {change, static_cast<CentreId>(c)};
    }
    return best;
  }

  // Puts `node` in the position of centre `removed` and repairs the two nearest of every node.
  void apply(CentreId removed, NodeId node) {
    ++n_swaps_;
    is_centre_[centres_[removed]] = false;
    is_centre_[node] = true;
    centres_[removed] = node;
    changing_.clear();
    forget(removed);
    const std::size_t n_forgetful = changing_.size();
    for (std::size_t i = 0; i < n_forgetful; ++i) relearn(changing_[i]);
    begin_change(node);
    if (nearest_[node].wants(0.0, removed)) {
      nearest_[node].take(0.0, removed);
      repair_queue_.push(0.0, {node, removed});
    }
    for (std::size_t i = 0; i < n_forgetful; ++i) push_both(changing_[i]);
    propagate_two_nearest(graph_, nearest_, repair_queue_, [this](NodeId u) { begin_change(u); });
    for (const NodeId u : changing_) end_change(u);
  }

  // Drops `removed` from every node that has it.
  void forget(CentreId removed) {
    for (std::size_t u = 0; u < nearest_.size(); ++u) {
      TwoNearest& near = nearest_[u];
      if (near.c1 != removed && near.c2 != removed) continue;
      begin_change(static_cast<NodeId>(u));
      if (near.c1 == removed) near = {near.d2, kUnreached, near.c2, kNoCentre};
      near.d2 = kUnreached;
      near.c2 = kNoCentre;
    }
  }

  // Takes over what a node's neighbours know.
  void relearn(NodeId u) {
    TwoNearest& near = nearest_[u];
    const auto consider = [&near](double distance, CentreId centre) {
      if (centre != kNoCentre && near.wants(distance, centre)) near.take(distance, centre);
    };
    graph_.for_each_neighbour(u, [&](NodeId v, float length) {
      const TwoNearest& there = nearest_[v];
      consider(there.d1 + static_cast<double>(length), there.c1);
      consider(there.d2 + static_cast<double>(length), there.c2);
    });
  }

  void push_both(NodeId u) {
    const TwoNearest& near = nearest_[u];
    if (near.c1 != kNoCentre) repair_queue_.push(near.d1, {u, near.c1});
    if (near.c2 != kNoCentre) repair_queue_.push(near.d2, {u, near.c2});
  }

  // Takes a node's share out of the sums before its first change in a swap …
  void begin_change(NodeId u) {
    if (is_changing_[u]) return;
    is_changing_[u] = true;
    changing_.push_back(u);
    add_share(u, -1.0);
  }

  // … and puts the new one back.
  void end_change(NodeId u) {
    is_changing_[u] = false;
    add_share(u, 1.0);
    set_limits(u);
  }

  void add_share(NodeId u, double sign) {
    const TwoNearest& near = nearest_[u];
    const double nearest_share = sign * weights_[u] * powered(near.d1, power_);
    energy_ += nearest_share;
    removal_cost_[near.c1] += sign * weights_[u] * powered(near.d2, power_) - nearest_share;
  }

  void set_limits(NodeId u) {
    for (Evaluator& evaluator : evaluators_) evaluator.limit[u] = nearest_[u].d2;
  }

  // From scratch, so that what the swaps added up does not drift.
  void sum_energies() {
    energy_ = 0.0;
    removal_cost_.assign(centres_.size(), 0.0);
    for (std::size_t u = 0; u < nearest_.size(); ++u) add_share(static_cast<NodeId>(u), 1.0);
  }

  const CsrGraph& graph_;
  const double* weights_;
  const int power_;
  std::vector<NodeId> centres_;
  RunControl& control_;
  std::vector<TwoNearest> nearest_;
  std::vector<bool> is_centre_;
  std::vector<bool> is_changing_;
  std::vector<NodeId> changing_;
  std::vector<double> last_change_;  // per node: the energy change when last evaluated
  bool all_known_ = false;
  OfferQueue repair_queue_;
  ThreadPool pool_;
  std::vector<Evaluator> evaluators_;
  std::vector<double> removal_cost_;  // per centre: the energy gained if it alone were removed
  double energy_ = 0.0;
  std::vector<Swap> swaps_;
  std::vector<std::int64_t> ranked_;
  std::int64_t n_swaps_ = 0;
  std::int64_t n_evaluations_ = 0;
};

}  // namespace

SwapResult swap_centres(const CsrGraph& graph, const double* weights, int power,
                        std::vector<NodeId> centres, const std::vector<NodeId>& candidates,
                        std::int64_t max_evaluations, int n_threads, RunControl& control) {
  return SwapSearch(graph, weights, power, std::move(centres), n_threads, control)
      .run(candidates, max_evaluations);
}

}  // namespace geoquant

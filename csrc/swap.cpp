#include "swap.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <set>
#include <utility>

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
// How many groups of centres an evaluation remembers having depended on.
constexpr std::size_t kMaxRegions = 64;
// How many times at most a round over all candidates is begun anew after swaps.
constexpr std::int64_t kRestartsPerRound = 32;

struct Swap {
  double energy_change = 0.0;
  CentreId removed = kNoCentre;
};

// What the last evaluation of a candidate depended on, and what came of it.
struct Evaluation {
  double energy_change = 0.0;
  double added = 0.0;         // the energy change of adding it, no centre removed
  std::uint64_t regions = 0;  // one bit for each region of the centres whose nodes it reached
  std::int64_t n_swaps = -1;  // made before it; -1: never evaluated
};

// One thread's scratch for evaluating candidates.
struct Evaluator {
  Evaluator(const CsrGraph& graph, std::size_t n_centres)
      : queue(graph),
        limit(static_cast<std::size_t>(graph.n_nodes)),
        saved(n_centres, 0.0),
        is_touched(n_centres, false) {}

  void save(CentreId centre, double energy) {
    if (!is_touched[centre]) {
      is_touched[centre] = true;
      touched.push_back(centre);
    }
    saved[centre] += energy;
  }

  BucketQueue<NodeId> queue;
  std::vector<double> limit;      // d2 of each node; during a search the smaller of it and d(j, .)
  std::vector<NodeId> served;     // nodes in the order of service, some more than once
  std::vector<double> saved;      // per centre: what its removal costs less once j is a centre
  std::vector<char> is_touched;   // per centre: whether anything was saved …
  std::vector<CentreId> touched;  // … and those for which it was
};

// What the removal of each centre alone would cost, in order of cost.
class RemovalCosts {
 public:
  void assign(const std::vector<double>& costs) {
    costs_ = costs;
    ranked_.clear();
    for (std::size_t c = 0; c < costs.size(); ++c) {
      ranked_.emplace(costs[c], static_cast<CentreId>(c));
    }
  }
  void set(CentreId centre, double cost) {
    if (costs_[centre] == cost) return;
    ranked_.erase({costs_[centre], centre});
    ranked_.emplace(cost, centre);
    costs_[centre] = cost;
  }
  double of(CentreId centre) const { return costs_[centre]; }
  double least() const { return ranked_.begin()->first; }

  // The first centre that is not among the touched, or kNoCentre.
  CentreId cheapest_but(const std::vector<char>& is_touched) const {
    for (const auto& [cost, centre] : ranked_) {
      if (!is_touched[centre]) return centre;
    }
    return kNoCentre;
  }

 private:
  std::vector<double> costs_;
  std::set<std::pair<double, CentreId>> ranked_;
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
        last_(nearest_.size()),
        repair_queue_(graph),
        pool_(graph.n_nodes < kLeastNodesForThreads ? 1 : n_threads),
        evaluators_(static_cast<std::size_t>(pool_.size()), Evaluator(graph, centres_.size())),
        n_holders_(centres_.size(), 0) {
    for (const NodeId centre : centres_) is_centre_[centre] = true;
    for (std::size_t u = 0; u < nearest_.size(); ++u) {
      set_limits(static_cast<NodeId>(u));
      count_holder(nearest_[u], 1);
    }
    share_out_regions();
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
      const std::int64_t n_passed = take_batch(candidates.data() + n_since_restart,
                                               std::min(n - n_since_restart, n - unchanged_for));
      const bool swapped = process_batch();
      n_since_restart += n_passed;
      has_swapped |= swapped;
      unchanged_for = swapped ? 0 : unchanged_for + n_passed;
      if (control_.progress(unchanged_for, n)) break;
    }
    sum_energies();
    return {centres_, energy_, n_swaps_, n_evaluations_, unchanged_for >= n};
  }

 private:
  // By the energy change that each candidate promised when it was last evaluated.
  void sort_most_promising_first(std::vector<NodeId>& candidates) {
    all_known_ = true;
    std::stable_sort(candidates.begin(), candidates.end(), [this](NodeId a, NodeId b) {
      return last_[a].energy_change < last_[b].energy_change;
    });
  }

  // Neighbouring centres share a region: an evaluation that depends on few then does not seem to
  // depend on all.
  void share_out_regions() {
    std::vector<CentreId> by_node(centres_.size());
    std::iota(by_node.begin(), by_node.end(), 0);
    std::sort(by_node.begin(), by_node.end(),
              [this](CentreId a, CentreId b) { return centres_[a] < centres_[b]; });
    const std::size_t n_regions = std::min(kMaxRegions, centres_.size());
    region_.resize(centres_.size());
    for (std::size_t i = 0; i < by_node.size(); ++i) {
      region_[by_node[i]] = static_cast<int>(i * n_regions / by_node.size());
    }
    region_changed_.assign(n_regions, 0);
  }

  // Puts the first candidates that need evaluation into `batch_`; returns how many candidates that
  // takes, of at most `n`.
  std::int64_t take_batch(const NodeId* candidates, std::int64_t n) {
    batch_.clear();
    std::int64_t n_passed = 0;
    while (n_passed < n && static_cast<std::int64_t>(batch_.size()) < kBatchSize) {
      const NodeId candidate = candidates[n_passed++];
      if (!is_known_not_to_improve(candidate)) batch_.push_back(candidate);
    }
    return n_passed;
  }

  // Whether nothing that its last evaluation depended on has changed since; the removals of centres
  // out of its reach may have become cheaper, and are bounded.
  bool is_known_not_to_improve(NodeId candidate) const {
    if (is_centre_[candidate]) return true;
    const Evaluation& last = last_[candidate];
    return last.n_swaps >= 0 && last.energy_change >= 0.0 &&
           last.added + removal_costs_.least() >= 0.0 && !has_changed_since(last);
  }

  std::uint64_t region_bit(CentreId centre) const { return std::uint64_t{1} << region_[centre]; }

  bool has_changed_since(const Evaluation& last) const {
    for (std::size_t r = 0; r < region_changed_.size(); ++r) {
      if (region_changed_[r] > last.n_swaps && (last.regions >> r & 1) != 0) return true;
    }
    return false;
  }

  // Evaluates the batch, applies the improving ones from best to worst; returns whether any was
  // applied.
  bool process_batch() {
    const std::int64_t n = static_cast<std::int64_t>(batch_.size());
    swaps_.assign(batch_.size(), Swap{});
    pool_.for_each(n, control_, [&](std::int64_t i, int thread) {
      swaps_[i] = evaluate(batch_[i], evaluators_[thread]);
    });
    n_evaluations_ += n;
    ranked_.clear();
    for (std::int64_t i = 0; i < n; ++i) {
      if (improves(swaps_[i])) ranked_.push_back(i);
    }
    std::stable_sort(ranked_.begin(), ranked_.end(), [this](std::int64_t a, std::int64_t b) {
      return swaps_[a].energy_change < swaps_[b].energy_change;
    });
    bool has_swapped = false;
    for (const std::int64_t i : ranked_) has_swapped |= try_swap(batch_[i], swaps_[i]);
    return has_swapped;
  }

  // Applies `swap` if it improves; evaluates it again first if a swap may have changed it.
  bool try_swap(NodeId candidate, Swap swap) {
    const Evaluation& last = last_[candidate];
    if (has_changed_since(last) || region_changed_[region_[swap.removed]] > last.n_swaps) {
      swap = evaluate(candidate, evaluators_[0]);
      ++n_evaluations_;
      control_.poll();
    }
    if (!improves(swap)) return false;
    apply(swap.removed, candidate);
    return true;
  }

  bool improves(const Swap& swap) const {
    if (swap.removed == kNoCentre) return false;
    const double scale = std::max(0.0, energy_) + std::max(0.0, removal_costs_.of(swap.removed));
    return swap.energy_change < -kLeastRelativeGain * scale;
  }

  // Also notes down in `last_`, whose entry no other thread looks at meanwhile.
  Swap evaluate(NodeId candidate, Evaluator& scratch) {
    search_from(candidate, scratch);
    double added = 0.0;
    std::uint64_t regions = region_bit(nearest_[candidate].c1);
    for (const NodeId u : scratch.served) {
      const TwoNearest& near = nearest_[u];
      const double d = scratch.limit[u];
      if (d >= near.d2) continue;  // already counted: its limit is restored
      scratch.limit[u] = near.d2;
      const double kept = powered(std::max(d, near.d1), power_);
      scratch.save(near.c1, weights_[u] * (powered(near.d2, power_) - kept));
      if (d < near.d1) added += weights_[u] * (powered(d, power_) - kept);
    }
    for (const CentreId c : scratch.touched) regions |= region_bit(c);
    const Swap best = cheapest_removal(added, scratch);
    last_[candidate] = {best.energy_change, added, regions, n_swaps_};
    return best;
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
    const auto consider = [&best](double change, CentreId c) {
      const bool is_tie = change == best.energy_change && c < best.removed;
      if (change < best.energy_change || is_tie) best = {change, c};
    };
    const CentreId untouched = removal_costs_.cheapest_but(scratch.is_touched);
    if (untouched != kNoCentre) consider(added + removal_costs_.of(untouched), untouched);
    for (const CentreId c : scratch.touched) {
      consider(added + removal_costs_.of(c) - scratch.saved[c], c);
      scratch.saved[c] = 0.0;
      scratch.is_touched[c] = false;
    }
    scratch.touched.clear();
    return best;
  }

  // Puts `node` in the position of centre `removed` and repairs the two nearest of every node.
  void apply(CentreId removed, NodeId node) {
    ++n_swaps_;
    const NodeId old_node = centres_[removed];
    is_centre_[old_node] = false;
    is_centre_[node] = true;
    centres_[removed] = node;
    changing_.clear();
    changed_centres_.clear();
    mark_changed(removed);
    forget(removed, old_node);
    const std::size_t n_forgetful = changing_.size();
    for (std::size_t i = 0; i < n_forgetful; ++i) relearn(changing_[i]);
    begin_change(node);
    if (nearest_[node].c1 != kNoCentre) region_[removed] = region_[nearest_[node].c1];
    if (nearest_[node].wants(0.0, removed)) {
      nearest_[node].take(0.0, removed);
      repair_queue_.push(0.0, {node, removed});
    }
    for (std::size_t i = 0; i < n_forgetful; ++i) push_both(changing_[i]);
    propagate_two_nearest(graph_, nearest_, repair_queue_, [this](NodeId u) { begin_change(u); });
    for (const NodeId u : changing_) end_change(u);
    for (const CentreId c : changed_centres_) removal_costs_.set(c, removal_cost_[c]);
  }

  // Drops `removed` from every node that has it: found from its node on, along those that have it.
  // That they are connected holds but for rounding, so they are counted.
  void forget(CentreId removed, NodeId from) {
    const std::size_t n_holders = n_holders_[removed];
    drop(removed, from);
    for (std::size_t i = 0; i < changing_.size(); ++i) {
      graph_.for_each_neighbour(changing_[i], [&](NodeId v, float) { drop(removed, v); });
    }
    for (NodeId u = 0; u < graph_.n_nodes && changing_.size() < n_holders; ++u) drop(removed, u);
  }

  void drop(CentreId removed, NodeId u) {
    TwoNearest& near = nearest_[u];
    if (near.c1 != removed && near.c2 != removed) return;
    begin_change(u);
    if (near.c1 == removed) near = {near.d2, kUnreached, near.c2, kNoCentre};
    near.d2 = kUnreached;
    near.c2 = kNoCentre;
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
    count_holder(nearest_[u], -1);
    add_share(u, -1.0);
    mark_changed(nearest_[u].c1);
  }

  // … and puts the new one back. Evaluations that reach a neighbour may now reach this node.
  void end_change(NodeId u) {
    is_changing_[u] = false;
    count_holder(nearest_[u], 1);
    add_share(u, 1.0);
    set_limits(u);
    mark_changed(nearest_[u].c1);
    graph_.for_each_neighbour(u, [this](NodeId v, float) { mark_region(nearest_[v].c1); });
  }

  void mark_changed(CentreId centre) {
    mark_region(centre);
    changed_centres_.push_back(centre);
  }

  void mark_region(CentreId centre) { region_changed_[region_[centre]] = n_swaps_; }

  void count_holder(const TwoNearest& near, int change) {
    for (const CentreId c : {near.c1, near.c2}) {
      if (c != kNoCentre) n_holders_[c] += static_cast<std::size_t>(change);
    }
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
    removal_costs_.assign(removal_cost_);
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
  std::vector<Evaluation> last_;           // per node
  std::vector<CentreId> changed_centres_;  // some more than once
  bool all_known_ = false;
  OfferQueue repair_queue_;
  ThreadPool pool_;
  std::vector<Evaluator> evaluators_;
  std::vector<double> removal_cost_;    // per centre: the energy gained if it alone were removed
  RemovalCosts removal_costs_;          // the same between swaps, in order
  std::vector<std::size_t> n_holders_;  // per centre: the nodes that have it among their two
  std::vector<int> region_;             // per centre
  std::vector<std::int64_t> region_changed_;  // per region: the swap that last changed it
  double energy_ = 0.0;
  std::vector<NodeId> batch_;
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

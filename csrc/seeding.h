// Greedy k-means++ on a graph: distinct seeds, each the best of a few drawn with probability
// proportional to weight · distance^power, the distance being to the seeds so far.
//
// A trial searches from its node and enters another only while that brings it nearer than its
// nearest seed. The pruning is exact: past a node that is no nearer, nothing is. So a trial costs
// only the region it would win, and K seeds with L trials each cost about L · edges · ln K.
// No random numbers are made here: the caller passes uniforms, and the same uniforms give the same
// seeds.
//
// Preconditions: connected graph, weights >= 0, 1 <= n_seeds <= n_nodes, power 1 or 2.
//
// Reference: D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA
// 2007; greedy variant: A. Bhattacharya et al., "Noisy, greedy and not so greedy k-means++", ESA
// 2020.
#pragma once

#include <vector>

#include "csr_graph.h"
#include "run_control.h"

namespace geoquant {

// `nodes` lists all nodes, in the order in which their mass is summed for a draw. `uniforms` holds
// n_seeds rows of n_trials numbers in [0, 1); the first row uses its first only. Where no mass is
// left to draw from, the first unused node is taken.
std::vector<NodeId> kmeanspp_seeds(const CsrGraph& graph, const double* weights, int power,
                                   const std::vector<NodeId>& nodes, const double* uniforms,
                                   int n_seeds, int n_trials, RunControl& control);

}  // namespace geoquant

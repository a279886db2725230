// FasterPAM's swaps on a graph, without the distance matrix.
//
// Finds centres that no single swap (one centre out, one node in) improves, for the energy
// Σ weight · distance-to-nearest-centre^power.
//
// Every node keeps its nearest and second nearest centre (d1, c1), (d2, c2). A candidate j is
// evaluated for all K removals at once by one search from j, which enters a node u only while
// d(j, u) < d2(u). That is exact: past a node u where it fails, both centres of u are at least as
// near as j is through u. At each node reached,
//     d <  d1: adding j gains d^p - d1^p, and removing c1 costs d2^p - d1^p less than it did;
//     d >= d1: removing c1 costs d2^p - d^p less than it did.
// The best swap removes the centre of least remaining cost: one of those whose nodes the search
// reached, or the cheapest other. After a swap only the nodes that had the removed centre among
// their two, or that j reaches, change; they are found by a search and repaired in place.
//
// An evaluation depends on the nodes it reached, on the removal costs of their centres, and on the
// least removal cost of the others. The centres are shared out over 64 regions; a candidate that
// did not improve is passed over while no region it depended on has changed.
//
// A search reaches about 2 n / K nodes, so a pass over all candidates costs about 2 n² / K node
// visits; a swap O(n / K + log K). Memory is 8 bytes per node and thread, and 60 per node.
//
// Candidates are evaluated in batches of fixed size, in parallel; the improving ones of a batch are
// then applied from best to worst, each evaluated again if a swap may have changed it. The result
// therefore depends on `candidates` but not on the number of threads.
//
// Preconditions: connected graph; centres distinct, 2 <= K <= n_nodes; weights >= 0; power 1 or 2.
//
// Reference: E. Schubert, P. J. Rousseeuw, "Fast and eager k-medoids clustering: O(k) runtime
// improvement of the PAM, CLARA, and CLARANS algorithms", Information Systems 101 (2021).
#pragma once

#include <cstdint>
#include <vector>

#include "csr_graph.h"
#include "run_control.h"

namespace geoquant {

struct SwapResult {
  std::vector<NodeId> centres;  // swapped in place: a new centre takes the position of the old
  double energy = 0.0;
  std::int64_t n_swaps = 0;
  std::int64_t n_evaluations = 0;
  bool is_local_optimum = false;  // no candidate of `candidates` improves any more
};

// Tries `candidates` in order, over and over, until a whole round changes nothing or
// `max_evaluations` candidates have been tried (checked between batches).
SwapResult swap_centres(const CsrGraph& graph, const double* weights, int power,
                        std::vector<NodeId> centres, const std::vector<NodeId>& candidates,
                        std::int64_t max_evaluations, int n_threads, RunControl& control);

}  // namespace geoquant

// Lengths of the edges of a graph in another space: the distance between what its ends become
// there.
//
// Each length comes from the formula of exact_neighbors.h, so a graph of nearest neighbours that is
// measured by the points it was made of keeps its lengths, bit by bit.
//
// Cost: O(entries · d). Nothing is held beside the lengths. Preconditions: rows of a CSR over
// [0, n_points), one per point; indices in range.
#pragma once

#include <cstdint>
#include <vector>

#include "csr_graph.h"
#include "exact_neighbors.h"
#include "run_control.h"

namespace geoquant {

// One length for each entry of the rows.
std::vector<float> edge_lengths(const EdgeOffset* indptr, const NodeId* indices,
                                const Points& points, int n_threads, RunControl& control);

}  // namespace geoquant

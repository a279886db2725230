// The best centre of each cell: the member m that minimises Σ weight · d(i, m)^power over the
// members i. For power 1 that is the cell's medoid, for power 2 its Fréchet mean restricted to
// nodes. Distances are those of the whole graph: a path between members may leave the cell.
//
// Members are tried by increasing distance from the cell's present centre. A member is skipped when
// the triangle inequality against a member whose sum S is known rules it out,
//     power 1: S(m) >= |W d(m, i) - S(i)|,   power 2: √S(m) >= |√W d(m, i) - √S(i)|,
// W being the cell's weight; its search is broken off once what is summed, plus the weight left at
// the distance reached, cannot win any more. Ties stay with the member tried first, so with the
// present centre; at equal distance from it, the one that comes first in `nodes`. Exact; the worst
// case is one search per member, each up to O(edges). Cells are shared out over the threads.
//
// Preconditions: connected graph; labels in [0, n_cells), centres[c] a member of cell c; `nodes`
// lists all nodes.
//
// Reference: J. Newling, F. Fleuret, "A sub-quadratic exact medoid algorithm", AISTATS 2017 (the
// bound for power 1); the bound for power 2 is Minkowski's inequality.
#pragma once

#include <vector>

#include "csr_graph.h"
#include "run_control.h"

namespace geoquant {

std::vector<NodeId> cell_medoids(const CsrGraph& graph, const double* weights, int power,
                                 const CentreId* labels, const std::vector<NodeId>& centres,
                                 const std::vector<NodeId>& nodes, int n_threads,
                                 RunControl& control);

}  // namespace geoquant

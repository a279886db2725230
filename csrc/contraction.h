// The graph of the cells of a set of nodes: each cell becomes one node, and two cells are joined
// where an edge of the graph joins them, by the length of the shortest path from centre to centre
// that crosses from one to the other once, along such an edge.
//
// Distances between centres are never below those on the graph, and some tenths above; centres that
// are good here are a start there. Cost: O(edges log degree) time; O(edges between cells) memory.
//
// Preconditions: `nearest` is what NearestSourceSearch found for n_cells sources, all reached.
#pragma once

#include <vector>

#include "packed_graph.h"
#include "shortest_paths.h"

namespace geoquant {

PackedGraph contracted_graph(const CsrGraph& graph, const std::vector<NearestSource>& nearest,
                             NodeId n_cells, RunControl& control);

}  // namespace geoquant

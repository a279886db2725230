// The nearest neighbours of every point among the others of its set.
//
// Points come in cells of neighbours. For a pair of cells the tiles of knn_tiles.h score every pair
// of points once, as a candidate for both: half the work of searching for each point. The own cell
// goes first and near cells follow, so thresholds are tight soon; a pair of cells that lie too far
// apart for either (balls and the triangle inequality) is skipped. Pairs are taken in rounds in
// which no cell occurs twice, so threads share nothing; the rounds are fixed beforehand, so that
// the candidates do not depend on the number of threads. The decision among the candidates is that
// of knn_search.h: exact among the points compared, and the same bits for every instruction set.
//
// Cells may be there only to be looked into, because somebody else asks for their points: pairs
// with one are scored for the points of the other alone, and the rest of the work is left out. The
// result may have a row for each point that asks, as `order` lists them, or one for each point.
//
// Cost: a multiply-add for each coordinate of each pair of points compared, n² / 2 · d if all cells
// are paired and none is skipped. Memory: 4 bytes · n · (d + 4), and about 16 bytes · n_kept for
// each point that asks, beside the result.
// Preconditions: finite values; 1 <= n_kept < n_points; `order` a permutation of the points; one
// cell of each pair asks.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "knn_search.h"

namespace geoquant {

using CellPair = std::pair<std::int32_t, std::int32_t>;

struct CellPairs {
  std::vector<NodeId> order;             // the points, cell by cell
  std::vector<std::int64_t> cell_sizes;  // (n_cells,)
  std::vector<CellPair> pairs;  // of different cells, lower first, each once, near ones first
  std::size_t n_asking = 0;     // the first so many cells ask
  bool is_by_order = false;     // whether the result has rows for the points that ask only
};

// The nearest among the points of a point's own cell and of those that its cell is paired with.
Neighbors knn_join(const Points& points, const CellPairs& cells, std::int64_t n_kept, Simd simd,
                   int n_threads, RunControl& control);

}  // namespace geoquant

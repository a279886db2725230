#include "knn_join.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace geoquant {
namespace {

using Rounds = std::vector<std::vector<CellPair>>;  // no cell twice in a round

// Each pair into the first round after those that its cells are in already.
Rounds in_rounds(const std::vector<CellPair>& pairs, std::size_t n_cells) {
  Rounds rounds;
  std::vector<std::size_t> next_round(n_cells, 0);
  for (const CellPair& pair : pairs) {
    const std::size_t round = std::max(next_round[pair.first], next_round[pair.second]);
    if (round == rounds.size()) rounds.emplace_back();
    rounds[round].push_back(pair);
    next_round[pair.first] = next_round[pair.second] = round + 1;
  }
  return rounds;
}

// The lowest threshold in a block.
float least_threshold(const PackedPoints& packed, std::int64_t b, const CandidateView& buffers) {
  float least = std::numeric_limits<float>::infinity();
  for (std::int64_t slot = packed.block_begin[b]; slot < packed.block_begin[b + 1]; ++slot) {
    least = std::min(least, buffers.threshold[slot]);
  }
  return least;
}

// Scores block `a` with `b`: for the points of both, or of `a` alone.
void score_pair(const SearchContext& context, const PackedPoints& packed, const BlockBalls& balls,
                std::int64_t a, std::int64_t b, bool is_for_both, const CandidateView& buffers) {
  float least = least_threshold(packed, a, buffers);
  if (is_for_both) least = std::min(least, least_threshold(packed, b, buffers));
  if (a != b && balls.all_below(least, a, b)) return;
  const Pairs kind = a == b ? Pairs::kWithin : is_for_both ? Pairs::kBoth : Pairs::kRowsOnly;
  score_tiles(context.simd, {packed.dim, packed.block(a), packed.block(b), kind, false, buffers,
                             is_for_both ? buffers : CandidateView{}});
}

void score_rounds(const SearchContext& context, const PackedPoints& packed, const Rounds& rounds,
                  std::int64_t n_asking, const CandidateView& buffers) {
  const BlockBalls balls(packed, context.pool, context.control);
  context.pool.for_each(n_asking, context.control, [&](std::int64_t b, int) {
    score_pair(context, packed, balls, b, b, true, buffers);
  });
  const std::int64_t n_rounds = static_cast<std::int64_t>(rounds.size()) + 1;
  context.control.progress(1, n_rounds);
  for (std::size_t r = 0; r < rounds.size(); ++r) {
    const std::vector<CellPair>& round = rounds[r];
    context.pool.for_each(static_cast<std::int64_t>(round.size()), context.control,
                          [&](std::int64_t i, int) {
                            const auto [a, b] = round[i];
                            score_pair(context, packed, balls, a, b, b < n_asking, buffers);
                          });
    context.control.progress(static_cast<std::int64_t>(r) + 2, n_rounds);
  }
}

// The points that ask, each with the row of the result that is to be its own.
struct Asking {
  bool is_by_point;
  std::vector<NodeId> self;   // (n_rows,), the point of each row
  std::vector<float> values;  // (n_rows, dim), unless row i is of point i
};

Asking asking_points(const Points& points, const CellPairs& cells) {
  if (!cells.is_by_order) {
    Asking all{true, std::vector<NodeId>(static_cast<std::size_t>(points.n_points)), {}};
    std::iota(all.self.begin(), all.self.end(), NodeId{0});
    return all;
  }
  const auto end_of_sizes = cells.cell_sizes.begin() + static_cast<std::ptrdiff_t>(cells.n_asking);
  const std::int64_t n_rows = std::accumulate(cells.cell_sizes.begin(), end_of_sizes,
                                              std::int64_t{0});
  Asking some{false, {cells.order.begin(), cells.order.begin() + n_rows}, {}};
  some.values.reserve(static_cast<std::size_t>(n_rows * points.dim));
  for (const NodeId id : some.self) {
    some.values.insert(some.values.end(), points.row(id), points.row(id) + points.dim);
  }
  return some;
}

// Decides every point that asks; returns, cell by cell, the rows of those that are not sure.
std::vector<QueryBatch> decide_all(const SearchContext& context, const PackedPoints& packed,
                                   const CellPairs& cells, const CandidateView& buffers) {
  std::vector<std::int64_t> first_row(cells.n_asking + 1, 0);
  std::partial_sum(cells.cell_sizes.begin(),
                   cells.cell_sizes.begin() + static_cast<std::ptrdiff_t>(cells.n_asking),
                   first_row.begin() + 1);
  std::vector<QueryBatch> unsure(cells.n_asking);
  const std::int64_t n_asking = static_cast<std::int64_t>(cells.n_asking);
  context.pool.for_each(n_asking, context.control, [&](std::int64_t b, int) {
    NeighborRanking ranking;
    for (std::int64_t i = 0; i < cells.cell_sizes[b]; ++i) {
      const std::int64_t slot = packed.block_begin[b] + i;
      const NodeId row = cells.is_by_order ? static_cast<NodeId>(first_row[b] + i)
                                           : packed.id[slot];
      if (!decide(context, packed, buffers, slot, row, packed.norm[slot], ranking)) {
        unsure[b].queries.push_back(row);
      }
    }
  });
  return unsure;
}

std::vector<QueryBatch> join(const SearchContext& context, const CellPairs& cells) {
  const Scoring scoring = Scoring::kByProducts;
  const PackedPoints packed = packed_points(
      context.points, cells.order, cells.cell_sizes,
      normalization_of(context.points, scoring, context.pool, context.control), scoring,
      context.pool, context.control);
  CandidateBuffers buffers(packed.id, packed.block_begin[cells.n_asking],
                           n_proposed(context.found.n_kept));
  score_rounds(context, packed, in_rounds(cells.pairs, cells.cell_sizes.size()),
               static_cast<std::int64_t>(cells.n_asking), buffers.view());
  return decide_all(context, packed, cells, buffers.view());
}

// The cells that each cell is compared with, itself first.
std::vector<std::vector<std::int32_t>> compared_cells(const CellPairs& cells) {
  std::vector<std::vector<std::int32_t>> compared(cells.cell_sizes.size());
  for (std::size_t c = 0; c < compared.size(); ++c) {
    compared[c].push_back(static_cast<std::int32_t>(c));
  }
  for (const CellPair& pair : cells.pairs) {
    compared[pair.first].push_back(pair.second);
    compared[pair.second].push_back(pair.first);
  }
  return compared;
}

}  // namespace

Neighbors knn_join(const Points& points, const CellPairs& cells, std::int64_t n_kept, Simd simd,
                   int n_threads, RunControl& control) {
  const Asking asking = asking_points(points, cells);
  const std::int64_t n_rows = static_cast<std::int64_t>(asking.self.size());
  const Points queries = asking.is_by_point ? points
                                            : Points{n_rows, points.dim, asking.values.data()};
  Neighbors found(n_rows, n_kept);
  ThreadPool pool(n_threads);
  const SearchContext context{points, queries, asking.self.data(), simd, pool, control, found};
  std::vector<QueryBatch> unsure = join(context, cells);
  const auto compared = compared_cells(cells);
  for (std::size_t c = 0; c < unsure.size(); ++c) unsure[c].blocks = &compared[c];
  settle(context, cells.order, cells.cell_sizes, std::move(unsure));
  return found;
}

}  // namespace geoquant

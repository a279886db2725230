// The nearest points of each query, exact: every point is compared.
//
// The tiles of knn_tiles.h propose a few candidates more than are wanted; exact_neighbors.h decides
// among them. A query whose answer rounding could have changed is searched again by differences,
// and if that does not settle it either (more points at one distance than candidates), every point
// is ranked by the exact formula. So the result does not depend on instruction set, threads or
// batch.
//
// Cost: n_queries · n_points · d multiply-adds. Memory: a packed copy of the points, and 12 bytes a
// candidate for the queries in work.
// Preconditions: finite values; 1 <= n_kept, at most the number of points (less one with `self`).
#pragma once

#include <cstdint>
#include <vector>

#include "exact_neighbors.h"
#include "packed_points.h"
#include "run_control.h"
#include "simd.h"

namespace geoquant {

// How many candidates are proposed for n_kept: more, so that rounding seldom costs certainty.
constexpr std::int64_t n_proposed(std::int64_t n_kept) { return n_kept + 2 + n_kept / 4; }

// `self` (n_queries,), if not null, is the point that each query is, left out by its id.
Neighbors knn_search(const Points& points, const Points& queries, const NodeId* self,
                     std::int64_t n_kept, Simd simd, int n_threads, RunControl& control);

// Some queries, and the blocks of points to compare them with; null: all.
struct QueryBatch {
  std::vector<NodeId> queries;
  const std::vector<std::int32_t>* blocks = nullptr;
};

// The same among the points of the blocks that each group names, best the most promising first.
// `order` lists the points, `block_sizes` says how many of them make up each block.
Neighbors knn_search_among(const Points& points, const std::vector<NodeId>& order,
                           const std::vector<std::int64_t>& block_sizes, const Points& queries,
                           const std::vector<QueryBatch>& groups, std::int64_t n_kept, Simd simd,
                           int n_threads, RunControl& control);

// The parts, shared with knn_join.h -----------------------------------------------------------

// What a search among packed points reads and writes.
struct SearchContext {
  const Points& points;
  const Points& queries;
  const NodeId* self;
  Simd simd;
  ThreadPool& pool;
  RunControl& control;
  Neighbors& found;
};

// Decides the neighbours of one query from the candidates of its slot; false if they are not sure.
// `norm` is that of the packed query.
bool decide(const SearchContext& context, const PackedPoints& packed, const CandidateView& buffers,
            std::int64_t slot, NodeId query, float norm, NeighborRanking& ranking);

// Settles the queries that are not yet sure: by differences, then by comparing exactly. `order` and
// `block_sizes` are what the points were packed with.
void settle(const SearchContext& context, const std::vector<NodeId>& order,
            const std::vector<std::int64_t>& block_sizes, std::vector<QueryBatch> unsure);

}  // namespace geoquant

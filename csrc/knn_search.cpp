#include "knn_search.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

namespace geoquant {
namespace {

constexpr std::int64_t kQueriesPerBatch = 128;
// Beyond this norm (points have about 1) squares could overflow: such queries are compared exactly.
constexpr float kLargestNorm = 1e15f;
// An unseen point may round to the last kept distance if it is nearer than this above it.
constexpr double kRoundingOfDistance = 1.0 + 3e-7;

std::vector<QueryBatch> batches_of_all(std::int64_t n_queries) {
  std::vector<QueryBatch> batches;
  for (std::int64_t begin = 0; begin < n_queries; begin += kQueriesPerBatch) {
    QueryBatch batch;
    batch.queries.resize(static_cast<std::size_t>(std::min(kQueriesPerBatch, n_queries - begin)));
    std::iota(batch.queries.begin(), batch.queries.end(), static_cast<NodeId>(begin));
    batches.push_back(std::move(batch));
  }
  return batches;
}

template <class Visit>
void for_each_block(const QueryBatch& batch, std::int64_t n_blocks, Visit&& visit) {
  if (batch.blocks == nullptr) {
    for (std::int64_t b = 0; b < n_blocks; ++b) visit(b);
  } else {
    for (const std::int32_t b : *batch.blocks) visit(b);
  }
}

// Searches one batch; what stays unsure is left in it.
void search_batch(const SearchContext& context, const PackedPoints& packed,
                  const Normalization& normalization, int thread, QueryBatch& batch) {
  const std::int64_t n_queries = static_cast<std::int64_t>(batch.queries.size());
  ThreadPool alone(1);
  RunControl unasked;
  const PackedPoints asked = packed_points(context.queries, batch.queries, {n_queries},
                                           normalization, packed.scoring, alone, unasked);
  CandidateBuffers buffers(asked.id, asked.n_slots(),
                           n_proposed(context.found.n_kept + (context.self != nullptr ? 1 : 0)));
  for_each_block(batch, packed.n_blocks(), [&](std::int64_t b) {
    context.pool.checkpoint(thread);
    score_tiles(context.simd, {packed.dim,
                               asked.block(0),
                               packed.block(b),
                               Pairs::kRowsOnly,
                               packed.scoring == Scoring::kByDifferences,
                               buffers.view(),
                               {}});
  });
  NeighborRanking ranking;
  std::vector<NodeId> unsure;
  for (std::int64_t i = 0; i < n_queries; ++i) {
    const NodeId query = batch.queries[i];
    if (!decide(context, packed, buffers.view(), i, query, asked.norm[i], ranking)) {
      unsure.push_back(query);
    }
  }
  batch.queries = std::move(unsure);
}

// `told(n_done)` is called now and then by the thread that may report progress.
template <class Told>
void search_batches(const SearchContext& context, const PackedPoints& packed,
                    const Normalization& normalization, std::vector<QueryBatch>& batches,
                    Told&& told) {
  std::atomic<std::int64_t> n_done{0};
  context.pool.for_each(static_cast<std::int64_t>(batches.size()), context.control,
                        [&](std::int64_t i, int thread) {
                          search_batch(context, packed, normalization, thread, batches[i]);
                          const std::int64_t done = ++n_done;
                          if (thread == 0) told(done);
                        });
}

// Ranks every point of the batch's blocks by the exact formula.
void compare_exactly(const SearchContext& context, const PackedPoints& packed,
                     const QueryBatch& batch, int thread) {
  NeighborRanking ranking;
  for (const NodeId query : batch.queries) {
    ranking.begin();
    for_each_block(batch, packed.n_blocks(), [&](std::int64_t b) {
      context.pool.checkpoint(thread);
      for (std::int64_t slot = packed.block_begin[b]; slot < packed.block_begin[b + 1]; ++slot) {
        const NodeId id = packed.id[slot];
        if (id == kNoNode || (context.self != nullptr && id == context.self[query])) continue;
        ranking.add(id);
      }
    });
    ranking.write(context.points, context.queries.row(query), query, context.found);
  }
}

}  // namespace

bool decide(const SearchContext& context, const PackedPoints& packed, const CandidateView& buffers,
            std::int64_t slot, NodeId query, float norm, NeighborRanking& ranking) {
  trim(context.simd, buffers, slot);
  const std::int32_t* const candidates = buffers.other + slot * buffers.capacity;
  ranking.begin();
  for (std::int32_t i = 0; i < buffers.count[slot]; ++i) {
    const NodeId id = packed.id[candidates[i]];
    if (context.self != nullptr && id == context.self[query]) continue;
    ranking.add(id);
  }
  const float last_kept = ranking.write(context.points, context.queries.row(query), query,
                                        context.found);
  if (!(norm < kLargestNorm)) return false;
  if (std::isinf(buffers.threshold[slot])) return true;  // nothing was turned away
  return static_cast<double>(last_kept) * kRoundingOfDistance <
         packed.least_distance(buffers.threshold[slot], norm);
}

void settle(const SearchContext& context, const std::vector<NodeId>& order,
            const std::vector<std::int64_t>& block_sizes, std::vector<QueryBatch> unsure) {
  const auto drop_empty = [&unsure] {
    unsure.erase(std::remove_if(unsure.begin(), unsure.end(),
                                [](const QueryBatch& b) { return b.queries.empty(); }),
                 unsure.end());
  };
  drop_empty();
  if (unsure.empty()) return;
  const Scoring scoring = Scoring::kByDifferences;
  const Normalization normalization = normalization_of(context.points, scoring, context.pool,
                                                       context.control);
  const PackedPoints packed = packed_points(context.points, order, block_sizes, normalization,
                                            scoring, context.pool, context.control);
  search_batches(context, packed, normalization, unsure, [](std::int64_t) {});
  drop_empty();
  context.pool.for_each(
      static_cast<std::int64_t>(unsure.size()), context.control,
      [&](std::int64_t i, int thread) { compare_exactly(context, packed, unsure[i], thread); });
}

namespace {

Neighbors search(const Points& points, const std::vector<NodeId>& order,
                 const std::vector<std::int64_t>& block_sizes, const Points& queries,
                 const NodeId* self, std::vector<QueryBatch> batches, std::int64_t n_kept,
                 Simd simd, int n_threads, RunControl& control) {
  Neighbors found(queries.n_points, n_kept);
  ThreadPool pool(n_threads);
  const SearchContext context{points, queries, self, simd, pool, control, found};
  {
    const Scoring scoring = Scoring::kByProducts;
    const Normalization normalization = normalization_of(points, scoring, pool, control);
    const PackedPoints packed = packed_points(points, order, block_sizes, normalization, scoring,
                                              pool, control);
    const std::int64_t n_batches = static_cast<std::int64_t>(batches.size());
    search_batches(context, packed, normalization, batches,
                   [&](std::int64_t n_done) { control.progress(n_done, n_batches); });
    control.progress(n_batches, n_batches);
  }
  settle(context, order, block_sizes, std::move(batches));
  return found;
}

}  // namespace

Neighbors knn_search(const Points& points, const Points& queries, const NodeId* self,
                     std::int64_t n_kept, Simd simd, int n_threads, RunControl& control) {
  std::vector<NodeId> order(static_cast<std::size_t>(points.n_points));
  std::iota(order.begin(), order.end(), NodeId{0});
  return search(points, order, even_blocks(points.n_points, points.dim), queries, self,
                batches_of_all(queries.n_points), n_kept, simd, n_threads, control);
}

Neighbors knn_search_among(const Points& points, const std::vector<NodeId>& order,
                           const std::vector<std::int64_t>& block_sizes, const Points& queries,
                           const std::vector<QueryBatch>& groups, std::int64_t n_kept, Simd simd,
                           int n_threads, RunControl& control) {
  std::vector<QueryBatch> batches;
  for (const QueryBatch& group : groups) {
    for (std::size_t begin = 0; begin < group.queries.size(); begin += kQueriesPerBatch) {
      const auto first = group.queries.begin() + static_cast<std::ptrdiff_t>(begin);
      const std::size_t n = std::min<std::size_t>(kQueriesPerBatch, group.queries.size() - begin);
      batches.push_back({{first, first + static_cast<std::ptrdiff_t>(n)}, group.blocks});
    }
  }
  return search(points, order, block_sizes, queries, nullptr, std::move(batches), n_kept, simd,
                n_threads, control);
}

}  // namespace geoquant

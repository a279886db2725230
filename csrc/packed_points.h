// Points in the layout of the tile kernels: groups of 16, transposed within, so that one load gives
// a coordinate of 16 points and one broadcast that of a single one.
//
// Points are packed in a given order, block by block; each block is padded to whole groups with
// points that are infinitely far from everything. The place of a point here is its slot.
//
// For scores by differences the coordinates are scaled only, by a power of two, so that squares of
// very small or very large numbers are numbers. For scores by products they are centred first,
// since |x|² + |y|² - 2 x·y cancels far from the origin.
//
// Memory: 4 bytes · slots · (dim + 3).
#pragma once

#include <cstdint>
#include <vector>

#include "exact_neighbors.h"
#include "knn_tiles.h"
#include "parallel_for.h"

namespace geoquant {

enum class Scoring { kByProducts, kByDifferences };

struct Normalization {
  std::vector<float> centre;  // (dim,)
  int exponent = 0;           // coordinates, centred, are multiplied by 2^exponent
};

// The exponent brings the largest coordinate below 1. Summed in chunks of fixed length, so that it
// does not depend on the number of threads.
Normalization normalization_of(const Points& points, Scoring scoring, ThreadPool& pool,
                               RunControl& control);

struct PackedPoints {
  std::int64_t dim = 0;
  Scoring scoring = Scoring::kByProducts;
  int exponent = 0;
  std::vector<std::int64_t> block_begin;  // (n_blocks + 1,), first slot of each block
  std::vector<float> values;              // (n_slots / 16, dim, 16)
  std::vector<float> bias;                // (n_slots,), see knn_tiles.h
  std::vector<float> norm;                // (n_slots,)
  std::vector<NodeId> id;                 // (n_slots,), which point; kNoNode for padding
  double radius = 0.0;                    // no point has a larger norm

  std::int64_t n_slots() const { return static_cast<std::int64_t>(id.size()); }
  std::int64_t n_blocks() const { return static_cast<std::int64_t>(block_begin.size()) - 1; }
  TileRange block(std::int64_t b) const {
    return {values.data() + block_begin[b] * dim, bias.data() + block_begin[b], block_begin[b],
            (block_begin[b + 1] - block_begin[b]) / kGroup};
  }

  // A distance, in the unit of the points, that a pair of this score has at least: what float32 may
  // have got wrong is given away. `norm` is that of one of the two.
  double least_distance(float score, double norm) const;
};

// Packs the points that `order` lists; `block_sizes` says how many of them go into each block.
PackedPoints packed_points(const Points& points, const std::vector<NodeId>& order,
                           const std::vector<std::int64_t>& block_sizes,
                           const Normalization& normalization, Scoring scoring, ThreadPool& pool,
                           RunControl& control);

// A ball round the points of each block, packed for scores by products.
class BlockBalls {
 public:
  BlockBalls(const PackedPoints& packed, ThreadPool& pool, RunControl& control);

  // Whether every pair of points of the two blocks surely has a score below this.
  bool all_below(float score, std::int64_t a, std::int64_t b) const;

 private:
  void bound(const PackedPoints& packed, std::int64_t b);

  std::int64_t dim_;
  std::vector<double> centre_;  // (n_blocks, dim)
  std::vector<double> radius_;  // (n_blocks,)
};

// `n_points` in blocks of equal length, such that a few of them fit into the second-level cache.
std::vector<std::int64_t> even_blocks(std::int64_t n_points, std::int64_t dim);

}  // namespace geoquant

#include "packed_points.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace geoquant {
namespace {

constexpr std::int64_t kFloatsPerBlock = 1 << 15;
constexpr std::int64_t kLeastBlock = 64;
constexpr std::int64_t kLargestBlock = 1024;
// Given away where balls bound distances. Sums of float64, far below it.
constexpr double kRoundingOfBalls = 1e-9;

std::int64_t padded(std::int64_t n) { return (n + kGroup - 1) / kGroup * kGroup; }

double offset(float x, float from) { return static_cast<double>(x) - static_cast<double>(from); }

std::vector<float> mean_of(const Points& points) {
  std::vector<double> sum(static_cast<std::size_t>(points.dim), 0.0);
  for (std::int64_t i = 0; i < points.n_points; ++i) {
    const float* const x = points.row(i);
    for (std::int64_t k = 0; k < points.dim; ++k) sum[k] += static_cast<double>(x[k]);
  }
  std::vector<float> mean(sum.size());
  for (std::size_t k = 0; k < sum.size(); ++k) {
    mean[k] = static_cast<float>(sum[k] / static_cast<double>(points.n_points));
  }
  return mean;
}

void pack_point(const float* x, std::int64_t slot, const Normalization& normalization, double scale,
                PackedPoints& packed) {
  float* const to = packed.values.data() + slot / kGroup * kGroup * packed.dim + slot % kGroup;
  double squared = 0.0;
  for (std::int64_t k = 0; k < packed.dim; ++k) {
    const float value = static_cast<float>(offset(x[k], normalization.centre[k]) * scale);
    to[k * kGroup] = value;
    squared += static_cast<double>(value) * static_cast<double>(value);
  }
  const bool is_by_products = packed.scoring == Scoring::kByProducts;
  packed.bias[slot] = is_by_products ? static_cast<float>(squared / -2.0) : 0.0f;
  packed.norm[slot] = static_cast<float>(std::sqrt(squared));
}

// The ball round the mean of a block's points.
void bound_block(std::int64_t b, std::int64_t size, PackedPoints& packed) {
  const std::int64_t begin = packed.block_begin[b];
  const float* const values = packed.values.data() + begin * packed.dim;
  std::vector<double> squared(static_cast<std::size_t>(size), 0.0);
  for (std::int64_t k = 0; k < packed.dim; ++k) {
    // Coordinate k of the i-th point of the block.
    const auto at = [&](std::int64_t i) {
      return static_cast<double>(values[(i / kGroup * packed.dim + k) * kGroup + i % kGroup]);
    };
    double centre = 0.0;
    for (std::int64_t i = 0; i < size; ++i) centre += at(i);
    centre /= static_cast<double>(std::max<std::int64_t>(1, size));
    for (std::int64_t i = 0; i < size; ++i) squared[i] += (at(i) - centre) * (at(i) - centre);
    packed.block_centre[b * packed.dim + k] = centre;
  }
  for (const double s : squared) packed.block_radius[b] = std::max(packed.block_radius[b], s);
  packed.block_radius[b] = std::sqrt(packed.block_radius[b]);
}

}  // namespace

Normalization normalization_of(const Points& points, Scoring scoring) {
  Normalization normalization;
  if (scoring == Scoring::kByProducts && points.n_points > 0) {
    normalization.centre = mean_of(points);
  } else {
    normalization.centre.assign(static_cast<std::size_t>(points.dim), 0.0f);
  }
  double largest = 0.0;
  for (std::int64_t i = 0; i < points.n_points; ++i) {
    const float* const x = points.row(i);
    for (std::int64_t k = 0; k < points.dim; ++k) {
      largest = std::max(largest, std::abs(offset(x[k], normalization.centre[k])));
    }
  }
  std::frexp(largest, &normalization.exponent);
  normalization.exponent = -normalization.exponent;
  return normalization;
}

double PackedPoints::least_distance(float score, double norm) const {
  const double eps = std::numeric_limits<float>::epsilon();
  const double relative = static_cast<double>(dim + 8) * eps;
  double squared;
  if (scoring == Scoring::kByProducts) {
    squared = -2.0 * static_cast<double>(score) - relative * (norm + radius) * (norm + radius);
  } else {
    // Squares that underflow are lost too.
    const double lost = static_cast<double>(dim) * std::numeric_limits<float>::min();
    squared = -static_cast<double>(score) * (1.0 - relative) - lost;
  }
  return std::ldexp(std::sqrt(std::max(squared, 0.0)), -exponent);
}

bool PackedPoints::all_below(float score, std::int64_t a, std::int64_t b) const {
  double squared = 0.0;
  for (std::int64_t k = 0; k < dim; ++k) {
    const double difference = block_centre[a * dim + k] - block_centre[b * dim + k];
    squared += difference * difference;
  }
  const double gap = std::sqrt(squared) * (1.0 - kRoundingOfBalls) -
                     (block_radius[a] + block_radius[b]) * (1.0 + kRoundingOfBalls);
  // Scores by differences are minus the squared distance, not half of it.
  const double factor = scoring == Scoring::kByProducts ? 0.5 : 1.0;
  return gap > 0.0 && -factor * gap * gap < static_cast<double>(score);
}

PackedPoints packed_points(const Points& points, const std::vector<NodeId>& order,
                           const std::vector<std::int64_t>& block_sizes,
                           const Normalization& normalization, Scoring scoring, ThreadPool& pool,
                           RunControl& control) {
  PackedPoints packed;
  packed.dim = points.dim;
  packed.scoring = scoring;
  packed.exponent = normalization.exponent;
  std::vector<std::int64_t> order_begin{0};
  packed.block_begin.push_back(0);
  for (const std::int64_t size : block_sizes) {
    order_begin.push_back(order_begin.back() + size);
    packed.block_begin.push_back(packed.block_begin.back() + padded(size));
  }
  const std::size_t n_slots = static_cast<std::size_t>(packed.block_begin.back());
  packed.values.assign(n_slots * static_cast<std::size_t>(points.dim), 0.0f);
  packed.bias.assign(n_slots, -std::numeric_limits<float>::infinity());
  packed.norm.assign(n_slots, 0.0f);
  packed.id.assign(n_slots, kNoNode);
  packed.block_centre.assign(block_sizes.size() * static_cast<std::size_t>(points.dim), 0.0);
  packed.block_radius.assign(block_sizes.size(), 0.0);
  const double scale = std::ldexp(1.0, normalization.exponent);
  pool.for_each(packed.n_blocks(), control, [&](std::int64_t b, int) {
    for (std::int64_t i = 0; i < block_sizes[b]; ++i) {
      const NodeId id = order[order_begin[b] + i];
      packed.id[packed.block_begin[b] + i] = id;
      pack_point(points.row(id), packed.block_begin[b] + i, normalization, scale, packed);
    }
    bound_block(b, block_sizes[b], packed);
  });
  for (const float norm : packed.norm) {
    packed.radius = std::max(packed.radius, static_cast<double>(norm));
  }
  return packed;
}

std::vector<std::int64_t> even_blocks(std::int64_t n_points, std::int64_t dim) {
  const std::int64_t size = std::clamp(padded(kFloatsPerBlock / std::max<std::int64_t>(1, dim)),
                                       kLeastBlock, kLargestBlock);
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(n_points / size), size);
  if (n_points % size != 0) sizes.push_back(n_points % size);
  return sizes;
}

}  // namespace geoquant

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
constexpr std::int64_t kRowsPerChunk = 4096;
// Given away where balls bound distances. Sums of float64, far below it.
constexpr double kRoundingOfBalls = 1e-9;

std::int64_t padded(std::int64_t n) { return (n + kGroup - 1) / kGroup * kGroup; }

double offset(float x, float from) { return static_cast<double>(x) - static_cast<double>(from); }

// Calls visit(begin, end) for chunks of rows, on all threads.
template <class Visit>
void for_each_chunk(const Points& points, ThreadPool& pool, RunControl& control, Visit&& visit) {
  const std::int64_t n_chunks = (points.n_points + kRowsPerChunk - 1) / kRowsPerChunk;
  pool.for_each(n_chunks, control, [&](std::int64_t chunk, int) {
    const std::int64_t begin = chunk * kRowsPerChunk;
    visit(chunk, begin, std::min(points.n_points, begin + kRowsPerChunk));
  });
}

std::vector<float> mean_of(const Points& points, ThreadPool& pool, RunControl& control) {
  const std::size_t dim = static_cast<std::size_t>(points.dim);
  const std::size_t n_chunks = static_cast<std::size_t>((points.n_points + kRowsPerChunk - 1) /
                                                        kRowsPerChunk);
  std::vector<double> sums(n_chunks * dim, 0.0);
  for_each_chunk(points, pool, control,
                 [&](std::int64_t chunk, std::int64_t begin, std::int64_t end) {
                   double* const sum = sums.data() + chunk * points.dim;
                   for (std::int64_t i = begin; i < end; ++i) {
                     const float* const x = points.row(i);
                     for (std::int64_t k = 0; k < points.dim; ++k) {
                       sum[k] += static_cast<double>(x[k]);
                     }
                   }
                 });
  std::vector<float> mean(dim);
  for (std::size_t k = 0; k < dim; ++k) {
    double sum = 0.0;
    for (std::size_t chunk = 0; chunk < n_chunks; ++chunk) sum += sums[chunk * dim + k];
    mean[k] = static_cast<float>(sum / static_cast<double>(points.n_points));
  }
  return mean;
}

// The largest coordinate, measured from the centre.
double largest_coordinate(const Points& points, const std::vector<float>& centre, ThreadPool& pool,
                          RunControl& control) {
  std::vector<double> largest(
      static_cast<std::size_t>((points.n_points + kRowsPerChunk - 1) / kRowsPerChunk), 0.0);
  for_each_chunk(points, pool, control,
                 [&](std::int64_t chunk, std::int64_t begin, std::int64_t end) {
                   double most = 0.0;
                   for (std::int64_t i = begin; i < end; ++i) {
                     const float* const x = points.row(i);
                     for (std::int64_t k = 0; k < points.dim; ++k) {
                       most = std::max(most, std::abs(offset(x[k], centre[k])));
                     }
                   }
                   largest[chunk] = most;
                 });
  return largest.empty() ? 0.0 : *std::max_element(largest.begin(), largest.end());
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

}  // namespace

Normalization normalization_of(const Points& points, Scoring scoring, ThreadPool& pool,
                               RunControl& control) {
  Normalization normalization;
  if (scoring == Scoring::kByProducts && points.n_points > 0) {
    normalization.centre = mean_of(points, pool, control);
  } else {
    normalization.centre.assign(static_cast<std::size_t>(points.dim), 0.0f);
  }
  std::frexp(largest_coordinate(points, normalization.centre, pool, control),
             &normalization.exponent);
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
  const double scale = std::ldexp(1.0, normalization.exponent);
  pool.for_each(packed.n_blocks(), control, [&](std::int64_t b, int) {
    for (std::int64_t i = 0; i < block_sizes[b]; ++i) {
      const NodeId id = order[order_begin[b] + i];
      packed.id[packed.block_begin[b] + i] = id;
      pack_point(points.row(id), packed.block_begin[b] + i, normalization, scale, packed);
    }
  });
  for (const float norm : packed.norm) {
    packed.radius = std::max(packed.radius, static_cast<double>(norm));
  }
  return packed;
}

BlockBalls::BlockBalls(const PackedPoints& packed, ThreadPool& pool, RunControl& control)
    : dim_(packed.dim),
      centre_(static_cast<std::size_t>(packed.n_blocks() * packed.dim), 0.0),
      radius_(static_cast<std::size_t>(packed.n_blocks()), 0.0) {
  pool.for_each(packed.n_blocks(), control, [&](std::int64_t b, int) { bound(packed, b); });
}

// The ball round the mean of a block's points.
void BlockBalls::bound(const PackedPoints& packed, std::int64_t b) {
  const std::int64_t begin = packed.block_begin[b];
  std::int64_t size = packed.block_begin[b + 1] - begin;
  while (size > 0 && packed.id[begin + size - 1] == kNoNode) --size;  // padding
  const float* const values = packed.values.data() + begin * dim_;
  std::vector<double> squared(static_cast<std::size_t>(size), 0.0);
  for (std::int64_t k = 0; k < dim_; ++k) {
    // Coordinate k of the i-th point of the block.
    const auto at = [&](std::int64_t i) {
      return static_cast<double>(values[(i / kGroup * dim_ + k) * kGroup + i % kGroup]);
    };
    double centre = 0.0;
    for (std::int64_t i = 0; i < size; ++i) centre += at(i);
    centre /= static_cast<double>(std::max<std::int64_t>(1, size));
    for (std::int64_t i = 0; i < size; ++i) squared[i] += (at(i) - centre) * (at(i) - centre);
    centre_[b * dim_ + k] = centre;
  }
  for (const double s : squared) radius_[b] = std::max(radius_[b], s);
  radius_[b] = std::sqrt(radius_[b]);
}

bool BlockBalls::all_below(float score, std::int64_t a, std::int64_t b) const {
  double squared = 0.0;
  for (std::int64_t k = 0; k < dim_; ++k) {
    const double difference = centre_[a * dim_ + k] - centre_[b * dim_ + k];
    squared += difference * difference;
  }
  const double gap = std::sqrt(squared) * (1.0 - kRoundingOfBalls) -
                     (radius_[a] + radius_[b]) * (1.0 + kRoundingOfBalls);
  return gap > 0.0 && -0.5 * gap * gap < static_cast<double>(score);
}

std::vector<std::int64_t> even_blocks(std::int64_t n_points, std::int64_t dim) {
  const std::int64_t size = std::clamp(padded(kFloatsPerBlock / std::max<std::int64_t>(1, dim)),
                                       kLeastBlock, kLargestBlock);
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(n_points / size), size);
  if (n_points % size != 0) sizes.push_back(n_points % size);
  return sizes;
}

}  // namespace geoquant

// The text of score_tiles and trim (knn_tiles.h) for one instruction set. Included inside a
// namespace that defines
//
//     Vector                       kWidth floats in a register, kWidth dividing 16
//     kRows                        rows of a tile, dividing 16
//     kColGroups                   groups of 16 columns in a tile, at most 4
//     load, broadcast, store       from and to memory
//     add, subtract, minimum
//     multiply_add(a, b, c)        a · b + c
//     subtract_square(a, c)        c - a · a
//     above(a, b)                  bit i: a[i] > b[i]
//     keep_best_quickly(…)         keep_best below in registers, or false if it cannot
//
// such that kRows · kColGroups · 16 / kWidth sums, and a few more, fit into the registers. It uses
// nothing that could be compiled out of line with the instruction set and then be shared with the
// rest of the program. No include guard: each version includes it once.

constexpr int kVectorsPerGroup = kGroup / kWidth;

inline std::int64_t count_above(const float* score, std::int64_t n, float least) {
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < n; i += kWidth) {
    count += __builtin_popcount(above(load(score + i), broadcast(least)));
  }
  return count;
}

// The `n_wanted`-th best score, by counting for each how many are better. Written without branches
// that depend on scores: they would be guessed wrong half the time.
inline float worst_wanted(const float* score, std::int64_t n, std::int64_t n_wanted) {
  float worst = __builtin_inff();
  for (std::int64_t i = 0; i < n; ++i) {
    const float wanted = count_above(score, n, score[i]) < n_wanted ? score[i] : __builtin_inff();
    worst = wanted < worst ? wanted : worst;
  }
  return worst;
}

// Cuts a buffer with no free place back to the wanted best, and raises the threshold to the worst
// of them. Of equal scores at the threshold the first are kept.
inline void keep_best(const CandidateView& buffers, std::int64_t slot) {
  float* const score = buffers.score + slot * buffers.capacity;
  std::int32_t* const other = buffers.other + slot * buffers.capacity;
  buffers.count[slot] = static_cast<std::int32_t>(buffers.n_wanted);
  if (keep_best_quickly(score, other, buffers.capacity, buffers.n_wanted,
                        buffers.threshold + slot)) {
    return;
  }
  const float worst = worst_wanted(score, buffers.capacity, buffers.n_wanted);
  std::int64_t n_equal_left = buffers.n_wanted - count_above(score, buffers.capacity, worst);
  std::int32_t n_kept = 0;
  for (std::int64_t i = 0; i < buffers.capacity; ++i) {
    const float s = score[i];
    score[n_kept] = s;
    other[n_kept] = other[i];
    const int is_equal = s == worst;
    n_kept += static_cast<int>(s > worst) | (is_equal & static_cast<int>(n_equal_left > 0));
    n_equal_left -= is_equal;
  }
  buffers.threshold[slot] = worst;
}

inline void push(const CandidateView& buffers, std::int64_t slot, float score, std::int64_t other) {
  if (!(score > buffers.threshold[slot])) return;
  const std::int64_t n = buffers.count[slot]++;
  buffers.score[slot * buffers.capacity + n] = score;
  buffers.other[slot * buffers.capacity + n] = static_cast<std::int32_t>(other);
  if (n + 1 == buffers.capacity) keep_best(buffers, slot);
}

// Pushes what passes of the scores of one row with kVectors vectors of columns.
template <int kVectors, Pairs kPairs>
void push_passing(const TileTask& task, std::int64_t row_slot, std::int64_t col_slot,
                  const float* score) {
  const Vector row_threshold = broadcast(task.row_buffers.threshold[row_slot]);
  for (int v = 0; v < kVectors; ++v, score += kWidth, col_slot += kWidth) {
    Vector least = row_threshold;
    if (kPairs == Pairs::kBoth) {
      least = minimum(least, load(task.col_buffers.threshold + col_slot));
    }
    for (unsigned passing = above(load(score), least); passing != 0; passing &= passing - 1) {
      const int i = __builtin_ctz(passing);
      if (kPairs == Pairs::kWithin && row_slot == col_slot + i) continue;
      push(task.row_buffers, row_slot, score[i], col_slot + i);
      if (kPairs == Pairs::kBoth) push(task.col_buffers, col_slot + i, score[i], row_slot);
    }
  }
}

template <int kVectors>
using Sums = Vector[kRows][kVectors];

// Where only rows have thresholds, the bias of the row is left out of the sums and taken off its
// threshold instead: one subtraction in the place of a row of additions.
template <int kVectors, Pairs kPairs>
GEOQUANT_ALWAYS_INLINE void start_sums(const float* row_bias, const float* col_bias,
                                       Sums<kVectors>& sum) {
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      sum[r][v] = load(col_bias + v * kWidth);
      if (kPairs == Pairs::kBoth) sum[r][v] = add(sum[r][v], broadcast(row_bias[r]));
    }
  }
}

template <int kVectors, bool kByDifferences>
GEOQUANT_ALWAYS_INLINE void add_coordinates(const float* row, const float* col, std::int64_t dim,
                                            Sums<kVectors>& sum) {
  const std::int64_t group_stride = dim * kGroup;
  for (std::int64_t k = 0; k < dim; ++k, row += kGroup, col += kGroup) {
    Vector y[kVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      y[v] = load(col + v / kVectorsPerGroup * group_stride + v % kVectorsPerGroup * kWidth);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Vector x = broadcast(row[r]);
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        sum[r][v] = kByDifferences ? subtract_square(subtract(x, y[v]), sum[r][v])
                                   : multiply_add(x, y[v], sum[r][v]);
      }
    }
  }
}

// One row of a tile: compares its scores with the thresholds, and pushes what passes.
template <int kVectors, Pairs kPairs>
GEOQUANT_ALWAYS_INLINE void filter_row(const TileTask& task, std::int64_t row,
                                       std::int64_t col_slot, const Vector (&sum)[kVectors],
                                       const Vector (&col_threshold)[kVectors]) {
  const std::int64_t row_slot = task.rows.first_slot + row;
  const float left_out = kPairs == Pairs::kBoth ? 0.0f : task.rows.bias[row];
  const Vector row_threshold = broadcast(task.row_buffers.threshold[row_slot] - left_out);
  unsigned passing = 0;
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
    const Vector least = kPairs == Pairs::kBoth ? minimum(row_threshold, col_threshold[v])
                                                : row_threshold;
    passing |= above(sum[v], least);
  }
  if (__builtin_expect(passing == 0, 1)) return;
  float scores[kVectors * kWidth];
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) store(scores + v * kWidth, add(sum[v], broadcast(left_out)));
  push_passing<kVectors, kPairs>(task, row_slot, col_slot, scores);
}

template <int kGroups, Pairs kPairs, bool kByDifferences>
void score_tile(const TileTask& task, std::int64_t row, std::int64_t col_group) {
  constexpr int kVectors = kGroups * kVectorsPerGroup;
  const std::int64_t group_stride = task.dim * kGroup;
  const std::int64_t col = col_group * kGroup;
  Sums<kVectors> sum;
  start_sums<kVectors, kPairs>(task.rows.bias + row, task.cols.bias + col, sum);
  add_coordinates<kVectors, kByDifferences>(
      task.rows.values + row / kGroup * group_stride + row % kGroup,
      task.cols.values + col_group * group_stride, task.dim, sum);
  const std::int64_t col_slot = task.cols.first_slot + col;
  Vector col_threshold[kVectors];
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
    if (kPairs == Pairs::kBoth) {
      col_threshold[v] = load(task.col_buffers.threshold + col_slot + v * kWidth);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    filter_row<kVectors, kPairs>(task, row + r, col_slot, sum[r], col_threshold);
  }
}

// A strip of kRows rows with the column groups from `group` on.
template <Pairs kPairs, bool kByDifferences>
void score_strip(const TileTask& task, std::int64_t row, std::int64_t group) {
  for (; group + kColGroups <= task.cols.n_groups; group += kColGroups) {
    score_tile<kColGroups, kPairs, kByDifferences>(task, row, group);
  }
  for (; group < task.cols.n_groups; ++group) {
    score_tile<1, kPairs, kByDifferences>(task, row, group);
  }
}

template <bool kByDifferences>
void score_rows(const TileTask& task) {
  for (std::int64_t row = 0; row < task.rows.n_groups * kGroup; row += kRows) {
    if (task.pairs == Pairs::kRowsOnly) {
      score_strip<Pairs::kRowsOnly, kByDifferences>(task, row, 0);
    } else if (task.pairs == Pairs::kBoth) {
      score_strip<Pairs::kBoth, kByDifferences>(task, row, 0);
    } else {
      score_tile<1, Pairs::kWithin, kByDifferences>(task, row, row / kGroup);
      score_strip<Pairs::kBoth, kByDifferences>(task, row, row / kGroup + 1);
    }
  }
}

void trim(const CandidateView& buffers, std::int64_t slot) {
  if (buffers.count[slot] <= buffers.n_wanted) return;
  float* const score = buffers.score + slot * buffers.capacity;
  for (std::int64_t i = buffers.count[slot]; i < buffers.capacity; ++i)
    score[i] = -__builtin_inff();
  keep_best(buffers, slot);
}

void score_tiles(const TileTask& task) {
  if (task.by_differences) {
    score_rows<true>(task);
  } else {
    score_rows<false>(task);
  }
}

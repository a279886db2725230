// Codes of a residual quantizer: one codeword of every stage, whose sum is near the point.
//
// Beam search: after each stage the `beam` best prefixes are kept, by the squared distance of the
// point to the sum of their codewords, ties by the lexicographic order of their codes. A beam of 1
// is the greedy choice; one as large as the number of prefixes is an exhaustive search.
// Residuals and their squared norms are float64 sums in a fixed order, so neither the batch nor
// the number of threads shows in the codes.
//
// Cost: O(beam · d · sum of the stages' sizes) a point. Preconditions: every stage has a codeword.
#pragma once

#include <cstdint>
#include <vector>

#include "exact_neighbors.h"
#include "run_control.h"

namespace geoquant {

// `codewords` holds those of all stages one after the other; `stage_sizes` says how many each has.
// The result has shape (n_points, n_stages), in C order.
std::vector<std::int32_t> residual_codes(const Points& points, const Points& codewords,
                                         const std::vector<std::int64_t>& stage_sizes,
                                         std::int64_t beam, int n_threads, RunControl& control);

}  // namespace geoquant

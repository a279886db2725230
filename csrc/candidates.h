// The best candidates seen so far for every slot: appended if above the slot's threshold, cut back
// to the best when the buffer is full. A score is minus half a squared distance, so the larger the
// better.
//
// Every pair that was scored and is not in the buffer has a score of at most the slot's threshold;
// that is minus infinity as long as nothing was turned away.
// Appending is O(capacity / vector width) amortised. Memory: 8 bytes · slots · capacity.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "csr_graph.h"

namespace geoquant {

// Plain pointers, for the kernels: what is compiled for one instruction set must not share inline
// functions with the rest of the program.
struct CandidateView {
  float* score;           // (slots, capacity)
  std::int32_t* other;    // (slots, capacity), the candidates' slots
  std::int32_t* count;    // (slots,)
  float* threshold;       // (slots,)
  std::int64_t capacity;  // a multiple of 16
  std::int64_t n_wanted;
};

class CandidateBuffers {
 public:
  // For the first `n_slots` slots. `ids` says which of them are points: a slot of padding takes no
  // candidate.
  CandidateBuffers(const std::vector<NodeId>& ids, std::int64_t n_slots, std::int64_t n_wanted)
      : n_wanted_(n_wanted),
        capacity_((n_wanted + n_wanted / 4 + 8 + 15) / 16 * 16),
        score_(static_cast<std::size_t>(n_slots * capacity_)),
        other_(score_.size()),
        count_(static_cast<std::size_t>(n_slots), 0),
        threshold_(count_.size()) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    for (std::size_t slot = 0; slot < threshold_.size(); ++slot) {
      threshold_[slot] = ids[slot] == kNoNode ? kInfinity : -kInfinity;
    }
  }

  CandidateView view() {
    return {score_.data(), other_.data(), count_.data(), threshold_.data(), capacity_, n_wanted_};
  }

 private:
  std::int64_t n_wanted_;
  std::int64_t capacity_;
  std::vector<float> score_;
  std::vector<std::int32_t> other_;
  std::vector<std::int32_t> count_;
  std::vector<float> threshold_;
};

}  // namespace geoquant

#include "residual_codes.h"

#include <algorithm>
#include <atomic>
#include <cstddef>

#include "parallel_for.h"

namespace geoquant {
namespace {

constexpr std::int64_t kPointsPerTask = 64;
// Codewords that are scored together: as many sums as stay in registers.
constexpr std::size_t kScoredTogether = 8;

// The codewords of one stage, coordinate by coordinate, so that several are scored side by side.
struct Stage {
  std::size_t n_codes;
  std::size_t n_padded;        // a multiple of kScoredTogether; what is beyond n_codes is zero
  std::vector<double> values;  // (dim, n_padded)
};

struct Candidate {
  double error;
  std::size_t rank;  // place of its codes in lexicographic order among the candidates of its stage

  bool operator<(const Candidate& other) const {
    return error < other.error || (error == other.error && rank < other.rank);
  }
};

std::vector<Stage> stages_of(const Points& codewords,
                             const std::vector<std::int64_t>& stage_sizes) {
  const std::size_t dim = static_cast<std::size_t>(codewords.dim);
  std::vector<Stage> stages;
  std::int64_t first = 0;
  for (const std::int64_t size : stage_sizes) {
    const std::size_t n_codes = static_cast<std::size_t>(size);
    const std::size_t n_padded = (n_codes + kScoredTogether - 1) / kScoredTogether *
                                 kScoredTogether;
    Stage stage{n_codes, n_padded, std::vector<double>(dim * n_padded, 0.0)};
    for (std::size_t code = 0; code < n_codes; ++code) {
      const float* const row = codewords.row(first + static_cast<std::int64_t>(code));
      for (std::size_t k = 0; k < dim; ++k) stage.values[k * n_padded + code] = row[k];
    }
    stages.push_back(std::move(stage));
    first += size;
  }
  return stages;
}

// One thread's scratch: the prefixes kept so far, in lexicographic order of their codes.
class BeamSearch {
 public:
  BeamSearch(const std::vector<Stage>& stages, std::size_t dim, std::size_t beam)
      : stages_(stages), dim_(dim), beam_(beam) {}

  void write_codes(const float* point, std::int32_t* codes) {
    n_kept_ = 1;
    residuals_.assign(point, point + dim_);
    codes_.clear();
    for (std::size_t m = 0; m < stages_.size(); ++m) {
      choose(stages_[m]);
      extend(stages_[m], m);
    }
    const std::size_t best = best_in_beam();
    std::copy_n(codes_.begin() + static_cast<std::ptrdiff_t>(best * stages_.size()), stages_.size(),
                codes);
  }

 private:
  // Leaves the best candidates of the stage in chosen_, best first. Candidates come in the order
  // of their codes, so one that is no better than the worst kept loses the tie.
  void choose(const Stage& stage) {
    chosen_.clear();
    for (std::size_t b = 0; b < n_kept_; ++b) {
      for (std::size_t first = 0; first < stage.n_codes; first += kScoredTogether) {
        double error[kScoredTogether] = {};
        score(stage, &residuals_[b * dim_], first, error);
        const std::size_t n = std::min(kScoredTogether, stage.n_codes - first);
        for (std::size_t i = 0; i < n; ++i) keep({error[i], b * stage.n_codes + first + i});
      }
    }
  }

  void score(const Stage& stage, const double* residual, std::size_t first, double* error) const {
    for (std::size_t k = 0; k < dim_; ++k) {
      const double* const values = &stage.values[k * stage.n_padded + first];
      for (std::size_t i = 0; i < kScoredTogether; ++i) {
        const double difference = residual[k] - values[i];
        error[i] += difference * difference;
      }
    }
  }

  void keep(const Candidate& candidate) {
    if (chosen_.size() == beam_) {
      if (!(candidate.error < chosen_.back().error)) return;
      chosen_.pop_back();
    }
    chosen_.insert(std::upper_bound(chosen_.begin(), chosen_.end(), candidate), candidate);
  }

  // Makes prefixes of the candidates chosen, of m + 1 codes each.
  void extend(const Stage& stage, std::size_t m) {
    std::sort(chosen_.begin(), chosen_.end(),
              [](const Candidate& a, const Candidate& b) { return a.rank < b.rank; });
    next_residuals_.resize(chosen_.size() * dim_);
    next_codes_.resize(chosen_.size() * (m + 1));
    for (std::size_t c = 0; c < chosen_.size(); ++c) {
      const std::size_t from = chosen_[c].rank / stage.n_codes;
      const std::size_t code = chosen_[c].rank % stage.n_codes;
      for (std::size_t k = 0; k < dim_; ++k) {
        next_residuals_[c * dim_ + k] = residuals_[from * dim_ + k] -
                                        stage.values[k * stage.n_padded + code];
      }
      std::copy_n(codes_.begin() + static_cast<std::ptrdiff_t>(from * m), m,
                  next_codes_.begin() + static_cast<std::ptrdiff_t>(c * (m + 1)));
      next_codes_[c * (m + 1) + m] = static_cast<std::int32_t>(code);
    }
    residuals_.swap(next_residuals_);
    codes_.swap(next_codes_);
    n_kept_ = chosen_.size();
  }

  // chosen_ is in the order of the codes, so the first of the least is the smaller of equals.
  std::size_t best_in_beam() const {
    const auto best = std::min_element(
        chosen_.begin(), chosen_.end(),
        [](const Candidate& a, const Candidate& b) { return a.error < b.error; });
    return static_cast<std::size_t>(best - chosen_.begin());
  }

  const std::vector<Stage>& stages_;
  const std::size_t dim_;
  const std::size_t beam_;
  std::size_t n_kept_ = 0;
  std::vector<double> residuals_, next_residuals_;  // (n_kept, dim)
  std::vector<std::int32_t> codes_, next_codes_;    // (n_kept, codes of the stages so far)
  std::vector<Candidate> chosen_;
};

}  // namespace

std::vector<std::int32_t> residual_codes(const Points& points, const Points& codewords,
                                         const std::vector<std::int64_t>& stage_sizes,
                                         std::int64_t beam, int n_threads, RunControl& control) {
  const std::vector<Stage> stages = stages_of(codewords, stage_sizes);
  const std::int64_t n_stages = static_cast<std::int64_t>(stages.size());
  std::vector<std::int32_t> codes(static_cast<std::size_t>(points.n_points * n_stages));
  ThreadPool pool(n_threads);
  std::vector<BeamSearch> searches(
      static_cast<std::size_t>(pool.size()),
      BeamSearch(stages, static_cast<std::size_t>(points.dim), static_cast<std::size_t>(beam)));
  std::atomic<std::int64_t> n_done{0};
  const std::int64_t n_tasks = (points.n_points + kPointsPerTask - 1) / kPointsPerTask;
  pool.for_each(n_tasks, control, [&](std::int64_t task, int thread) {
    const std::int64_t end = std::min(points.n_points, (task + 1) * kPointsPerTask);
    for (std::int64_t i = task * kPointsPerTask; i < end; ++i) {
      pool.checkpoint(thread);
      searches[thread].write_codes(points.row(i), &codes[static_cast<std::size_t>(i * n_stages)]);
    }
    const std::int64_t done = ++n_done;
    if (thread == 0) control.progress(done, n_tasks);
  });
  control.progress(n_tasks, n_tasks);
  return codes;
}

}  // namespace geoquant

// The scratch of searches that are over, kept for the next search on the same graph: making it anew
// takes about as long as a search.
#pragma once

#include <memory>
#include <mutex>
#include <utility>

#include "csr_graph.h"
#include "shortest_paths.h"

namespace geoquant {

class IdleSearches {
 public:
  // Calls use(search) with scratch that earlier calls have left; for several threads at once. That
  // of a call that throws is not used again.
  template <class Use>
  void with(const CsrGraph& graph, Use&& use) {
    std::unique_ptr<NearestSourceSearch> search = taken();
    if (!search) search = std::make_unique<NearestSourceSearch>(graph);
    use(*search);
    std::lock_guard<std::mutex> lock(mutex_);
    if (!idle_) idle_ = std::move(search);
  }

 private:
  std::unique_ptr<NearestSourceSearch> taken() {
    std::lock_guard<std::mutex> lock(mutex_);
    return std::move(idle_);
  }

  std::mutex mutex_;
  std::unique_ptr<NearestSourceSearch> idle_;
};

}  // namespace geoquant

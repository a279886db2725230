// How a long kernel stays answerable: it polls here, and the host may stop it or hear of progress.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <utility>

namespace geoquant {

// Not thread-safe: only the thread that entered the kernel polls; workers are stopped by the pool.
class RunControl {
 public:
  // Returns whether to end here with what there is, if a kernel can.
  using Report = std::function<bool(std::int64_t done, std::int64_t total)>;

  // `check_interrupt` throws to stop the run. Both may be empty.
  RunControl(std::function<void()> check_interrupt, Report report)
      : check_interrupt_(std::move(check_interrupt)), report_(std::move(report)) {}
  RunControl() = default;

  // Cheap enough for every few microseconds of work: reads the clock, calls out at most each 10 ms.
  void poll() {
    const auto now = Clock::now();
    if (now < next_check_) return;
    next_check_ = now + std::chrono::milliseconds(10);
    if (check_interrupt_) check_interrupt_();
  }

  // Reports at most each 50 ms, and always when done == total. Returns whether to end here.
  bool progress(std::int64_t done, std::int64_t total) {
    poll();
    if (!report_) return false;
    const auto now = Clock::now();
    if (done < total && now < next_report_) return false;
    next_report_ = now + std::chrono::milliseconds(50);
    return report_(done, total);
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::function<void()> check_interrupt_;
  Report report_;
  Clock::time_point next_check_{};
  Clock::time_point next_report_{};
};

}  // namespace geoquant

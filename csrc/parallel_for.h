// A small pool of threads that lives as long as one kernel call, so nothing survives into a fork
// and no OpenMP runtime is pulled in beside those of faiss, torch and scikit-learn.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "run_control.h"

namespace geoquant {

class ThreadPool {
 public:
  // The calling thread works too: n_threads - 1 are started, or as many as the system grants. No
  // result depends on how many there are.
  explicit ThreadPool(int n_threads) {
    workers_.reserve(static_cast<std::size_t>(std::max(1, n_threads) - 1));
    try {
      for (int t = 1; t < n_threads; ++t) workers_.emplace_back([this, t] { serve(t); });
    } catch (const std::system_error&) {
    } catch (...) {
      shut_down();
      throw;
    }
  }
  ~ThreadPool() { shut_down(); }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls task(index, thread) for every index in [0, n_tasks), each once, in no set order.
  // The first exception of any thread, or of control.poll(), stops the rest and is rethrown here.
  void for_each(std::int64_t n_tasks, RunControl& control,
                const std::function<void(std::int64_t, int)>& task) {
    if (n_tasks <= 0) return;
    begin(n_tasks, control, task);
    work(0);
    wait_for_workers();
    if (error_) std::rethrow_exception(error_);
  }

  // For a task to call every millisecond or so, with the thread it was given: throws when the run
  // is to stop.
  void checkpoint(int thread) {
    if (thread == 0) control_->poll();
    if (is_cancelled_.load(std::memory_order_relaxed)) throw Cancelled{};
  }

 private:
  void serve(int thread) {
    std::uint64_t seen = 0;
    for (;;) {
      wait_awake([&] { return stopping_ || generation_ != seen; });
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return stopping_ || generation_ != seen; });
        if (stopping_) return;
        seen = generation_;
      }
      work(thread);
      std::lock_guard<std::mutex> lock(mutex_);
      if (--n_busy_ == 0) idle_.notify_one();
    }
  }

  struct Cancelled {};

  // Falling asleep and being woken take as long as a short task, so short waits are spent awake.
  template <class Condition>
  static void wait_awake(Condition&& is_met) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(50);
    while (!is_met() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  }

  void begin(std::int64_t n_tasks, RunControl& control,
             const std::function<void(std::int64_t, int)>& task) {
    std::lock_guard<std::mutex> lock(mutex_);
    control_ = &control;
    task_ = &task;
    n_tasks_ = n_tasks;
    next_.store(0, std::memory_order_relaxed);
    is_cancelled_.store(false, std::memory_order_relaxed);
    error_ = nullptr;
    if (workers_.empty() || n_tasks == 1) return;
    n_busy_ = static_cast<int>(workers_.size());
    ++generation_;
    wake_.notify_all();
  }

  void work(int thread) {
    try {
      for (;;) {
        const std::int64_t index = next_.fetch_add(1, std::memory_order_relaxed);
        if (index >= n_tasks_) return;
        checkpoint(thread);
        (*task_)(index, thread);
      }
    } catch (...) {
      cancel(std::current_exception());
    }
  }

  // The first exception is kept. Only then are the others told, or their Cancelled could be first.
  void cancel(std::exception_ptr error) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!error_) error_ = std::move(error);
    is_cancelled_.store(true, std::memory_order_relaxed);
  }

  // Keeps polling, so that an interrupt is heard while only workers are still busy.
  void wait_for_workers() {
    wait_awake([this] { return n_busy_ == 0; });
    std::unique_lock<std::mutex> lock(mutex_);
    while (!idle_.wait_for(lock, std::chrono::milliseconds(10), [this] { return n_busy_ == 0; })) {
      lock.unlock();
      try {
        control_->poll();
      } catch (...) {
        cancel(std::current_exception());
      }
      lock.lock();
    }
  }

  void shut_down() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  std::atomic<std::int64_t> next_{0};
  std::atomic<bool> is_cancelled_{false};
  RunControl* control_ = nullptr;
  std::int64_t n_tasks_ = 0;
  const std::function<void(std::int64_t, int)>* task_ = nullptr;
  // Changed under the mutex, read without it by those who wait awake.
  std::atomic<int> n_busy_{0};
  std::atomic<std::uint64_t> generation_{0};
  std::atomic<bool> stopping_{false};
  std::exception_ptr error_;
};

}  // namespace geoquant

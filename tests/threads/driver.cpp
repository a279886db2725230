// Runs every kernel and the pool of threads in every way that a program may, for a sanitizer to
// watch: Python itself is not built with one. Each scenario compares its results with those of one
// thread, bit by bit, so it is a test without a sanitizer too.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "parallel_for.h"
#include "scene.h"

namespace geoquant {
namespace {

struct Stopped {};

void require(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error(what);
}

using Scenario = std::pair<std::string, std::function<void()>>;

// ---------------------------------------------------------------------------------- the pool

// Every task writes a place of its own, without a lock: the pool has to order writing and reading.
void run_and_count(ThreadPool& pool, std::int64_t n_tasks) {
  RunControl control;
  std::vector<int> n_runs(static_cast<std::size_t>(n_tasks), 0);
  std::vector<std::int64_t> of_thread(static_cast<std::size_t>(pool.size()), 0);
  pool.for_each(n_tasks, control, [&](std::int64_t i, int thread) {
    ++n_runs[i];
    ++of_thread[thread];
  });
  for (const int count : n_runs) require(count == 1, "a task ran not once");
  std::int64_t total = 0;
  for (const std::int64_t count : of_thread) total += count;
  require(total == n_tasks, "tasks are missing");
}

void many_tasks() {
  for (const int n_threads : {-1, 0, 1, 2, 3, 8}) {
    ThreadPool pool(n_threads);
    run_and_count(pool, 20'000);
  }
}

// As short as can be: workers wake, find nothing left, and are asked anew.
void many_rounds() {
  ThreadPool pool(4);
  for (std::int64_t round = 0; round < 2'000; ++round) run_and_count(pool, round % 7);
}

void pools_without_work() {
  for (int i = 0; i < 200; ++i) ThreadPool pool(1 + i % 5);
}

// Asleep, not only awake, when there is work again and when it ends.
void pools_that_sleep() {
  for (int i = 0; i < 5; ++i) {
    ThreadPool pool(3);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    run_and_count(pool, 50);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

void pools_in_tasks() {
  ThreadPool pool(3);
  RunControl control;
  std::atomic<int> n_done{0};
  pool.for_each(20, control, [&](std::int64_t, int) {
    ThreadPool inner(2);
    run_and_count(inner, 40);
    ++n_done;
  });
  require(n_done == 20, "inner pools are missing");
}

void exceptions_in_tasks() {
  ThreadPool pool(4);
  for (std::int64_t thrower = 0; thrower < 60; ++thrower) {
    RunControl control;
    std::string message;
    try {
      pool.for_each(60, control, [&](std::int64_t i, int thread) {
        if (i == thrower) throw std::runtime_error("task " + std::to_string(i));
        pool.checkpoint(thread);
      });
    } catch (const std::runtime_error& error) {
      message = error.what();
    }
    require(message == "task " + std::to_string(thrower), "the exception got lost: " + message);
    run_and_count(pool, 60);
  }
}

void exceptions_in_all_tasks() {
  ThreadPool pool(4);
  RunControl control;
  int n_caught = 0;
  for (int round = 0; round < 100; ++round) {
    try {
      pool.for_each(4, control, [](std::int64_t, int) { throw std::bad_alloc(); });
    } catch (const std::bad_alloc&) {
      ++n_caught;
    }
  }
  require(n_caught == 100, "exceptions got lost");
}

// The caller has nothing left to do, and must hear of the interrupt while it waits.
void interrupts_while_waiting() {
  ThreadPool pool(2);
  std::atomic<bool> is_asked{false};
  RunControl control(
      [&] {
        if (is_asked) throw Stopped{};
      },
      {});
  bool is_stopped = false;
  try {
    pool.for_each(2, control, [&](std::int64_t, int thread) {
      while (thread == 0 && !is_asked) std::this_thread::yield();
      if (thread == 0) return;
      is_asked = true;
      for (;;) pool.checkpoint(thread);
    });
  } catch (const Stopped&) {
    is_stopped = true;
  }
  require(is_stopped, "the interrupt got lost");
  run_and_count(pool, 100);
}

// ------------------------------------------------------------------------------- the kernels

// What one thread finds, made once.
const std::string& expected_of(const Kernel& kernel, const Scene& scene) {
  static std::map<std::string, std::string> found;
  std::string& expected = found[kernel.name];
  RunControl control;
  if (expected.empty()) expected = kernel.run(scene, 1, control);
  return expected;
}

void threads_do_not_show(const Kernel& kernel, const Scene& scene) {
  const std::string& expected = expected_of(kernel, scene);
  for (const int n_threads : {2, 3, 8}) {
    RunControl control;
    require(kernel.run(scene, n_threads, control) == expected, "threads show");
  }
}

// Whether the run was stopped; if it was not, it must have found what it finds.
bool is_stopped(const Kernel& kernel, const Scene& scene, int n_threads, RunControl& control,
                const std::string& expected) {
  try {
    require(kernel.run(scene, n_threads, control) == expected, "a run that went on found less");
  } catch (const Stopped&) {
    return true;
  }
  return false;
}

void stops_at_any_poll(const Kernel& kernel, const Scene& scene) {
  const std::string& expected = expected_of(kernel, scene);
  for (const int n_threads : {1, 3}) {
    for (const int last : {1, 2, 3}) {
      int n_polls = 0;
      RunControl control(
          [&] {
            if (++n_polls == last) throw Stopped{};
          },
          {});
      const bool stopped = is_stopped(kernel, scene, n_threads, control, expected);
      require(stopped == (n_polls >= last), "what poll() threw got lost");
      require(stopped || last > 1 || n_threads > 1, "never polls");
    }
    RunControl control;
    require(kernel.run(scene, n_threads, control) == expected, "finds less after a stop");
  }
}

void stops_when_a_report_throws(const Kernel& kernel, const Scene& scene) {
  for (const int n_threads : {1, 3}) {
    RunControl control({}, [](std::int64_t, std::int64_t) -> bool { throw Stopped{}; });
    require(
        is_stopped(kernel, scene, n_threads, control, expected_of(kernel, scene)) || n_threads > 1,
        "never reports");
  }
}

// Runs `work` in threads, and hands on what one of them threw.
void in_threads(int n_threads, const std::function<void(int)>& work) {
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(n_threads));
  std::vector<std::thread> threads;
  for (int t = 0; t < n_threads; ++t) {
    threads.emplace_back([&, t] {
      try {
        work(t);
      } catch (...) {
        errors[t] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

// Each caller with threads of its own, all on the same graph, each beginning with another kernel.
void calls_at_once(const Scene& scene) {
  std::vector<std::string> expected;
  for (const Kernel& kernel : kernels()) expected.push_back(expected_of(kernel, scene));
  in_threads(4, [&](int t) {
    for (std::size_t i = 0; i < kernels().size(); ++i) {
      const std::size_t k = (i + 4 * static_cast<std::size_t>(t)) % kernels().size();
      RunControl control;
      require(kernels()[k].run(scene, 2, control) == expected[k], "calls disturb each other");
    }
  });
}

// One call many times at once: what they share is used at the same moments.
void same_calls_at_once(const Kernel& kernel, const Scene& scene) {
  const std::string& expected = expected_of(kernel, scene);
  in_threads(3, [&](int) {
    RunControl control;
    require(kernel.run(scene, 2, control) == expected, "calls disturb each other");
  });
}

// As Ctrl-C does: a flag that is set elsewhere while calls are at work.
void stops_at_a_flag(const Scene& scene, std::chrono::milliseconds after) {
  std::atomic<bool> is_asked{false};
  std::thread asking([&] {
    std::this_thread::sleep_for(after);
    is_asked = true;
  });
  std::atomic<int> n_stopped{0};
  in_threads(3, [&](int t) {
    RunControl control(
        [&] {
          if (is_asked) throw Stopped{};
        },
        {});
    try {
      for (std::size_t k = static_cast<std::size_t>(t);; ++k) {
        kernels()[k % kernels().size()].run(scene, 2, control);
      }
    } catch (const Stopped&) {
      ++n_stopped;
    }
  });
  asking.join();
  require(n_stopped == 3, "a call went on");
}

void instruction_sets_do_not_show(const Scene& scene) {
  RunControl control;
  const std::string expected = joined(scene, Simd::kPortable, 1, control);
  for (const Simd simd : available_simd()) {
    require(joined(scene, simd, 3, control) == expected, "instruction sets show");
  }
}

// Threads live as long as one call, so a child has nothing of them and makes its own.
void forked(const Scene& scene) {
  for (const Kernel& kernel : kernels()) {
    RunControl control;
    const std::string& expected = expected_of(kernel, scene);
    const pid_t child = fork();
    if (child == 0) _exit(kernel.run(scene, 3, control) == expected ? 0 : 1);
    int status = 0;
    require(waitpid(child, &status, 0) == child && status == 0, "a child found something else");
  }
}

// -------------------------------------------------------------------------------- all of them

std::vector<Scenario> scenarios(const Scene& scene) {
  std::vector<Scenario> all{
      {"many tasks", many_tasks},
      {"many rounds", many_rounds},
      {"pools without work", pools_without_work},
      {"pools that sleep", pools_that_sleep},
      {"pools in tasks", pools_in_tasks},
      {"exceptions in tasks", exceptions_in_tasks},
      {"exceptions in all tasks", exceptions_in_all_tasks},
      {"interrupts while waiting", interrupts_while_waiting},
      {"instruction sets", [&] { instruction_sets_do_not_show(scene); }},
      {"calls at once", [&] { calls_at_once(scene); }},
      {"a flag, soon", [&] { stops_at_a_flag(scene, std::chrono::milliseconds(5)); }},
      {"a flag, later", [&] { stops_at_a_flag(scene, std::chrono::milliseconds(300)); }},
      {"fork", [&] { forked(scene); }},
  };
  for (const Kernel& kernel : kernels()) {
    const std::string name = kernel.name;
    all.emplace_back(name + ": threads", [&] { threads_do_not_show(kernel, scene); });
    all.emplace_back(name + ": calls at once", [&] { same_calls_at_once(kernel, scene); });
    if (kernel.is_stoppable) {
      all.emplace_back(name + ": stops", [&] { stops_at_any_poll(kernel, scene); });
    }
    if (kernel.is_heard) {
      all.emplace_back(name + ": reports", [&] { stops_when_a_report_throws(kernel, scene); });
    }
  }
  return all;
}

int run_all() {
  const Scene scene;
  int n_failed = 0;
  const std::vector<Scenario> all = scenarios(scene);
  for (const auto& [name, run] : all) {
    try {
      run();
    } catch (const std::exception& error) {
      ++n_failed;
      std::fprintf(stderr, "%s: %s\n", name.c_str(), error.what());
    } catch (...) {
      ++n_failed;
      std::fprintf(stderr, "%s: an exception of no known kind\n", name.c_str());
    }
  }
  std::printf("%zu scenarios, %d failed\n", all.size(), n_failed);
  return n_failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace geoquant

int main() { return geoquant::run_all(); }

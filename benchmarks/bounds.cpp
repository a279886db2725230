// What this machine can do at most: float32 fused multiply-adds, bytes read in order, and reads at
// random places, by 1 and 2 threads. Prints one "name threads value" per line, in units per second.
//
// Compiled and run by benchmarks/bounds.py; no part of the package.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Best rate of several rounds; `work` does a fixed amount of something and returns how much.
template <typename Work>
double best_rate(int n_threads, Work work) {
  double best = 0.0;
  for (int round = 0; round < 5; ++round) {
    std::vector<double> amounts(n_threads, 0.0);
    std::vector<std::thread> threads;
    const double begin = now();
    for (int t = 0; t < n_threads; ++t) threads.emplace_back([&, t] { amounts[t] = work(t); });
    for (std::thread& thread : threads) thread.join();
    const double rate = std::accumulate(amounts.begin(), amounts.end(), 0.0) / (now() - begin);
    if (rate > best) best = rate;
  }
  return best;
}

volatile float sink;  // so that nothing that is timed is optimised away
volatile std::uint64_t sink_bits;

constexpr long kSteps = 20'000'000;

// Independent chains, as many as hide the latency of an addition after a multiplication.
double multiply_add_portable(int) {
  float a[32];
  for (int i = 0; i < 32; ++i) a[i] = 1.0F + static_cast<float>(i);
  for (long s = 0; s < kSteps / 8; ++s)
    for (int i = 0; i < 32; ++i) a[i] = a[i] * 0.999F + 0.001F;
  for (float x : a) sink = x;
  return 32.0 * (kSteps / 8);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) double multiply_add_avx2(int) {
  const __m256 m = _mm256_set1_ps(0.999F), c = _mm256_set1_ps(0.001F);
  __m256 a0 = c, a1 = m, a2 = c, a3 = m, a4 = c, a5 = m, a6 = c, a7 = m, a8 = c, a9 = m, a10 = c,
         a11 = m;
  for (long s = 0; s < kSteps; ++s) {
    a0 = _mm256_fmadd_ps(a0, m, c), a1 = _mm256_fmadd_ps(a1, m, c), a2 = _mm256_fmadd_ps(a2, m, c);
    a3 = _mm256_fmadd_ps(a3, m, c), a4 = _mm256_fmadd_ps(a4, m, c), a5 = _mm256_fmadd_ps(a5, m, c);
    a6 = _mm256_fmadd_ps(a6, m, c), a7 = _mm256_fmadd_ps(a7, m, c), a8 = _mm256_fmadd_ps(a8, m, c);
    a9 = _mm256_fmadd_ps(a9, m, c), a10 = _mm256_fmadd_ps(a10, m, c);
    a11 = _mm256_fmadd_ps(a11, m, c);
  }
  a0 = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9 + a10 + a11;
  sink = a0[0];
  return 12.0 * 8.0 * kSteps;
}

__attribute__((target("avx512f"))) double multiply_add_avx512(int) {
  const __m512 m = _mm512_set1_ps(0.999F), c = _mm512_set1_ps(0.001F);
  __m512 a0 = c, a1 = m, a2 = c, a3 = m, a4 = c, a5 = m, a6 = c, a7 = m, a8 = c, a9 = m, a10 = c,
         a11 = m;
  for (long s = 0; s < kSteps; ++s) {
    a0 = _mm512_fmadd_ps(a0, m, c), a1 = _mm512_fmadd_ps(a1, m, c), a2 = _mm512_fmadd_ps(a2, m, c);
    a3 = _mm512_fmadd_ps(a3, m, c), a4 = _mm512_fmadd_ps(a4, m, c), a5 = _mm512_fmadd_ps(a5, m, c);
    a6 = _mm512_fmadd_ps(a6, m, c), a7 = _mm512_fmadd_ps(a7, m, c), a8 = _mm512_fmadd_ps(a8, m, c);
    a9 = _mm512_fmadd_ps(a9, m, c), a10 = _mm512_fmadd_ps(a10, m, c);
    a11 = _mm512_fmadd_ps(a11, m, c);
  }
  a0 = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9 + a10 + a11;
  sink = a0[0];
  return 12.0 * 16.0 * kSteps;
}
#endif

// Bytes per second in order from a buffer that is read so many times over.
double read_rate(int n_threads, std::size_t n_bytes, int n_rounds) {
  const std::vector<std::uint64_t> buffer(n_bytes / 8, 1);
  const std::size_t share = buffer.size() / n_threads;
  return best_rate(n_threads, [&](int t) {
    const std::uint64_t* p = buffer.data() + t * share;
    std::uint64_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (int round = 0; round < n_rounds; ++round) {
      for (std::size_t i = 0; i + 32 <= share; i += 32)
        for (std::size_t j = 0; j < 32; j += 4)
          s0 += p[i + j], s1 += p[i + j + 1], s2 += p[i + j + 2], s3 += p[i + j + 3];
      s0 ^= static_cast<std::uint64_t>(round);
    }
    sink_bits = s0 ^ s1 ^ s2 ^ s3;
    return static_cast<double>(share * 8) * n_rounds;
  });
}

// A random cycle through `n_bytes`, one line of 64 bytes at a time.
std::vector<std::uint32_t> cycle(std::size_t n_bytes) {
  const std::size_t n = n_bytes / 64;
  std::vector<std::uint32_t> order(n), next(n * 16);
  std::iota(order.begin(), order.end(), 0U);
  std::mt19937 random(0);
  for (std::size_t i = n - 1; i > 0; --i) std::swap(order[i], order[random() % (i + 1)]);
  for (std::size_t i = 0; i < n; ++i) next[order[i] * 16] = order[(i + 1) % n] * 16;
  return next;
}

// Reads per second when each has to wait for the one before.
double chained_reads(std::size_t n_bytes, int n_threads) {
  const std::vector<std::uint32_t> next = cycle(n_bytes);
  return best_rate(n_threads, [&](int t) {
    std::uint32_t at = next[static_cast<std::uint32_t>(t) * 16];
    constexpr long kReads = 2'000'000;
    for (long i = 0; i < kReads; ++i) at = next[at];
    sink_bits = at;
    return static_cast<double>(kReads);
  });
}

// Reads per second at random places that are known beforehand.
double free_reads(std::size_t n_bytes, int n_threads) {
  const std::vector<std::uint64_t> table(n_bytes / 8, 1);
  std::vector<std::uint32_t> places(1 << 20);
  std::mt19937 random(0);
  for (std::uint32_t& place : places) place = random() % table.size();
  return best_rate(n_threads, [&](int t) {
    std::uint64_t sum = 0;
    for (int round = 0; round < 4; ++round)
      for (const std::uint32_t place : places) sum += table[place];
    sink_bits = sum + t;
    return 4.0 * static_cast<double>(places.size());
  });
}

}  // namespace

int main() {
  for (int threads = 1; threads <= 2; ++threads) {
    const auto print = [threads](const char* name, double rate) {
      std::printf("%s %d %.6g\n", name, threads, rate);
    };
    print("fma_portable", best_rate(threads, multiply_add_portable));
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
      print("fma_avx2", best_rate(threads, multiply_add_avx2));
    if (__builtin_cpu_supports("avx512f"))
      print("fma_avx512", best_rate(threads, multiply_add_avx512));
#endif
    print("bytes_read", read_rate(threads, std::size_t{512} << 20, 1));
    print("bytes_read_from_cache", read_rate(threads, std::size_t{8} << 20, 64));
    for (const int kib : {32, 512, 4096, 65536, 262144}) {
      char name[64];
      std::snprintf(name, sizeof name, "chained_reads_%d_kib", kib);
      print(name, chained_reads(std::size_t{1024} * kib, threads));
      std::snprintf(name, sizeof name, "free_reads_%d_kib", kib);
      print(name, free_reads(std::size_t{1024} * kib, threads));
    }
  }
}

#include "team.h"

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ps {
namespace {

inline void pause() {
#if defined(__x86_64__)
    _mm_pause();
#else
    std::this_thread::yield();
#endif
}

void pin(int cpu) {
#if defined(__linux__)
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
#else
    (void)cpu;
#endif
}

struct State {
    int threads = 1;
    std::chrono::microseconds spin{0};
    std::vector<std::thread> workers;
    std::atomic<uint64_t> epoch{0};
    std::atomic<int> pending{0};
    std::atomic<bool> ending{false};
    std::atomic<int> sleepers{0};
    std::mutex mutex;
    std::condition_variable wake;
    Job job = nullptr;
    void* context = nullptr;
};

// Never destroyed: at the end of the process the workers may still wait on it.
State* g_state = new State;

// Wait until the epoch is no longer `seen`: spin first, for the next call usually follows at once.
void await(State& s, uint64_t seen) {
    auto until = std::chrono::steady_clock::now() + s.spin;
    for (int round = 0;; ++round) {
        if (s.epoch.load(std::memory_order_acquire) != seen) return;
        pause();
        if (round % 64 == 63 && std::chrono::steady_clock::now() > until) break;
    }
    std::unique_lock<std::mutex> lock(s.mutex);
    s.sleepers.fetch_add(1);
    s.wake.wait(lock, [&] { return s.epoch.load() != seen; });
    s.sleepers.fetch_sub(1);
}

void work(State& s, int thread, int cpu) {
    if (cpu >= 0) pin(cpu);
    for (uint64_t seen = 0;;) {
        await(s, seen);
        seen = s.epoch.load(std::memory_order_acquire);
        if (s.ending.load()) return;
        s.job(s.context, thread, s.threads);
        s.pending.fetch_sub(1, std::memory_order_release);
    }
}

void announce(State& s) {
    s.epoch.fetch_add(1);
    if (s.sleepers.load() > 0) {
        std::lock_guard<std::mutex> lock(s.mutex);
        s.wake.notify_all();
    }
}

}  // namespace

int Team::start(int threads, const int32_t* cpus, int spin_us) {
    stop();
    g_state = new State;
    State& s = *g_state;
    s.threads = threads < 1 ? 1 : threads;
    s.spin = std::chrono::microseconds(spin_us);
    if (cpus != nullptr) pin(cpus[0]);
    for (int t = 1; t < s.threads; ++t)
        s.workers.emplace_back([&s, t, cpu = cpus ? cpus[t] : -1] { work(s, t, cpu); });
    return s.threads;
}

void Team::stop() {
    State& s = *g_state;
    if (s.workers.empty()) return;
    s.ending.store(true);
    announce(s);
    for (auto& worker : s.workers) worker.join();
    s.workers.clear();
    s.threads = 1;
}

int Team::size() { return g_state->threads; }

void Team::run(Job job, void* context) {
    State& s = *g_state;
    if (s.threads == 1) {
        job(context, 0, 1);
        return;
    }
    s.job = job;
    s.context = context;
    s.pending.store(s.threads - 1, std::memory_order_relaxed);
    announce(s);
    job(context, 0, s.threads);
    // A worker that lost its core to another program must be able to get it back.
    for (int round = 0; s.pending.load(std::memory_order_acquire) > 0; ++round) {
        if (round < 4096) pause();
        else std::this_thread::yield();
    }
}

void* Team::scratch(std::size_t bytes) {
    static Scratch held;
    return held.at_least(bytes);
}

void* Scratch::at_least(std::size_t bytes) {
#if defined(PS_EXACT_SCRATCH)
    constexpr bool exact = true;
#else
    constexpr bool exact = false;
#endif
    if (exact ? bytes != size_ : bytes > size_) {
        size_ = exact ? bytes : (bytes + 4095) / 4096 * 4096;
        void* found = nullptr;
        held_.reset(posix_memalign(&found, 64, size_) == 0 ? found : nullptr);
    }
    if (exact && held_ != nullptr) std::memset(held_.get(), 0xff, size_);
    return held_.get();
}

}  // namespace ps

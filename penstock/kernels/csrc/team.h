// The compute threads. One call at a time runs on all of them; between calls they spin a while, then sleep.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace ps {

// Work of one call: runs on every thread with its number.
using Job = void (*)(void* context, int thread, int threads);

// Memory that is kept from call to call and grows, aligned to 64 bytes; its contents do not outlive the next call.
// With PS_EXACT_SCRATCH (`make sanitize`) it ends where the call's need ends and begins as NaN: who goes beyond, or
// reads what nobody wrote, is seen.
class Scratch {
  public:
    void* at_least(std::size_t bytes);

  private:
    std::unique_ptr<void, decltype(&std::free)> held_{nullptr, &std::free};
    std::size_t size_ = 0;
};

class Team {
  public:
    // Start threads - 1 workers; the caller of `run` is thread 0. `cpus` pins them, null leaves them free.
    static int start(int threads, const int32_t* cpus, int spin_us);
    static void stop();
    static int size();
    // Run a job on all threads and wait for it. Not reentrant; one caller at a time.
    static void run(Job job, void* context);
    // Scratch of the call in progress.
    static void* scratch(std::size_t bytes);
};

// Run `body(item, thread)` for items 0 .. count - 1, each by whichever thread is free.
template <class Body>
void share(int64_t count, const Body& body);

// Run `body(row)` for rows 0 .. rows - 1, several in a go: few rows are not worth waking anybody for.
template <class Body>
void share_rows(int64_t rows, int64_t bytes_per_row, const Body& body) {
    int64_t at_once = 1 + 16384 / (bytes_per_row + 1);
    share((rows + at_once - 1) / at_once, [&](int64_t item, int) {
        for (int64_t r = item * at_once; r < rows && r < (item + 1) * at_once; ++r) body(r);
    });
}

}  // namespace ps

#include <atomic>

namespace ps {

template <class Body>
void share(int64_t count, const Body& body) {
    struct Context {
        const Body* body;
        int64_t count;
        std::atomic<int64_t> next{0};
    } context{&body, count};
    if (count <= 1 || Team::size() == 1) {
        for (int64_t item = 0; item < count; ++item) body(item, 0);
        return;
    }
    Team::run(
        [](void* raw, int thread, int) {
            auto* c = static_cast<Context*>(raw);
            for (int64_t item; (item = c->next.fetch_add(1, std::memory_order_relaxed)) < c->count;)
                (*c->body)(item, thread);
        },
        &context);
}

}  // namespace ps

// Which instruction sets there are, and which one the kernels use.
#pragma once

namespace ps {

enum Isa : int { kNone = 0, kAvx2 = 1, kAvx512 = 2, kAvx512Bf16 = 3 };

// The best that this processor and system can run.
Isa best_isa();

// The one in use: the best, unless a weaker one was forced (tests, comparisons).
Isa current_isa();
Isa force_isa(int wanted);

}  // namespace ps

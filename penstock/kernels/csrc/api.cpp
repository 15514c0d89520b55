// What of the C interface is neither product nor row work.
#include "api.h"

#include "isa.h"
#include "team.h"
#include "weights.h"

using namespace ps;

extern "C" {

int32_t ps_isa_best() { return best_isa(); }
int32_t ps_isa_current() { return current_isa(); }
int32_t ps_isa_force(int32_t isa) { return force_isa(isa); }

int32_t ps_team_start(int32_t threads, const int32_t* cpus, int32_t spin_us) {
    return Team::start(threads, cpus, spin_us);
}
void ps_team_stop() { Team::stop(); }

void ps_source_rows(int32_t gated, int64_t n, int64_t* rows) {
    for (int64_t column = 0; column < padded_n(gated, n); ++column) rows[column] = source_row(gated, n, column);
}

}  // extern "C"

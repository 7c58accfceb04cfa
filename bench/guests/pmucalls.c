/* The cost of SBI calls: bind an event to a counter, start it, stop it with RESET, over and over. */
#include "guest.h"

#define ROUNDS 50000UL

int main(u64 hart_id, const void *device_tree)
{
    u64 available, failures = 0;

    if (!have_pmu())
        return 0;
    available = claim_counters();
    for (u64 i = 0; i < ROUNDS; i++) {
        struct sbi_ret ret = pmu_config(available, CFG_CLEAR_VALUE, EVENT_DTLB_READ_MISSES);
        u64 mask = 1UL << (ret.value & 63);

        failures += ret.error != 0;
        failures += pmu_start(mask, 0).error != 0;
        failures += pmu_stop(mask, STOP_RESET).error != 0;
    }
    print("pmucalls %u rounds, %u failures\n", ROUNDS, failures);
    return failures != 0;
}

/*
 * The cost of one exit alone: a call whose answer may change, over and over and, in the guests that include this one, one more exit
 * after each. What their loop takes longer is that exit's.
 */
#include "guest.h"

#define ROUNDS 100000UL
#ifndef NAME
#define NAME "lone"
#define ALONE 0
#endif

int main(u64 hart_id, const void *device_tree)
{
    u64 sum = 0;

    if (!have_pmu())
        return 0;
    claim_counters();
    if (pmu_config(1UL << 2, CFG_CLEAR_VALUE, EVENT_INSTRUCTIONS).error || pmu_start(1UL << 2, 0).error)
        return 1;
    for (u64 i = 0; i < ROUNDS; i++) {
        sum += sbi_call(0x52464E43 /* RFENCE */, 0 /* remote_fence_i */, 1, 0, 0, 0, 0).error;
        sum += ALONE;
    }
    print(NAME " %u rounds, %x\n", ROUNDS, sum);
    return 0;
}

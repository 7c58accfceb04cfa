/* The cost of reading a counter: instret, counting, in its CSR, over and over. */
#include "guest.h"

#define ROUNDS 200000UL

int main(u64 hart_id, const void *device_tree)
{
    u64 sum = 0;

    if (!have_pmu())
        return 0;
    claim_counters();
    if (pmu_config(1UL << 2, CFG_CLEAR_VALUE, EVENT_INSTRUCTIONS).error || pmu_start(1UL << 2, 0).error)
        return 1;
    for (u64 i = 0; i < ROUNDS / 8; i++)
        for (u64 j = 0; j < 8; j++)
            sum ^= csr_read("instret");
    print("counterreads %u rounds, %x\n", ROUNDS, sum);
    return 0;
}

/* @NAME@: counts the instructions of a loop, as a driver would. Change it into yours. */
#include "guest.h"

#define ROUNDS 1000UL

int main(u64 hart_id, const void *device_tree)
{
    struct sbi_ret ret;
    u64 counters, before, after;

    if (!have_pmu())
        return 0;
    counters = claim_counters();
    ret = sbi_call(SBI_EXT_PMU, SBI_PMU_CONFIG_MATCHING, 0, counters, CFG_CLEAR_VALUE, EVENT_INSTRUCTIONS, 0);
    if (ret.error) {
        print("no counter for instructions: %s\n", sbi_error(ret.error));
        return 1;
    }
    print("counter %u\n", ret.value);
    pmu_start(1UL << ret.value, 0);
    before = counter_value(ret.value);
    loop(ROUNDS);
    after = counter_value(ret.value);
    pmu_stop(1UL << ret.value, STOP_RESET);
    print("%u instructions\n", after - before);
    return 0;
}

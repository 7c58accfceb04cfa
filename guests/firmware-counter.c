/* A firmware counter: counts what the SBI implementation did, here set_timer calls. No hardware is involved. */
#include "guest.h"

#define CALLS 5
#define START 100 /* a firmware counter can start from a value, as a hardware counter can */

static u64 read_and_print(const char *when, u64 counter)
{
    struct sbi_ret ret = pmu_fw_read(counter);

    if (ret.error)
        print("%s: %s\n", when, sbi_error(ret.error));
    else
        print("%s: %u\n", when, ret.value);
    return ret.value;
}

int main(u64 hart_id, const void *device_tree)
{
    struct sbi_ret ret;
    u64 counter, counted, after_stop;

    if (!have_pmu())
        return 0;
    ret = pmu_config(claim_counters(), CFG_CLEAR_VALUE, EVENT_FW_SET_TIMER);
    if (ret.error) {
        print("set_timer events refused: %s\n", sbi_error(ret.error));
        return 0;
    }
    counter = ret.value;
    print("set_timer events on counter %u\n", counter);

    ret = pmu_start(1UL << counter, START);
    if (ret.error) {
        print("counter_start: %s\n", sbi_error(ret.error));
        return 1;
    }
    for (int i = 0; i < CALLS; i++)
        sbi_set_timer(~0UL);
    counted = read_and_print("started at 100, after 5 calls", counter);
    pmu_stop(1UL << counter, 0);
    sbi_set_timer(~0UL);
    after_stop = read_and_print("stopped, after one more    ", counter);
    pmu_stop(1UL << counter, STOP_RESET);
    return counted != START + CALLS || after_stop != counted;
}

/*
 * An event that the host may refuse, then life after it.
 *
 * Before Linux 2196c066f138 a refusal by the host's perf ended KVM_RUN at the first config_matching below, and the
 * machine was lost. Since then the guest reads an SBI error and goes on: with a firmware counter, which
 * needs no host event at all, and with cycles.
 */
#include "guest.h"

static void work(void)
{
    for (int i = 0; i < 3; i++)
        sbi_set_timer(~0UL);
    loop(100000);
}

static const struct {
    const char *name;
    u64 event;
} events[] = {
    {"cache-misses", EVENT_CACHE_MISSES},
    {"fw set_timer", EVENT_FW_SET_TIMER},
    {"cycles", EVENT_CYCLES},
};

static int count(const char *name, u64 event, u64 available)
{
    struct sbi_ret ret = pmu_config(available, CFG_CLEAR_VALUE, event);
    u64 counter = ret.value, mask = 1UL << (counter & 63);

    if (ret.error) {
        print("%-14s %s (%d)\n", name, sbi_error(ret.error), ret.error);
        return 0;
    }
    ret = pmu_start(mask, 0);
    if (ret.error) {
        print("%-14s counter_start: %s\n", name, sbi_error(ret.error));
        return 1;
    }
    work();
    ret = pmu_stop(mask, 0);
    if (ret.error) {
        print("%-14s counter_stop: %s\n", name, sbi_error(ret.error));
        return 1;
    }
    print("%-14s %u\n", name, counter_value(counter));
    pmu_stop(mask, STOP_RESET);
    return 0;
}

int main(u64 hart_id, const void *device_tree)
{
    int failures = 0;
    u64 available;

    if (!have_pmu())
        return 0;
    available = claim_counters();
    for (unsigned i = 0; i < sizeof(events) / sizeof(events[0]); i++)
        failures += count(events[i].name, events[i].event, available);
    print("the guest finished\n");
    return failures;
}

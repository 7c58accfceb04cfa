/*
 * The normal case: bind cycles and instructions to counters, run a loop of known length, read the counts.
 *
 * A window around the loop counts the calls that open and close it, too, and from where on a counter counts is
 * not the same in all kernels. So there are two windows that differ in the loop alone, each read once, and
 * the difference is the loop.
 */
#include "guest.h"

#define ITERATIONS 1000000UL /* of two instructions */

static const struct {
    const char *name;
    u64 event;
} events[] = {{"cycles", EVENT_CYCLES}, {"instructions", EVENT_INSTRUCTIONS}};

#define N_EVENTS (sizeof(events) / sizeof(events[0]))

static struct sbi_ret bound[N_EVENTS]; /* counter_config_matching's answer for each event */

/* Count `iterations` of the loop. 0, or 1 after a line that says what failed. */
static int count(u64 available, u64 iterations, u64 *counts)
{
    u64 mask = 0;
    struct sbi_ret ret;

    for (unsigned i = 0; i < N_EVENTS; i++) {
        bound[i] = pmu_config(available, CFG_CLEAR_VALUE, events[i].event);
        if (!bound[i].error)
            mask |= 1UL << bound[i].value;
    }
    if (!mask)
        return 0;
    ret = pmu_start(mask, 0);
    if (ret.error) {
        print("counter_start: %s\n", sbi_error(ret.error));
        return 1;
    }
    loop(iterations);
    ret = pmu_stop(mask, 0);
    if (ret.error) {
        print("counter_stop: %s\n", sbi_error(ret.error));
        return 1;
    }
    for (unsigned i = 0; i < N_EVENTS; i++)
        counts[i] = bound[i].error ? 0 : counter_value(bound[i].value);
    pmu_stop(mask, STOP_RESET);
    return 0;
}

int main(u64 hart_id, const void *device_tree)
{
    u64 available, one[N_EVENTS], all[N_EVENTS];

    if (!have_pmu())
        return 0;
    available = claim_counters();
    print("%u counters\n", pmu_num_counters().value);
    if (count(available, 1, one) || count(available, ITERATIONS + 1, all))
        return 1;
    for (unsigned i = 0; i < N_EVENTS; i++)
        if (bound[i].error)
            print("%-12s refused: %s\n", events[i].name, sbi_error(bound[i].error));
        else
            print("%-12s on counter %u\n", events[i].name, bound[i].value);
    print("a loop of %u instructions:\n", 2 * ITERATIONS);
    for (unsigned i = 0; i < N_EVENTS; i++)
        if (!bound[i].error)
            print("%12u %s\n", all[i] - one[i], events[i].name);
    return 0;
}

/*
 * The shared page: one counter_stop with TAKE_SNAPSHOT brings the values of a whole set.
 *
 * Slot i of the page is counter (base + i) of that call; the payload always uses base 0, so slot and counter agree.
 */
#include "guest.h"

static struct {
    u64 overflow_bitmap;
    u64 values[64];
    unsigned char reserved[4096 - 65 * 8];
} page __attribute__((aligned(4096)));

static const struct {
    const char *name;
    u64 event;
} events[] = {
    {"cycles", EVENT_CYCLES},
    {"instructions", EVENT_INSTRUCTIONS},
    {"dTLB-load-misses", EVENT_DTLB_READ_MISSES},
};

int main(u64 hart_id, const void *device_tree)
{
    static const char *names[64];
    struct sbi_ret ret;
    u64 available, mask = 0;

    if (!have_pmu())
        return 0;
    ret = pmu_snapshot_set_shmem(&page);
    if (ret.error) {
        print("no snapshot page: %s\n", sbi_error(ret.error));
        return 0;
    }
    available = claim_counters();
    for (unsigned i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        ret = pmu_config(available, CFG_CLEAR_VALUE, events[i].event);
        if (ret.error) {
            print("%-16s %s\n", events[i].name, sbi_error(ret.error));
            continue;
        }
        mask |= 1UL << ret.value;
        names[ret.value & 63] = events[i].name;
    }
    if (!mask)
        return 0;

    ret = pmu_start(mask, 0);
    if (ret.error) {
        print("counter_start: %s\n", sbi_error(ret.error));
        return 1;
    }
    loop(100000);
    ret = pmu_stop(mask, STOP_TAKE_SNAPSHOT);
    if (ret.error) {
        print("counter_stop: %s\n", sbi_error(ret.error));
        return 1;
    }
    print("overflow bitmap %x\n", *(volatile u64 *)&page.overflow_bitmap);
    for (unsigned i = 0; i < 64; i++)
        if (names[i])
            print("slot %2u %12u %s\n", (u64)i, *(volatile u64 *)&page.values[i], names[i]);
    pmu_stop(mask, STOP_RESET);
    return 0;
}

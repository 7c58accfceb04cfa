/*
 * Sampling in small: start the instruction counter at -N, so that it overflows after N instructions, and take the
 * local counter overflow interrupt (LCOFI, 13) that announces it.
 *
 * Which counter overflowed: from the shared page where there is one (a KVM guest has nothing else), else
 * from scountovf.
 */
#include "guest.h"

#define PERIOD 200000UL
#define OVERFLOWS 3

static u64 page[512] __attribute__((aligned(4096)));
static int have_page;
static u64 counter;
static volatile int overflows;

static void on_overflow(u64 code, u64 pc)
{
    struct sbi_ret ret;
    u64 bitmap, count;

    if (code != IRQ_LCOFI) {
        print("interrupt %u, but only %d was enabled\n", code, (long)IRQ_LCOFI);
        finish(1);
    }
    /* Stop first: a request that is cleared while the counter runs may be raised again. */
    ret = pmu_stop(1UL << counter, have_page ? STOP_TAKE_SNAPSHOT : 0);
    if (ret.error) {
        print("counter_stop in the handler: %s\n", sbi_error(ret.error));
        finish(1);
    }
    asm volatile("" ::: "memory");
    bitmap = have_page ? page[0] : csr_read("0xda0"); /* scountovf */
    count = have_page ? page[1 + counter] : counter_value(counter);
    csr_clear("sip", 1UL << IRQ_LCOFI);
    overflows++;
    print("overflow %d at pc %x: bitmap %x, %u past zero\n", (long)overflows, pc, bitmap, count);
    if (!(bitmap >> counter & 1)) {
        print("bit %u of the bitmap is not set\n", counter);
        finish(1);
    }
    if (overflows == OVERFLOWS)
        return;
    ret = pmu_start(1UL << counter, -PERIOD);
    if (ret.error) {
        print("counter_start in the handler: %s\n", sbi_error(ret.error));
        finish(1);
    }
}

int main(u64 hart_id, const void *device_tree)
{
    struct sbi_ret ret;

    if (!have_pmu())
        return 0;
    csr_set("sie", 1UL << IRQ_LCOFI);
    if (!(csr_read("sie") >> IRQ_LCOFI & 1)) {
        print("sie has no bit %d: this hart has no counter overflow interrupt (Sscofpmf)\n", (long)IRQ_LCOFI);
        return 0;
    }
    ret = pmu_snapshot_set_shmem(page);
    have_page = ret.error == 0;
    print("overflow status from %s\n", have_page ? "the snapshot page" : "scountovf");

    ret = pmu_config(claim_counters(), CFG_CLEAR_VALUE, EVENT_INSTRUCTIONS);
    if (ret.error) {
        print("instructions refused: %s\n", sbi_error(ret.error));
        return 0;
    }
    counter = ret.value;
    print("instructions on counter %u, period %u\n", counter, PERIOD);

    interrupt_handler = on_overflow;
    csr_set("sstatus", 1UL << 1); /* SIE */
    ret = pmu_start(1UL << counter, -PERIOD);
    if (ret.error) {
        print("counter_start: %s\n", sbi_error(ret.error));
        return 1;
    }
    for (int i = 0; i < 20 && overflows < OVERFLOWS; i++)
        loop(PERIOD);
    csr_clear("sstatus", 1UL << 1);
    pmu_stop(1UL << counter, STOP_RESET);
    if (overflows < OVERFLOWS) {
        print("%d of %d overflow interrupts came in %u instructions\n", (long)overflows, (long)OVERFLOWS, 40 * PERIOD);
        return 1;
    }
    return 0;
}

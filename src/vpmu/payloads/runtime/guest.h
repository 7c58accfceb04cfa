/* What every payload needs: a console, the counters of the PMU extension, and an end. */
#ifndef GUEST_H
#define GUEST_H

#include "sbi.h"

#define INTERRUPT (1UL << 63)
#define IRQ_LCOFI 13 /* local counter overflow (Sscofpmf) */

#define csr_read(csr) ({ u64 v_; asm volatile("csrr %0, " csr : "=r"(v_)); v_; })
#define csr_set(csr, bits) asm volatile("csrs " csr ", %0" ::"r"((u64)(bits)) : "memory")
#define csr_clear(csr, bits) asm volatile("csrc " csr ", %0" ::"r"((u64)(bits)) : "memory")

/* In start.S. */
u64 read_counter_csr(u64 csr);
void loop(u64 n); /* exactly 2 n instructions */

/* Print to the console: %s string, %d long, %u u64, %x u64 in hexadecimal, %-Ns and %Nu with a width. */
void print(const char *format, ...);

/* The name of an SBI error code, as in the specification. */
const char *sbi_error(long error);

/* Power off: status 0 is SRST reason "none", anything else "system failure". */
void finish(long status) __attribute__((noreturn));

/* 1, or 0 after a line that says that the PMU extension is absent. */
int have_pmu(void);

/*
 * All counters of the PMU as a mask (bit i is counter i), stopped and unbound: firmware may have left some running,
 * and Linux's driver begins in the same way.
 */
u64 claim_counters(void);

/* The value of a counter: by its CSR if it is a hardware counter, by the SBI if it is a firmware counter. */
u64 counter_value(u64 counter);

/* Take over interrupt `code`; the default for interrupts and for every exception is to print it and fail. */
extern void (*interrupt_handler)(u64 code, u64 pc);

int main(u64 hart_id, const void *device_tree);

#endif

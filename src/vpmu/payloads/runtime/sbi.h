/* The SBI calls that the payloads make. Names and numbers: RISC-V SBI specification 3.0. */
#ifndef SBI_H
#define SBI_H

typedef unsigned long u64;

struct sbi_ret {
    long error;
    u64 value;
};

enum {
    SBI_EXT_BASE = 0x10,
    SBI_EXT_TIME = 0x54494D45,
    SBI_EXT_SRST = 0x53525354,
    SBI_EXT_PMU = 0x504D55,
    SBI_EXT_DBCN = 0x4442434E,
};

enum { SBI_BASE_SPEC_VERSION, SBI_BASE_IMPL_ID, SBI_BASE_IMPL_VERSION, SBI_BASE_PROBE };
enum { SBI_TIME_SET_TIMER };
enum { SBI_DBCN_WRITE };
enum { SBI_SRST_RESET };

enum {
    SBI_PMU_NUM_COUNTERS,
    SBI_PMU_COUNTER_GET_INFO,
    SBI_PMU_CONFIG_MATCHING,
    SBI_PMU_START,
    SBI_PMU_STOP,
    SBI_PMU_FW_READ,
    SBI_PMU_FW_READ_HI,
    SBI_PMU_SNAPSHOT_SET_SHMEM,
};

/* event_idx: bits 19:16 type, bits 15:0 code (chapter 11.1). */
enum {
    EVENT_CYCLES = 0x00001,
    EVENT_INSTRUCTIONS = 0x00002,
    EVENT_CACHE_MISSES = 0x00004,
    EVENT_DTLB_READ_MISSES = 0x10019,
    EVENT_FW_SET_TIMER = 0xf0005,
};

enum { CFG_CLEAR_VALUE = 1 << 1 };
enum { START_SET_INIT_VALUE = 1 << 0 };
enum { STOP_RESET = 1 << 0, STOP_TAKE_SNAPSHOT = 1 << 1 };

static inline struct sbi_ret sbi_call(u64 extension, u64 function, u64 arg0, u64 arg1, u64 arg2, u64 arg3,
                                      u64 arg4)
{
    register u64 a0 asm("a0") = arg0;
    register u64 a1 asm("a1") = arg1;
    register u64 a2 asm("a2") = arg2;
    register u64 a3 asm("a3") = arg3;
    register u64 a4 asm("a4") = arg4;
    register u64 a6 asm("a6") = function;
    register u64 a7 asm("a7") = extension;

    asm volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a3), "r"(a4), "r"(a6), "r"(a7) : "memory");
    return (struct sbi_ret){(long)a0, a1};
}

static inline u64 sbi_base(u64 function)
{
    return sbi_call(SBI_EXT_BASE, function, 0, 0, 0, 0, 0).value;
}

static inline int sbi_has(u64 extension)
{
    struct sbi_ret ret = sbi_call(SBI_EXT_BASE, SBI_BASE_PROBE, extension, 0, 0, 0, 0);

    return ret.error == 0 && ret.value != 0;
}

static inline struct sbi_ret sbi_set_timer(u64 time)
{
    return sbi_call(SBI_EXT_TIME, SBI_TIME_SET_TIMER, time, 0, 0, 0, 0);
}

/* PMU. A set of counters is a base and a mask; these calls name one counter, or all of `mask` from 0. */
static inline struct sbi_ret pmu_num_counters(void)
{
    return sbi_call(SBI_EXT_PMU, SBI_PMU_NUM_COUNTERS, 0, 0, 0, 0, 0);
}

static inline struct sbi_ret pmu_counter_info(u64 counter)
{
    return sbi_call(SBI_EXT_PMU, SBI_PMU_COUNTER_GET_INFO, counter, 0, 0, 0, 0);
}

static inline struct sbi_ret pmu_config(u64 mask, u64 flags, u64 event)
{
    return sbi_call(SBI_EXT_PMU, SBI_PMU_CONFIG_MATCHING, 0, mask, flags, event, 0);
}

static inline struct sbi_ret pmu_start(u64 mask, u64 initial)
{
    return sbi_call(SBI_EXT_PMU, SBI_PMU_START, 0, mask, START_SET_INIT_VALUE, initial, 0);
}

static inline struct sbi_ret pmu_stop(u64 mask, u64 flags)
{
    return sbi_call(SBI_EXT_PMU, SBI_PMU_STOP, 0, mask, flags, 0, 0);
}

static inline struct sbi_ret pmu_fw_read(u64 counter)
{
    return sbi_call(SBI_EXT_PMU, SBI_PMU_FW_READ, counter, 0, 0, 0, 0);
}

static inline struct sbi_ret pmu_snapshot_set_shmem(void *page)
{
    return sbi_call(SBI_EXT_PMU, SBI_PMU_SNAPSHOT_SET_SHMEM, (u64)page, 0, 0, 0, 0);
}

#endif

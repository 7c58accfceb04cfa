/* Console, PMU helpers, traps and the end of a payload. See guest.h. */
#include <stdarg.h>

#include "guest.h"

/* ns16550a at the address of QEMU's virt machine; used where the SBI has no debug console. */
#define UART ((volatile unsigned char *)0x10000000)
#define UART_THR 0
#define UART_LSR 5
#define UART_LSR_THRE 0x20

void (*interrupt_handler)(u64 code, u64 pc);

static char line[256];
static unsigned line_length;

static void flush(void)
{
    static int debug_console = -1;
    unsigned sent = 0;

    if (debug_console < 0)
        debug_console = sbi_has(SBI_EXT_DBCN);
    while (debug_console && sent < line_length) {
        struct sbi_ret ret = sbi_call(SBI_EXT_DBCN, SBI_DBCN_WRITE, line_length - sent, (u64)line + sent, 0, 0, 0);

        if (ret.error || !ret.value) /* then the serial port gets the rest */
            debug_console = 0;
        else
            sent += ret.value;
    }
    for (; sent < line_length; sent++) {
        for (int patience = 100000; !(UART[UART_LSR] & UART_LSR_THRE) && patience > 0; patience--)
            ;
        UART[UART_THR] = line[sent];
    }
    line_length = 0;
}

static void put(char c)
{
    line[line_length++] = c;
    if (c == '\n' || line_length == sizeof(line))
        flush();
}

static void put_number(u64 value, unsigned base, unsigned width)
{
    char digits[20];
    unsigned n = 0;

    do {
        digits[n++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    for (; width > n; width--)
        put(' ');
    while (n)
        put(digits[--n]);
}

void print(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    for (; *format; format++) {
        unsigned width = 0;

        if (*format != '%') {
            put(*format);
            continue;
        }
        format++;
        if (*format == '-') /* strings are always flush left */
            format++;
        for (; *format >= '0' && *format <= '9'; format++)
            width = width * 10 + (unsigned)(*format - '0');
        switch (*format) {
        case 's': {
            const char *s = va_arg(args, const char *);

            for (; *s; s++, width -= width > 0)
                put(*s);
            for (; width; width--)
                put(' ');
            break;
        }
        case 'd': {
            long value = va_arg(args, long);

            if (value < 0)
                put('-');
            put_number(value < 0 ? -(u64)value : (u64)value, 10, width);
            break;
        }
        case 'u':
            put_number(va_arg(args, u64), 10, width);
            break;
        case 'x':
            put('0');
            put('x');
            put_number(va_arg(args, u64), 16, width);
            break;
        default:
            put(*format);
        }
    }
    va_end(args);
}

const char *sbi_error(long error)
{
    static const char *const names[] = {
        "SBI_SUCCESS",           "SBI_ERR_FAILED",          "SBI_ERR_NOT_SUPPORTED",
        "SBI_ERR_INVALID_PARAM", "SBI_ERR_DENIED",          "SBI_ERR_INVALID_ADDRESS",
        "SBI_ERR_ALREADY_AVAILABLE", "SBI_ERR_ALREADY_STARTED", "SBI_ERR_ALREADY_STOPPED",
        "SBI_ERR_NO_SHMEM",      "SBI_ERR_INVALID_STATE",   "SBI_ERR_BAD_RANGE",
        "SBI_ERR_TIMEOUT",       "SBI_ERR_IO",              "SBI_ERR_DENIED_LOCKED",
    };

    if (error > 0 || error <= -(long)(sizeof(names) / sizeof(names[0])))
        return "an unknown SBI error";
    return names[-error];
}

void finish(long status)
{
    enum { SHUTDOWN = 0, REASON_NONE = 0, REASON_FAILURE = 1 };

    if (line_length)
        flush();
    sbi_call(SBI_EXT_SRST, SBI_SRST_RESET, SHUTDOWN, status ? REASON_FAILURE : REASON_NONE, 0, 0, 0);
    for (;;)
        asm volatile("wfi");
}

int have_pmu(void)
{
    if (sbi_has(SBI_EXT_PMU))
        return 1;
    print("no SBI PMU extension: nothing to count with\n");
    return 0;
}

u64 claim_counters(void)
{
    u64 n = pmu_num_counters().value;
    u64 mask = 0;

    /* Indices may have holes: KVM has no counter 1 (`time` is not a counter) and says so with an error. */
    for (u64 i = 0; i < n && i < 64; i++)
        if (pmu_counter_info(i).error == 0)
            mask |= 1UL << i;
    pmu_stop(mask, STOP_RESET);
    return mask;
}

u64 counter_value(u64 counter)
{
    u64 info = pmu_counter_info(counter).value;

    return (info >> 63) ? pmu_fw_read(counter).value : read_counter_csr(info & 0xfff);
}

u64 handle_trap(u64 cause, u64 pc, u64 value)
{
    if ((cause & INTERRUPT) && interrupt_handler) {
        interrupt_handler(cause & ~INTERRUPT, pc);
        return pc;
    }
    print("unexpected %s %u at pc %x, stval %x\n", cause & INTERRUPT ? "interrupt" : "exception",
          cause & ~INTERRUPT, pc, value);
    finish(1);
}

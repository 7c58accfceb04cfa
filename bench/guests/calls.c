/* Calls and returns: recursive Fibonacci, and calls through a table of functions. */
#include "guest.h"

#define N 35
#define INDIRECT_CALLS 24000000UL

static __attribute__((noinline)) u64 fibonacci(u64 n)
{
    u64 second;

    if (n < 2)
        return n;
    second = fibonacci(n - 2);
    asm volatile("" : "+r"(second)); /* keep both calls: a compiler would make one of them a loop */
    return fibonacci(n - 1) + second;
}

static __attribute__((noinline)) u64 add(u64 x) { return x + 7; }
static __attribute__((noinline)) u64 mix(u64 x) { return x ^ x >> 9; }
static __attribute__((noinline)) u64 turn(u64 x) { return x << 5 | x >> 59; }
static __attribute__((noinline)) u64 scale(u64 x) { return x * 5; }

static u64 (*const volatile functions[])(u64) = {add, mix, turn, scale};

int main(u64 hart_id, const void *device_tree)
{
    u64 sum = fibonacci(N);

    for (u64 i = 0; i < INDIRECT_CALLS; i++)
        sum = functions[(sum ^ i) & 3](sum);
    print("calls %x\n", sum);
    return 0;
}

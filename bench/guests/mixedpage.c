/* Code and the data that it writes share a page, as in small programs without an operating system. */
#include "guest.h"

#define ROUNDS 6000000UL

__attribute__((section(".text.data"), aligned(64))) static u64 cells[64] = {1};

static __attribute__((noinline)) u64 walk(u64 rounds)
{
    u64 at = 0, sum = 0;

    for (u64 i = 0; i < rounds; i++) {
        cells[at] += i ^ sum;
        sum += cells[at & 31];
        at = (at * 5 + 1) & 63;
    }
    return sum;
}

int main(u64 hart_id, const void *device_tree)
{
    print("mixedpage %u\n", walk(ROUNDS));
    return 0;
}

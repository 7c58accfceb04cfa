/* Register arithmetic only: 64-bit xorshift, multiplications and 32-bit operations. No memory, few branches. */
#include "guest.h"

#define ROUNDS 36000000UL

int main(u64 hart_id, const void *device_tree)
{
    u64 x = 0x9e3779b97f4a7c15, sum = 0;
    unsigned w = 1;

    for (u64 i = 0; i < ROUNDS; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        w = w * 1664525U + 1013904223U;
        sum += (x * 0x2545f4914f6cdd1d) >> (w & 15);
        sum = (sum << 1 | sum >> 63) + (w ^ (unsigned)x);
    }
    print("alu %x\n", sum);
    return 0;
}

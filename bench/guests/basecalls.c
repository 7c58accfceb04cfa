/* The least that an SBI call costs: the version of the specification, over and over. */
#include "guest.h"

#define ROUNDS 200000UL

int main(u64 hart_id, const void *device_tree)
{
    u64 sum = 0;

    for (u64 i = 0; i < ROUNDS; i++)
        sum += sbi_base(0);
    print("basecalls %u rounds, %x\n", ROUNDS, sum);
    return 0;
}

/* Memory: copies of a block that fits no first-level cache, byte sums, and a chase of pointers in random order. */
#include "guest.h"

#define BLOCK (256 * 1024UL)
#define COPIES 800
#define BYTE_SUMS 80
#define NODES 16384UL /* 64 bytes each */
#define STEPS 48000000UL

struct node {
    struct node *next;
    u64 value;
    u64 padding[6];
};

static u64 source[BLOCK / 8], target[BLOCK / 8];
static struct node nodes[NODES];
static unsigned order[NODES];

static u64 random_number(void)
{
    static u64 state = 88172645463325252UL;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static u64 copy_and_sum(void)
{
    u64 sum = 0;

    for (u64 i = 0; i < BLOCK / 8; i++)
        source[i] = random_number();
    for (int round = 0; round < COPIES; round++) {
        for (u64 i = 0; i < BLOCK / 8; i++)
            ((volatile u64 *)target)[i] = source[i];
        source[round] += target[BLOCK / 8 - 1 - (u64)round];
        sum += source[round];
    }
    for (int round = 0; round < BYTE_SUMS; round++) {
        const volatile unsigned char *bytes = (const volatile unsigned char *)target;

        for (u64 i = 0; i < BLOCK; i++)
            sum += bytes[i];
    }
    return sum;
}

/* One cycle through all nodes, in an order that no prefetcher guesses (Sattolo's shuffle). */
static u64 chase(void)
{
    struct node *node = nodes;
    u64 sum = 0;

    for (unsigned i = 0; i < NODES; i++)
        order[i] = i;
    for (u64 i = NODES - 1; i > 0; i--) {
        u64 j = random_number() % i;
        unsigned kept = order[i];

        order[i] = order[j];
        order[j] = kept;
    }
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].next = &nodes[order[i]];
        nodes[i].value = random_number();
    }
    for (u64 i = 0; i < STEPS; i++) {
        sum += node->value;
        node = node->next;
    }
    return sum;
}

int main(u64 hart_id, const void *device_tree)
{
    u64 sum = copy_and_sum();

    sum ^= chase();
    print("memory %x\n", sum);
    return 0;
}

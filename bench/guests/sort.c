/* Sorting: Hoare's quicksort with a comparison through a pointer, and a heap; branches that nobody predicts. */
#include "guest.h"

#define COUNT 60000
#define ROUNDS 80

typedef long (*compare)(const u64 *, const u64 *);

static u64 values[COUNT];

static long ascending(const u64 *a, const u64 *b) { return *a < *b ? -1 : *a > *b; }

static u64 random_number(void)
{
    static u64 state = 88172645463325252UL;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void exchange(u64 *a, u64 *b)
{
    u64 kept = *a;

    *a = *b;
    *b = kept;
}

static void quicksort(u64 *first, u64 *last, compare order)
{
    while (first < last) {
        u64 pivot = first[(last - first) / 2], *left = first, *right = last;

        while (left <= right) {
            while (order(left, &pivot) < 0)
                left++;
            while (order(right, &pivot) > 0)
                right--;
            if (left <= right)
                exchange(left++, right--);
        }
        if (right - first < last - left) {
            quicksort(first, right, order);
            first = left;
        } else {
            quicksort(left, last, order);
            last = right;
        }
    }
}

static void sink(u64 root, u64 count)
{
    for (u64 child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && values[child] < values[child + 1])
            child++;
        if (values[root] >= values[child])
            return;
        exchange(&values[root], &values[child]);
    }
}

static void heapsort(void)
{
    for (u64 root = COUNT / 2; root-- > 0;)
        sink(root, COUNT);
    for (u64 count = COUNT; count-- > 1;) {
        exchange(&values[0], &values[count]);
        sink(0, count);
    }
}

int main(u64 hart_id, const void *device_tree)
{
    u64 sum = 0;

    for (int round = 0; round < ROUNDS; round++) {
        for (u64 i = 0; i < COUNT; i++)
            values[i] = random_number();
        if (round & 1)
            heapsort();
        else
            quicksort(values, values + COUNT - 1, ascending);
        for (u64 i = 1; i < COUNT; i++)
            sum += (values[i - 1] > values[i]) + (values[i] & 0xff);
    }
    print("sort %u\n", sum);
    return 0;
}

/* A product of matrices whose inner loop is unrolled 48 times: one block of some 150 instructions, longer than what is
 * compiled at a time, and on two pages. */
#include "guest.h"

#define N 144
#define ROUNDS 14
#define UNROLLED 48

static double a[N][N], b[N][N], c[N][N];

/* Not aligned to a page on purpose: where the linker puts it depends on what stands before. */
static __attribute__((noinline)) double row_times_column(const double *row, const double *column)
{
    double sum = 0;

    for (int k = 0; k < N; k += UNROLLED)
#pragma GCC unroll 48
        for (int i = 0; i < UNROLLED; i++)
            sum = __builtin_fma(row[k + i], column[(u64)(k + i) * N], sum);
    return sum;
}

int main(u64 hart_id, const void *device_tree)
{
    for (int i = 0; i < N; i++)
        for (int k = 0; k < N; k++) {
            a[i][k] = (i * 3 + k) % 17 * 0.1;
            b[i][k] = (i + k * 5) % 13 * 0.3;
        }
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < N; i++)
            for (int k = 0; k < N; k++)
                c[i][k] += row_times_column(a[i], &b[0][k]) * 0.5;
    union { double number; u64 bits; } sum = {0};
    for (int i = 0; i < N; i++)
        for (int k = 0; k < N; k++)
            sum.number += c[i][k];
    print("matrix %x\n", sum.bits);
    return 0;
}

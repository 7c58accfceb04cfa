/* Double-precision arithmetic: five bodies that attract each other, then points of the Mandelbrot set. */
#include "guest.h"

#define BODIES 5
#define STEPS 400000
#define SIDE 160
#define LIMIT 400

typedef struct { double x[3], v[3], mass; } Body;

static Body bodies[BODIES];

static void setup(void)
{
    for (int i = 0; i < BODIES; i++)
        for (int k = 0; k < 3; k++) {
            bodies[i].x[k] = (double)((i * 7 + k * 3) % 11) - 5.0;
            bodies[i].v[k] = (double)((i * 5 + k) % 7) * 0.01 - 0.03;
            bodies[i].mass = 1.0 + i * 0.25;
        }
}

static void advance(double dt)
{
    for (int i = 0; i < BODIES; i++)
        for (int j = i + 1; j < BODIES; j++) {
            double d[3], square = 0.05;
            for (int k = 0; k < 3; k++) {
                d[k] = bodies[i].x[k] - bodies[j].x[k];
                square += d[k] * d[k];
            }
            double pull = dt / (square * __builtin_sqrt(square));
            for (int k = 0; k < 3; k++) {
                bodies[i].v[k] -= d[k] * bodies[j].mass * pull;
                bodies[j].v[k] += d[k] * bodies[i].mass * pull;
            }
        }
    for (int i = 0; i < BODIES; i++)
        for (int k = 0; k < 3; k++)
            bodies[i].x[k] += dt * bodies[i].v[k];
}

static u64 mandelbrot(void)
{
    u64 total = 0;
    for (int row = 0; row < SIDE; row++)
        for (int column = 0; column < SIDE; column++) {
            double cx = -2.0 + 3.0 * column / SIDE, cy = -1.5 + 3.0 * row / SIDE, x = 0, y = 0;
            int rounds = 0;
            while (rounds < LIMIT && x * x + y * y < 4.0) {
                double next = x * x - y * y + cx;
                y = 2 * x * y + cy;
                x = next;
                rounds++;
            }
            total += rounds;
        }
    return total;
}

int main(u64 hart_id, const void *device_tree)
{
    setup();
    for (int step = 0; step < STEPS; step++)
        advance(0.001);
    union { double number; u64 bits; } where = {bodies[0].x[0]};
    print("fp %x %u\n", where.bits, mandelbrot());
    return 0;
}

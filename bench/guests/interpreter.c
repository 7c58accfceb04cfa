/* An interpreter of a small stack machine: a jump through a table for each of its instructions. */
#include "guest.h"

#define LIMIT 2200000UL

enum { PUSH, LOAD, STORE, ADD, SUBTRACT, MULTIPLY, LESS, AND, SHIFT, XOR, JUMP, UNLESS, HALT };

/* i = 0; h = 1; while (i < LIMIT) { h = (h ^ i) * 31; h = h ^ (h >> 7); i = i + 1; } */
static const long program[] = {
    PUSH, 0, STORE, 0, PUSH, 1, STORE, 1,
    LOAD, 0, PUSH, LIMIT, LESS, UNLESS, 46,
    LOAD, 1, LOAD, 0, XOR, PUSH, 31, MULTIPLY, STORE, 1,
    LOAD, 1, LOAD, 1, PUSH, 7, SHIFT, XOR, STORE, 1,
    LOAD, 0, PUSH, 1, ADD, STORE, 0, JUMP, 8,
    HALT, 0, HALT,
};

static __attribute__((noinline)) u64 interpret(const long *code)
{
    u64 stack[16], *top = stack, variables[4] = {0};

    for (const long *at = code;;)
        switch (*at++) {
        case PUSH: *top++ = (u64)*at++; break;
        case LOAD: *top++ = variables[*at++ & 3]; break;
        case STORE: variables[*at++ & 3] = *--top; break;
        case ADD: top--; top[-1] += *top; break;
        case SUBTRACT: top--; top[-1] -= *top; break;
        case MULTIPLY: top--; top[-1] *= *top; break;
        case LESS: top--; top[-1] = top[-1] < *top; break;
        case AND: top--; top[-1] &= *top; break;
        case SHIFT: top--; top[-1] >>= *top & 63; break;
        case XOR: top--; top[-1] ^= *top; break;
        case JUMP: at = code + *at; break;
        case UNLESS: at = *--top ? at + 1 : code + *at; break;
        default: return variables[1];
        }
}

int main(u64 hart_id, const void *device_tree)
{
    print("interpreter %u\n", interpret(program));
    return 0;
}

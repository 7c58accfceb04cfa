/* AES-128 by tables: a function of some 230 instructions, called from a loop in the same page; dependent look-ups. */
#include "guest.h"

#define BLOCKS 256
#define ROUNDS 4000

static unsigned char box[256];
static unsigned tables[4][256], keys[44], data[4 * BLOCKS];

static unsigned product(unsigned a, unsigned b)
{
    unsigned sum = 0;
    for (; b; b >>= 1) {
        if (b & 1)
            sum ^= a;
        a = a << 1 ^ (a & 0x80 ? 0x11b : 0);
    }
    return sum;
}

static unsigned rotated(unsigned word, int by) { return by ? word >> by | word << (32 - by) : word; }

static void setup(void)
{
    for (unsigned i = 0; i < 256; i++) {
        unsigned inverse = 0;
        while (i && product(i, inverse) != 1)
            inverse++;
        unsigned mixed = inverse;
        for (int k = 1; k < 5; k++)
            mixed ^= (inverse << k | inverse >> (8 - k)) & 255;
        box[i] = mixed ^ 0x63;
        unsigned word = product(box[i], 2) << 24 | (unsigned)box[i] << 16 | (unsigned)box[i] << 8 | product(box[i], 3);
        for (int k = 0; k < 4; k++)
            tables[k][i] = rotated(word, 8 * k);
    }
    for (unsigned i = 0, constant = 1; i < 44; i++) {
        unsigned word = i < 4 ? i * 0x01020304 : keys[i - 1];
        if (i >= 4 && i % 4 == 0) {
            word = (unsigned)box[word >> 16 & 255] << 24 | (unsigned)box[word >> 8 & 255] << 16 |
                   (unsigned)box[word & 255] << 8 | box[word >> 24];
            word ^= constant << 24;
            constant = product(constant, 2);
        }
        keys[i] = i < 4 ? word : keys[i - 4] ^ word;
    }
}

static unsigned column(unsigned a, unsigned b, unsigned c, unsigned d, unsigned key)
{
    return tables[0][a >> 24] ^ tables[1][b >> 16 & 255] ^ tables[2][c >> 8 & 255] ^ tables[3][d & 255] ^ key;
}

static unsigned last(unsigned a, unsigned b, unsigned c, unsigned d, unsigned key)
{
    return ((unsigned)box[a >> 24] << 24 | (unsigned)box[b >> 16 & 255] << 16 | (unsigned)box[c >> 8 & 255] << 8 |
            box[d & 255]) ^ key;
}

static __attribute__((noinline)) void encrypt(unsigned *block)
{
    const unsigned *key = keys + 4;
    unsigned a = block[0] ^ keys[0], b = block[1] ^ keys[1], c = block[2] ^ keys[2], d = block[3] ^ keys[3];

    for (int round = 1; round < 10; round++, key += 4) {
        unsigned w = column(a, b, c, d, key[0]), x = column(b, c, d, a, key[1]);
        unsigned y = column(c, d, a, b, key[2]), z = column(d, a, b, c, key[3]);
        a = w, b = x, c = y, d = z;
    }
    block[0] = last(a, b, c, d, key[0]);
    block[1] = last(b, c, d, a, key[1]);
    block[2] = last(c, d, a, b, key[2]);
    block[3] = last(d, a, b, c, key[3]);
}

int main(u64 hart_id, const void *device_tree)
{
    setup();
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < BLOCKS; i++)
            encrypt(data + 4 * i);
    print("aes %x\n", (u64)data[5] << 32 | data[999]);
    return 0;
}

/*
 * A mix like CoreMark's (the kinds of work, not the code): a linked list that is searched, reversed and sorted, small
 * integer matrices, a state machine over text, and a CRC over every result.
 */
#include "guest.h"

#define ROUNDS 2080

typedef unsigned short u16;
typedef unsigned char u8;

static u16 crc16(u16 crc, u64 value, int bits)
{
    for (int i = 0; i < bits; i++, value >>= 1) {
        int carry = (crc ^ value) & 1;

        crc >>= 1;
        if (carry)
            crc ^= 0xa001;
    }
    return crc;
}

/* --- list --- */
#define ITEMS 200

struct item {
    struct item *next;
    short key, data;
};

static struct item items[ITEMS];

static struct item *make_list(u16 seed)
{
    for (int i = 0; i < ITEMS; i++) {
        seed = (u16)(seed * 25173U + 13849U);
        items[i].key = (short)(seed >> 3 & 0xff);
        items[i].data = (short)i;
        items[i].next = i + 1 < ITEMS ? &items[i + 1] : 0;
    }
    return items;
}

static struct item *reverse(struct item *list)
{
    struct item *done = 0;

    while (list) {
        struct item *next = list->next;

        list->next = done;
        done = list;
        list = next;
    }
    return done;
}

static const struct item *find(const struct item *list, short key)
{
    while (list && list->key != key)
        list = list->next;
    return list;
}

static int by_key(const struct item *a, const struct item *b)
{
    return a->key != b->key ? a->key - b->key : a->data - b->data;
}

static int by_data(const struct item *a, const struct item *b)
{
    return a->data - b->data;
}

/* Merge sort from the bottom up, in place: no recursion, no memory. */
static struct item *sort(struct item *list, int (*compare)(const struct item *, const struct item *))
{
    for (int width = 1;; width *= 2) {
        struct item *left = list, *tail = 0;
        int merges = 0;

        list = 0;
        while (left) {
            struct item *right = left;
            int left_size = 0, right_size = width;

            merges++;
            for (; left_size < width && right; left_size++)
                right = right->next;
            while (left_size > 0 || (right_size > 0 && right)) {
                struct item *taken;

                if (left_size > 0 && (right_size == 0 || !right || compare(left, right) <= 0)) {
                    taken = left;
                    left = left->next;
                    left_size--;
                } else {
                    taken = right;
                    right = right->next;
                    right_size--;
                }
                if (tail)
                    tail->next = taken;
                else
                    list = taken;
                tail = taken;
            }
            left = right;
        }
        if (tail)
            tail->next = 0;
        if (merges <= 1)
            return list;
    }
}

static u16 list_work(u16 seed)
{
    struct item *list = make_list(seed);
    u16 crc = 0;

    for (short key = 0; key < 64; key++) {
        const struct item *found = find(list, key);

        crc = crc16(crc, found ? (u64)found->data : 0xffff, 16);
        list = reverse(list);
    }
    list = sort(list, by_key);
    for (const struct item *i = list; i; i = i->next)
        crc = crc16(crc, (u64)i->key, 8);
    list = sort(list, by_data);
    return crc16(crc, (u64)list->key, 16);
}

/* --- matrix --- */
#define SIDE 24

static short a[SIDE][SIDE], b[SIDE][SIDE];
static int c[SIDE][SIDE];

static u16 matrix_work(u16 seed)
{
    u16 crc = 0;

    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            seed = (u16)(seed * 25173U + 13849U);
            a[i][j] = (short)(seed & 0x7ff);
            b[i][j] = (short)((seed >> 5 & 0x7ff) - 512);
        }
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            int sum = 0;

            for (int k = 0; k < SIDE; k++)
                sum += a[i][k] * b[k][j];
            c[i][j] = sum;
        }
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++)
            crc ^= (u16)((c[i][j] >> 3 & 0x1f) * (c[j][i] >> 7 & 0x7f));
    return crc16(crc, (u64)c[SIDE - 1][0], 32);
}

/* --- state machine: which kind of number is each word of a text? --- */
enum state { START, SIGN, INTEGER, POINT, FRACTION, EXPONENT_MARK, EXPONENT_SIGN, EXPONENT, INVALID, N_STATES };

static char text[] = "5012,-874,+122,.8,3.14159,-110.700,5.500e+3,-.123e-2,T0.3e-1F,0xff,1e9,1e,+,--1,12a,42,";

static enum state step(enum state state, char symbol)
{
    int digit = symbol >= '0' && symbol <= '9';

    switch (state) {
    case START:
        return digit ? INTEGER : symbol == '+' || symbol == '-' ? SIGN : symbol == '.' ? POINT : INVALID;
    case SIGN:
        return digit ? INTEGER : symbol == '.' ? POINT : INVALID;
    case INTEGER:
        return digit ? INTEGER : symbol == '.' ? POINT : symbol == 'e' ? EXPONENT_MARK : INVALID;
    case POINT:
        return digit ? FRACTION : INVALID;
    case FRACTION:
        return digit ? FRACTION : symbol == 'e' ? EXPONENT_MARK : INVALID;
    case EXPONENT_MARK:
        return digit ? EXPONENT : symbol == '+' || symbol == '-' ? EXPONENT_SIGN : INVALID;
    case EXPONENT_SIGN:
    case EXPONENT:
        return digit ? EXPONENT : INVALID;
    default:
        return INVALID;
    }
}

static u16 state_work(u16 seed)
{
    static unsigned final[N_STATES], visited[N_STATES];
    u16 crc = 0;

    for (int i = 0; i < N_STATES; i++)
        final[i] = visited[i] = 0;
    for (int round = 0; round < 12; round++) {
        enum state state = START;
        unsigned spoiled = (seed + (unsigned)round * 7) % (sizeof(text) - 1);
        char kept = text[spoiled];

        if (kept != ',')
            text[spoiled] = (char)(kept ^ 1);
        for (const char *p = text; *p; p++) {
            if (*p == ',') {
                final[state]++;
                state = START;
            } else {
                state = step(state, *p);
                visited[state]++;
            }
        }
        text[spoiled] = kept;
    }
    for (int i = 0; i < N_STATES; i++)
        crc = crc16(crc, (u64)final[i] << 16 | visited[i], 32);
    return crc;
}

int main(u64 hart_id, const void *device_tree)
{
    u16 crc = 0;

    for (u16 round = 0; round < ROUNDS; round++) {
        crc = crc16(crc, list_work(round), 16);
        crc = crc16(crc, matrix_work((u16)(round ^ crc)), 16);
        crc = crc16(crc, state_work((u16)(round + crc)), 16);
    }
    print("mixed %x\n", (u64)crc);
    return 0;
}

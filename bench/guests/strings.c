/* Strings and blocks as a C library has them: length, comparison, copies of odd sizes and places, a search of words, a
 * checksum by a table. */
#include "guest.h"

#define TEXT 65536
#define ROUNDS 500

static char text[TEXT + 64], copy[TEXT + 64];
static unsigned table[256];

static __attribute__((noinline)) u64 length(const char *s)
{
    const char *end = s;

    while (*end)
        end++;
    return (u64)(end - s);
}

static __attribute__((noinline)) void copy_bytes(char *to, const char *from, u64 size)
{
    while (size && ((u64)to & 7)) {
        *to++ = *from++;
        size--;
    }
    if (!((u64)from & 7))
        for (; size >= 8; size -= 8, to += 8, from += 8)
            *(volatile u64 *)to = *(const u64 *)from;
    while (size--)
        *(volatile char *)to++ = *from++;
}

static __attribute__((noinline)) int compare(const char *a, const char *b)
{
    for (; *a && *a == *b; a++, b++)
        ;
    return (unsigned char)*a - (unsigned char)*b;
}

static __attribute__((noinline)) u64 words(const char *s, const char *word, u64 size)
{
    u64 found = 0;

    for (; *s; s++) {
        u64 i = 0;

        while (i < size && s[i] == word[i])
            i++;
        found += i == size;
    }
    return found;
}

static __attribute__((noinline)) unsigned checksum(const char *bytes, u64 size)
{
    unsigned sum = ~0u;

    for (u64 i = 0; i < size; i++)
        sum = table[(sum ^ (unsigned char)bytes[i]) & 255] ^ sum >> 8;
    return ~sum;
}

int main(u64 hart_id, const void *device_tree)
{
    u64 sum = 0, seed = 1;

    for (unsigned i = 0; i < 256; i++) {
        unsigned word = i;

        for (int bit = 0; bit < 8; bit++)
            word = word >> 1 ^ (word & 1 ? 0xedb88320u : 0);
        table[i] = word;
    }
    for (u64 i = 0; i < TEXT; i++) {
        seed = seed * 6364136223846793005UL + 1442695040888963407UL;
        text[i] = (char)(seed >> 61 ? 'a' + (seed >> 58) % 6 : ' ');
    }
    for (u64 round = 0; round < ROUNDS; round++) {
        copy_bytes(copy + (round & 7), text + (round >> 1 & 7), TEXT - 64);
        copy[(round & 7) + TEXT - 64] = 0;
        sum += length(copy + (round & 7)) + (u64)compare(copy + (round & 7), text + (round >> 1 & 7));
        sum += words(text, "cab", 3) + checksum(copy, TEXT - 64);
    }
    print("strings %u\n", sum);
    return 0;
}

/*
 * The conformance agent's side of the serial line.
 *
 * A frame, all numbers little-endian:
 *     0xA5 0x5A   sequence   length (2 bytes)   check of the two (1 byte)   payload   CRC-32 of sequence, length, payload
 * Every request is answered by a frame with its sequence number. What is garbled is dropped, and the other side asks
 * again: a request with the sequence number of the last one is not done again, its answer is sent again.
 *
 * Requests: 'H' -> "vpmu-agent", version (1 byte), hart id, address of the agent, of SCRATCH pages, end of what it uses
 *           'R', count (2 bytes), 5 bytes that it passes over, calls (agent_calls.S) -> 'R', results
 */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

#define VERSION 1
#define MAX_PAYLOAD 16384
#define MAX_CALLS 600
#define SCRATCH_PAGES 4
#define HEADER 6
#define IDLE_POLLS 2000000 /* a frame whose next byte does not come within so many looks is given up */

#ifndef UART
#define UART 0x10000000UL
#endif

void run_batch(const u64 *calls, u64 count, u64 *results);

static u8 request[MAX_PAYLOAD + 16] __attribute__((aligned(16)));
static u8 answer[24 * MAX_CALLS + 64] __attribute__((aligned(16)));
static u8 scratch[SCRATCH_PAGES * 4096] __attribute__((aligned(4096)));
static u32 answer_length;

#ifndef MAILBOX
static int last_sequence;

static volatile u8 *uart(void) { return (volatile u8 *)UART; }

static void put(u8 byte)
{
    while (!(uart()[5] & 0x20))
        ;
    uart()[0] = byte;
}

/* The next byte, or -1 where none comes (wait: for as long as it takes). */
static int get(int wait)
{
    for (u64 polls = 0; wait || polls < IDLE_POLLS; polls++)
        if (uart()[5] & 1)
            return uart()[0];
    return -1;
}

static u32 crc32(u32 crc, const u8 *data, u32 length)
{
    for (u32 i = 0; i < length; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xEDB88320u & -(crc & 1));
    }
    return crc;
}

static u8 check(u8 sequence, u32 length)
{
    return (u8)(0x5F ^ sequence * 31 ^ (length & 0xff) * 7 ^ (length >> 8) * 13);
}

static u32 frame_crc(u8 sequence, u32 length, const u8 *payload)
{
    u8 head[3] = {sequence, (u8)length, (u8)(length >> 8)};
    return ~crc32(crc32(~0u, head, 3), payload, length);
}

static void send(u8 sequence)
{
    u32 crc = frame_crc(sequence, answer_length, answer);
    put(0xA5);
    put(0x5A);
    put(sequence);
    put((u8)answer_length);
    put((u8)(answer_length >> 8));
    put(check(sequence, answer_length));
    for (u32 i = 0; i < answer_length; i++)
        put(answer[i]);
    for (int i = 0; i < 4; i++)
        put((u8)(crc >> 8 * i));
}

/* One frame into `request`; its length, or -1 where what came is no frame. */
static int receive(u8 *sequence)
{
    int byte = get(1);
    while (byte != 0xA5)
        byte = get(1);
    do
        byte = get(0);
    while (byte == 0xA5);
    if (byte != 0x5A)
        return -1;
    int head[4];
    for (int i = 0; i < 4; i++) {
        head[i] = get(0);
        if (head[i] < 0)
            return -1;
    }
    u32 length = (u32)head[1] | (u32)head[2] << 8;
    if (head[3] != check((u8)head[0], length) || length > MAX_PAYLOAD)
        return -1;
    for (u32 i = 0; i < length; i++) {
        byte = get(0);
        if (byte < 0)
            return -1;
        request[i] = (u8)byte;
    }
    u32 crc = 0;
    for (int i = 0; i < 4; i++) {
        byte = get(0);
        if (byte < 0)
            return -1;
        crc |= (u32)byte << 8 * i;
    }
    *sequence = (u8)head[0];
    return crc == frame_crc(*sequence, length, request) ? (int)length : -1;
}
#endif

static void append(u64 value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        answer[answer_length++] = (u8)(value >> 8 * i);
}

static void hello(u64 base, u64 hart)
{
    const u8 name[10] = {'v', 'p', 'm', 'u', '-', 'a', 'g', 'e', 'n', 't'};
    for (int i = 0; i < 10; i++)
        append(name[i], 1);
    append(VERSION, 1);
    append(hart, 8);
    append(base, 8);
    append((u64)scratch, 8);
    append((u64)(scratch + sizeof scratch), 8);
}

static void batch(u32 length)
{
    u32 count = (u32)request[1] | (u32)request[2] << 8;
    append('R', 1);
    if (count > MAX_CALLS || length < 8)
        return;
    /* Results are doublewords: they start at an aligned place behind the kind. */
    answer_length = 8;
    run_batch((const u64 *)(request + 8), count, (u64 *)(answer + 8));
    answer_length += 24 * count;
}

#ifdef MAILBOX
/*
 * Under a monitor of ours (src/vpmu/peers/monitor.py) a store of this block's address to the device exchanges whole
 * messages: one exit to user space for a batch, where the serial line takes two for a byte. Frames, sequence numbers and
 * repetitions are the monitor's business.
 */
static struct {
    u64 request, capacity, request_length, answer, answer_length;
} mailbox;

void agent_main(u64 base, u64 hart)
{
    mailbox.request = (u64)request;
    mailbox.capacity = MAX_PAYLOAD;
    mailbox.answer = (u64)answer;
    for (;;) {
        mailbox.answer_length = answer_length;
        __asm__ volatile("" ::: "memory");
        *(volatile u64 *)UART = (u64)&mailbox;
        __asm__ volatile("" ::: "memory");
        answer_length = 0;
        if (request[0] == 'H')
            hello(base, hart);
        else
            batch((u32)mailbox.request_length);
    }
}
#else
void agent_main(u64 base, u64 hart)
{
    last_sequence = -1;
    for (;;) {
        u8 sequence;
        int length = receive(&sequence);
        if (length < 1)
            continue;
        if (sequence != last_sequence || request[0] == 'H') {
            answer_length = 0;
            if (request[0] == 'H')
                hello(base, hart);
            else if (request[0] == 'R')
                batch((u32)length);
            else
                continue;
            last_sequence = sequence;
        }
        send(sequence);
    }
}
#endif

/*
 * The first process of a KVM host on vpmu's own hart, and its KVM monitor: one VM, one vCPU, the conformance agent in it.
 *
 * It needs nothing of a root but the files /vpmu/agent.bin and, where KVM is a module, /vpmu/kvm.ko: no library, no shell.
 * It talks to vpmu by memory that is no RAM of the host's (src/vpmu/vmm/line.py), mapped through /dev/mem:
 *     LINE        length of the request, length of the answer (doublewords)
 *     LINE + REQUEST, LINE + ANSWER
 *     DOORBELL    a store of one doubleword hands the answer over; when it has retired, the next request lies there
 * Requests and answers are those of src/vpmu/peers/monitor.py without their frames; beside them:
 *     'K': the vCPU's registers of KVM, as pairs of id and value
 *     'Z' + text, an answer: the monitor could not start
 *     'V': seven zeros, NUMBERS numbers of eight bytes, data: one step of a monitor that is elsewhere (`step`); the answer:
 *         'V', seven zeros, a result or -errno, data
 */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long s64;

#define LINE 0x28000000UL
#define REQUEST 0x1000
#define ANSWER 0x8000
#define LINE_SIZE 0x10000
#define ANSWER_ROOM (u64)(LINE_SIZE - ANSWER)
#define DOORBELL (LINE + LINE_SIZE)
#define PAGE 4096UL
#define MEMORY_SIZE (4UL << 20)
#define EXTRA_SIZE (64 * PAGE) /* what a monitor elsewhere may put into the guest's address space */
#define NUMBERS 6
#define DEVICE_BASE 0x10000000UL
#define KVM_RUN_FAILED (-1000) /* a0 of an ecall that ended KVM_RUN: this minus the errno */
#define MAX_FAILURES 5000      /* in one batch, after which the machine is given up: more than a batch has calls */
#define ERROR -1               /* no request to the guest: the machine is lost */

/* Linux: include/uapi/asm-generic/unistd.h, include/uapi/linux/kvm.h, arch/riscv/include/uapi/asm/kvm.h */
enum { SYS_ioctl = 29, SYS_mkdirat = 34, SYS_mount = 40, SYS_openat = 56, SYS_close = 57, SYS_read = 63, SYS_write = 64,
       SYS_reboot = 142, SYS_uname = 160, SYS_munmap = 215, SYS_mmap = 222, SYS_finit_module = 273, SYS_mlockall = 230 };
#define KVM_GET_API_VERSION 0xAE00
#define KVM_CREATE_VM 0xAE01
#define KVM_GET_VCPU_MMAP_SIZE 0xAE04
#define KVM_CREATE_VCPU 0xAE41
#define KVM_RUN 0xAE80
#define KVM_SET_USER_MEMORY_REGION 0x4020AE46
#define KVM_GET_ONE_REG 0x4010AEAB
#define KVM_SET_ONE_REG 0x4010AEAC
#define KVM_GET_REG_LIST 0xC008AEB0
#define KVM_GET_MP_STATE 0x8004AE98
#define KVM_SET_MP_STATE 0x4004AE99
#define MP_STATE_RUNNABLE 0
#define MP_STATE_STOPPED 5
#define REG_CORE 0x8030000002000000UL
#define REG_SBI_PMU 0x8030000008000006UL
#define REG_SIP 0x8030000003000007UL
enum { PC = 0, A0 = 10, A1 = 11, A2 = 12 };
enum { EXIT_MMIO = 6, EXIT_SYSTEM_EVENT = 24, EXIT_RISCV_SBI = 35 };
enum { MAILBOX = 0, STARTER = 8, RESET = 16 };
enum { EINTR = 4, EEXIST = 17, ENOENT = 2, EINVAL = 22 };
#define SBI_ERR_NOT_SUPPORTED (-2)

static s64 call(s64 number, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
    register u64 a0 __asm__("a0") = a, a1 __asm__("a1") = b, a2 __asm__("a2") = c;
    register u64 a3 __asm__("a3") = d, a4 __asm__("a4") = e, a5 __asm__("a5") = f;
    register s64 a7 __asm__("a7") = number;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5), "r"(a7) : "memory");
    return (s64)a0;
}

#define AT_FDCWD ((u64)-100)
static s64 open_file(const char *path, int flags) { return call(SYS_openat, AT_FDCWD, (u64)path, (u64)flags, 0, 0, 0); }
static s64 ioctl(s64 fd, u64 request, u64 argument) { return call(SYS_ioctl, (u64)fd, request, argument, 0, 0, 0); }
static s64 close_file(s64 fd) { return call(SYS_close, (u64)fd, 0, 0, 0, 0, 0); }
static s64 read_file(s64 fd, void *to, u64 room) { return call(SYS_read, (u64)fd, (u64)to, room, 0, 0, 0); }
static u8 *map(s64 fd, u64 size, u64 offset)
{ /* PROT_READ | PROT_WRITE, MAP_SHARED; without a file MAP_PRIVATE | MAP_ANONYMOUS */
    return (u8 *)call(SYS_mmap, 0, size, 3, fd < 0 ? 0x22 : 1, (u64)fd, offset);
}
static int bad(const void *address) { return (u64)address >= (u64)-4095; }

/* The compiler may call it by this name. */
void *memcpy(void *to, const void *from, u64 size)
{
    u8 *t = to;
    const u8 *f = from;
    for (; size >= 8 && !(((u64)t | (u64)f) & 7); size -= 8, t += 8, f += 8)
        *(volatile u64 *)t = *(const u64 *)f;
    for (; size; size--)
        *(volatile u8 *)t++ = *f++;
    return to;
}

/* ---------------------------------------------------------------- the line */

static volatile u64 *line;
static u64 *doorbell;
static u8 *answer;
static u64 answer_length;

static void put(const void *data, u64 size)
{
    if (size > ANSWER_ROOM - answer_length)
        size = ANSWER_ROOM - answer_length;
    memcpy(answer + answer_length, data, size);
    answer_length += size;
}

static u64 length_of(const char *text)
{
    u64 length = 0;
    while (text[length])
        length++;
    return length;
}

static void say(const char *text) { put(text, length_of(text)); }

static void say_number(s64 value)
{
    char digits[20];
    int at = 20;
    do
        digits[--at] = (char)('0' + value % 10);
    while ((value /= 10));
    put(digits + at, (u64)(20 - at));
}

static void begin(char kind)
{
    answer_length = 0;
    put(&kind, 1);
}

/* Hand the answer over; afterwards there is a request. */
static void ring(void)
{
    line[1] = answer_length;
    __asm__ volatile("fence" ::: "memory");
    *(volatile u64 *)doorbell = answer_length;
    __asm__ volatile("fence" ::: "memory");
}

/* Nobody is at the other end yet, or nothing can be done: to the console, which is kept. */
static void give_up(const char *what, s64 error)
{
    static u8 text[512];
    s64 console = open_file("/dev/console", 1);
    if (!answer)
        answer = text;
    begin('Z');
    say(what);
    say(": errno ");
    say_number(-error);
    if (line)
        ring();
    answer_length = answer_length > 500 ? 500 : answer_length;
    say("\n");
    call(SYS_write, (u64)console, (u64)"monitor: ", 9, 0, 0, 0);
    call(SYS_write, (u64)console, (u64)(answer + 1), answer_length - 1, 0, 0, 0);
    call(SYS_reboot, 0xfee1dead, 672274793, 0x4321fedc, 0, 0, 0);
    for (;;)
        ;
}

/* ---------------------------------------------------------------- vCPU and VM */

struct vcpu {
    s64 fd;
    u8 *page;
    u64 size;
};

static s64 kvm, vm = -1;
static struct vcpu vcpus[2];
static int started;
static u8 *memory, *extra;
static u64 memory_base, memory_size;
static u64 starter, mailbox;
static const char *why; /* the machine is lost */

static s64 lose(const char *reason)
{
    why = reason;
    return ERROR;
}

static s64 one_reg(struct vcpu *vcpu, u64 request, u64 number, u64 *value)
{
    u64 argument[2] = {number, (u64)value};
    return ioctl(vcpu->fd, request, (u64)argument);
}

static u64 get(struct vcpu *vcpu, u64 number)
{
    u64 value = 0;
    one_reg(vcpu, KVM_GET_ONE_REG, REG_CORE | number, &value);
    return value;
}

static void set(struct vcpu *vcpu, u64 number, u64 value)
{
    one_reg(vcpu, KVM_SET_ONE_REG, REG_CORE | number, &value);
}

static s64 create_vcpu(struct vcpu *vcpu, u64 number)
{
    vcpu->fd = ioctl(vm, KVM_CREATE_VCPU, number);
    if (vcpu->fd < 0)
        return vcpu->fd;
    vcpu->size = (u64)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    vcpu->page = map(vcpu->fd, vcpu->size, 0);
    return bad(vcpu->page) ? (s64)vcpu->page : 0;
}

static s64 region(u32 slot, u32 flags, u64 at, u64 size)
{
    struct { u32 slot, flags; u64 gpa, size, address; } argument = {slot, flags, memory_base + at, size, (u64)memory + at};
    return ioctl(vm, KVM_SET_USER_MEMORY_REGION, (u64)&argument);
}

static void destroy_machine(void)
{
    if (vm < 0)
        return;
    for (int i = 0; i < started; i++) {
        call(SYS_munmap, (u64)vcpus[i].page, vcpus[i].size, 0, 0, 0, 0);
        close_file(vcpus[i].fd);
    }
    close_file(vm);
    call(SYS_munmap, (u64)memory, memory_size, 0, 0, 0, 0);
    vm = -1;
    started = 0;
}

/* A VM with `size` bytes of memory at `base` and one vCPU that begins there; 0, or the errno of what failed, negative. */
static s64 create_vm(u64 base, u64 size)
{
    s64 done;
    destroy_machine();
    memory_base = base;
    memory_size = size;
    vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (vm < 0)
        return vm;
    memory = map(-1, memory_size, 0);
    if (bad(memory))
        return (s64)memory;
    done = region(0, 0, 0, memory_size);
    if (done < 0)
        return done;
    done = create_vcpu(&vcpus[0], 0);
    if (done < 0)
        return done;
    started = 1;
    set(&vcpus[0], PC, base);
    set(&vcpus[0], A0, 0);
    set(&vcpus[0], A1, 0);
    return 0;
}

/* A VM with the agent. */
static s64 create_machine(int pmu)
{
    u64 off = 0;
    s64 agent, got, done = create_vm(0x80000000UL, MEMORY_SIZE);
    if (done < 0)
        return done;
    agent = open_file("/vpmu/agent.bin", 0);
    if (agent < 0)
        return agent;
    for (u64 at = 0; (got = read_file(agent, memory + at, memory_size - at)) > 0; at += (u64)got)
        ;
    close_file(agent);
    if (!pmu)
        one_reg(&vcpus[0], KVM_SET_ONE_REG, REG_SBI_PMU, &off);
    return 0;
}

/* Answer an exit to user space. 1: a store to our device, `where` and `value`; 0: go on; ERROR. */
static s64 serve(struct vcpu *vcpu, u64 *where, u64 *value)
{
    u8 *run = vcpu->page;
    u32 reason = *(volatile u32 *)(run + 8);
    if (reason == EXIT_MMIO) { /* phys_addr, data, len, is_write */
        u64 address = *(volatile u64 *)(run + 32);
        if (!run[32 + 20]) {
            *(volatile u64 *)(run + 40) = 0; /* an empty bus */
            return 0;
        }
        *where = address - DEVICE_BASE;
        *value = *(volatile u64 *)(run + 40);
        return *where < 32;
    }
    if (reason == EXIT_RISCV_SBI) { /* extension_id, function_id, args[6], ret[2]: nothing is offered here */
        *(volatile s64 *)(run + 96) = SBI_ERR_NOT_SUPPORTED;
        *(volatile u64 *)(run + 104) = 0;
        return 0;
    }
    return lose(reason == EXIT_SYSTEM_EVENT ? "the guest ended with a system event" : "KVM_RUN ended with another exit");
}

/* A reset of vCPU 0 as a guest's: stopped, then started by another one's hart_start (guests/agent_calls.S). */
static s64 reset(u64 resume)
{
    u64 where, value;
    u32 stopped = MP_STATE_STOPPED, runnable = MP_STATE_RUNNABLE;
    if (started == 1) {
        if (create_vcpu(&vcpus[1], 1) < 0)
            return lose("no second vCPU for a reset");
        started = 2;
    }
    set(&vcpus[1], PC, starter);
    set(&vcpus[1], A1, resume);
    set(&vcpus[1], A2, get(&vcpus[0], A1));
    ioctl(vcpus[0].fd, KVM_SET_MP_STATE, (u64)&stopped);
    ioctl(vcpus[1].fd, KVM_SET_MP_STATE, (u64)&runnable);
    for (;;) {
        s64 done = ioctl(vcpus[1].fd, KVM_RUN, 0);
        if (done < 0 && done != -EINTR)
            return lose("KVM_RUN of the second vCPU fails");
        done = done < 0 ? 0 : serve(&vcpus[1], &where, &value);
        if (done)
            return done < 0 ? done : 0;
    }
}

/* Run until the guest exchanges messages: 0 and `mailbox`, or ERROR. */
static s64 run_to_mailbox(void)
{
    struct vcpu *vcpu = &vcpus[0];
    u64 where, value;
    for (int failures = 0;;) {
        s64 done = ioctl(vcpu->fd, KVM_RUN, 0);
        if (done == -EINTR)
            continue;
        if (done < 0) { /* go on behind the ECALL that ended KVM_RUN, as user space may */
            if (++failures > MAX_FAILURES)
                return lose("KVM_RUN fails without end");
            set(vcpu, PC, get(vcpu, PC) + 4);
            set(vcpu, A0, (u64)(KVM_RUN_FAILED + done));
            continue;
        }
        done = serve(vcpu, &where, &value);
        if (done < 0)
            return done;
        if (!done)
            continue;
        if (where == MAILBOX) {
            mailbox = value;
            return 0;
        }
        if (where == STARTER)
            starter = value;
        if (where == RESET && reset(value) < 0)
            return ERROR;
    }
}

/* Host address of a range of the guest's memory, or 0. */
static u8 *inside(u64 address, u64 length)
{
    u64 offset = address - memory_base;
    return length <= memory_size && offset <= memory_size - length ? memory + offset : 0;
}

/* A request to the agent, and its answer. */
static s64 exchange(const u8 *request, u64 length, char kind)
{
    u64 *box = (u64 *)inside(mailbox, 40); /* request, room for it, its length; answer, its length */
    u8 *to = box ? inside(box[0], length) : 0, *from;
    if (!to || length > box[1])
        return lose("the agent's mailbox is no place for a request");
    memcpy(to, request, length);
    to[0] = (u8)kind;
    box[2] = length;
    if (run_to_mailbox() < 0)
        return ERROR;
    box = (u64 *)inside(mailbox, 40);
    from = box ? inside(box[3], box[4]) : 0;
    if (!from)
        return lose("the agent's mailbox points to where no memory is");
    answer_length = 0;
    put(from, box[4]);
    return 0;
}

/* ---------------------------------------------------------------- the host */

/* Bytes of a file of /proc in `text`, ended by a zero. */
static char text[65536] __attribute__((aligned(8)));

static u64 slurp(const char *path)
{
    u64 length = 0;
    s64 got, file = open_file(path, 0);
    while (file >= 0 && (got = read_file(file, text + length, sizeof(text) - 1 - length)) > 0)
        length += (u64)got;
    if (file >= 0)
        close_file(file);
    text[length] = 0;
    return length;
}

static int starts(const char *line_of_text, const char *with)
{
    while (*with)
        if (*line_of_text++ != *with++)
            return 0;
    return 1;
}

/* The text up to the end of its line. */
static void say_line(const char *from)
{
    u64 length = 0;
    while (from[length] && from[length] != '\n')
        length++;
    put(from, length);
    say("\n");
}

static const char *find_line(const char *key)
{
    const char *at = text;
    while (*at) {
        if (starts(at, key))
            return at + length_of(key);
        while (*at && *at++ != '\n')
            ;
    }
    return 0;
}

/* kB of memory that the kernel has allocated in small pieces and still holds. */
static u64 unreclaimable(void)
{
    u64 value = 0;
    const char *at;
    slurp("/proc/meminfo");
    at = find_line("SUnreclaim:");
    while (at && *at == ' ')
        at++;
    for (; at && *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (u64)(*at - '0');
    return value;
}

/* As monitor.py's host_facts. */
static void facts(void)
{
    static char names[6][65]; /* struct new_utsname: sysname, nodename, release, version, machine, domainname */
    const char *isa;
    s64 log, got;
    begin('I');
    call(SYS_uname, (u64)names, 0, 0, 0, 0, 0);
    say("kernel: "), say(names[0]), say(" "), say(names[2]), say(" "), say(names[3]);
    say("\nmachine: "), say(names[4]), say("\n");
    slurp("/proc/cpuinfo");
    isa = find_line("isa\t\t: ");
    if (isa)
        say("isa: "), say_line(isa);
    log = open_file("/dev/kmsg", 04000); /* O_NONBLOCK; a read gives one record: numbers;text */
    while (log >= 0 && (got = read_file(log, text, sizeof(text) - 1)) > 0) {
        const char *at = text;
        text[got] = 0;
        while (*at && *at++ != ';')
            ;
        if (starts(at, "SBI ") || starts(at, "riscv-pmu") || starts(at, "kvm "))
            say("log: "), say_line(at);
    }
    if (log >= 0)
        close_file(log);
}

/* The registers that KVM shows of a vCPU, those of which are there to be switched: ISA and SBI extensions. */
static void registers(void)
{
    u64 *list = (u64 *)text; /* how many, then their numbers */
    begin('K');
    list[0] = sizeof(text) / 8 - 1;
    if (ioctl(vcpus[0].fd, KVM_GET_REG_LIST, (u64)list) < 0)
        return;
    for (u64 i = 1; i <= list[0]; i++) {
        u64 kind = list[i] >> 24 & 0xff, pair[2] = {list[i], 0};
        if ((kind == 7 || kind == 8) && one_reg(&vcpus[0], KVM_GET_ONE_REG, list[i], &pair[1]) >= 0)
            put(pair, 16);
    }
}

/* An operation of the host: the answer is that of a batch of one call, whose trap is 1 + the errno. */
static void operate(const u8 *request)
{
    u64 operation, value, result[4] = {'R', 0, 0, 0};
    s64 done = 0;
    memcpy(&operation, request + 8, 8);
    memcpy(&value, request + 16, 8);
    if (operation == 'G')
        done = one_reg(&vcpus[0], KVM_GET_ONE_REG, REG_SIP, &result[1]);
    else if (operation == 'S')
        done = one_reg(&vcpus[0], KVM_SET_ONE_REG, REG_SIP, &value);
    else if (operation == 'M')
        result[1] = unreclaimable();
    else if (operation == 'P') { /* the page becomes a slot of its own that the guest, and KVM for it, can only read */
        u64 at = value - memory_base, end = at + PAGE;
        done = inside(value, PAGE) ? region(0, 0, 0, 0) : -EINVAL;
        if (done >= 0)
            done = region(0, 0, 0, at);
        if (done >= 0)
            done = region(1, 2, at, PAGE);
        if (done >= 0)
            done = region(2, 0, end, memory_size - end);
    } else
        done = -EINVAL;
    result[3] = done < 0 ? (u64)(1 - done) : 0;
    answer_length = 0;
    put(result, sizeof(result));
}

/* One step of a monitor that is elsewhere: what is asked for, and five arguments. */
static void step(const u8 *request, u64 length)
{
    u64 n[NUMBERS], head[2] = {'V', 0}, value = 0;
    const u8 *data = request + 8 + sizeof(n), *shown = 0;
    u64 size = length - 8 - sizeof(n), show = 0;
    struct vcpu *vcpu;
    u8 *at;
    s64 done = -EINVAL;
    memcpy(n, request + 8, sizeof(n));
    vcpu = &vcpus[n[1] & 1];
    switch (n[0]) {
    case 'n': /* a new VM: where its memory begins, its size where it is not MEMORY_SIZE */
        done = create_vm(n[1], n[2] ? n[2] : MEMORY_SIZE);
        break;
    case 'v': /* another vCPU: its number */
        done = started == 1 && n[1] == 1 ? create_vcpu(vcpu, 1) : -EINVAL;
        started += done >= 0;
        break;
    case 'w': /* write to memory: where */
        at = inside(n[1], size);
        if (at)
            memcpy(at, data, size), done = 0;
        break;
    case 'a': /* the host's virtual address of the VM's memory */
        value = (u64)memory;
        shown = (u8 *)&value, show = 8, done = 0;
        break;
    case 'r': /* read memory: where, how much; with a third number the extra pages */
        at = n[3] ? (n[1] + n[2] <= EXTRA_SIZE ? extra + n[1] : 0) : inside(n[1], n[2]);
        if (at)
            shown = at, show = n[2], done = 0;
        break;
    case 'x': /* KVM_RUN: the vCPU; its kvm_run. `data` is put at offset n[2] of it first */
        memcpy(vcpu->page + (n[2] & 0xff), data, size > 64 ? 64 : size);
        done = ioctl(vcpu->fd, KVM_RUN, 0);
        shown = vcpu->page, show = 128;
        break;
    case 'g': /* KVM_GET_ONE_REG: vCPU, register */
        done = one_reg(vcpu, KVM_GET_ONE_REG, n[2], &value);
        shown = (u8 *)&value, show = 8;
        break;
    case 's': /* KVM_SET_ONE_REG: vCPU, register, value */
        done = one_reg(vcpu, KVM_SET_ONE_REG, n[2], &n[3]);
        break;
    case 'p': /* KVM_GET_MP_STATE, or with a second number SET: vCPU, 1, state */
        value = n[3];
        done = ioctl(vcpu->fd, n[2] ? KVM_SET_MP_STATE : KVM_GET_MP_STATE, (u64)&value);
        shown = (u8 *)&value, show = 8;
        break;
    case 'm': { /* KVM_SET_USER_MEMORY_REGION of the extra pages: slot, flags, gpa, size, offset */
        struct { u32 slot, flags; u64 gpa, size, address; } argument = {(u32)n[1], (u32)n[2], n[3], n[4], (u64)extra + n[5]};
        done = ioctl(vm, KVM_SET_USER_MEMORY_REGION, (u64)&argument);
        break;
    }
    case 'l': /* KVM_GET_REG_LIST: the vCPU */
        ((u64 *)text)[0] = sizeof(text) / 8 - 1;
        done = ioctl(vcpu->fd, KVM_GET_REG_LIST, (u64)text);
        shown = (u8 *)text, show = 8 + 8 * ((u64 *)text)[0];
        break;
    }
    answer_length = 0;
    put(head, 8);
    put(&done, 8);
    put(shown, show);
}

static void mount(const char *kind, const char *at)
{
    call(SYS_mkdirat, AT_FDCWD, (u64)at, 0755, 0, 0, 0);
    call(SYS_mount, (u64)kind, (u64)at, (u64)kind, 0, 0, 0);
}

static void insert(const char *module)
{
    s64 done, file = open_file(module, 0);
    if (file == -ENOENT) /* KVM is built in, or absent, which shows */
        return;
    done = file < 0 ? file : call(SYS_finit_module, (u64)file, (u64) "", 0, 0, 0, 0);
    if (done < 0 && done != -EEXIST)
        give_up("the kernel refuses kvm.ko", done);
    close_file(file);
}

static s64 start(int pmu)
{
    s64 done = create_machine(pmu);
    if (done < 0) {
        why = "no VM can be made";
        return ERROR;
    }
    return run_to_mailbox();
}

static void serve_request(const u8 *request, u64 length)
{
    s64 done = 0;
    why = 0;
    if (request[0] == 'I')
        facts();
    else if (request[0] == 'V' && length >= 8 + 8 * NUMBERS)
        step(request, length);
    else if (request[0] == 'F') {
        done = start(!(length > 3 && request[3]));
        if (done >= 0)
            done = exchange(request, length, 'R');
    } else if (vm < 0)
        done = lose("there is no VM");
    else if (request[0] == 'K')
        registers();
    else if (request[0] == 'O' && length == 24)
        operate(request);
    else
        done = exchange(request, length, (char)request[0]);
    if (done < 0) {
        destroy_machine();
        begin('X');
        say(why ? why : "the machine is lost");
    }
}

void monitor(void)
{
    s64 file;
    mount("proc", "/proc");
    mount("sysfs", "/sys");
    mount("devtmpfs", "/dev");
    file = open_file("/dev/mem", 2 | 04010000); /* O_RDWR | O_SYNC */
    if (file < 0)
        give_up("/dev/mem cannot be opened (is CONFIG_DEVMEM on?)", file);
    line = (volatile u64 *)map(file, LINE_SIZE, LINE);
    doorbell = (u64 *)map(file, PAGE, DOORBELL);
    if (bad((void *)line) || bad(doorbell)) {
        line = 0;
        give_up("/dev/mem cannot be mapped at vpmu's line", -1);
    }
    answer = (u8 *)line + ANSWER;
    insert("/vpmu/kvm.ko");
    extra = map(-1, EXTRA_SIZE, 0);
    kvm = open_file("/dev/kvm", 2);
    if (kvm < 0)
        give_up("no /dev/kvm", kvm);
    if (ioctl(kvm, KVM_GET_API_VERSION, 0) != 12)
        give_up("KVM's API is not version 12", -EINVAL);
    call(SYS_mlockall, 3, 0, 0, 0, 0, 0); /* MCL_CURRENT | MCL_FUTURE: no page is touched for the first time in a test */
    if (start(1) < 0)
        give_up(why, -EINVAL);
    facts();
    for (;;) {
        ring();
        serve_request((const u8 *)line + REQUEST, line[0]);
    }
}

__asm__(".section .text.start, \"ax\"\n"
        ".globl _start\n"
        "_start: andi sp, sp, -16\n"
        "call monitor\n"
        ".text\n");

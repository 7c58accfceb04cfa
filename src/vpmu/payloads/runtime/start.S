/*
 * Entry, trap vector and CSR reads of the bundled payloads.
 *
 * The boot protocol is that of OpenSBI, KVM and vpmu: one hart arrives here in S-mode with a0 = hart id,
 * a1 = device tree, satp = 0 and interrupts off.
 */
    .section .text.start, "ax"
    .globl _start
_start:
    lla     sp, stack_top
    lla     t0, bss_start
    lla     t1, bss_end
1:  bgeu    t0, t1, 2f
    sd      zero, 0(t0)
    addi    t0, t0, 8
    j       1b
2:  lla     t0, trap_vector
    csrw    stvec, t0
    call    main            /* int main(hart_id, device_tree) */
    call    finish          /* does not return */

/*
 * Traps: save what a C function may change, call handle_trap(scause, sepc, stval), which returns the pc to
 * go on with, and restore. Payloads run on one stack, so sscratch is not needed.
 */
    .balign 4
trap_vector:
    addi    sp, sp, -128
    sd      ra,   0(sp)
    sd      t0,   8(sp)
    sd      t1,  16(sp)
    sd      t2,  24(sp)
    sd      t3,  32(sp)
    sd      t4,  40(sp)
    sd      t5,  48(sp)
    sd      t6,  56(sp)
    sd      a0,  64(sp)
    sd      a1,  72(sp)
    sd      a2,  80(sp)
    sd      a3,  88(sp)
    sd      a4,  96(sp)
    sd      a5, 104(sp)
    sd      a6, 112(sp)
    sd      a7, 120(sp)
    csrr    a0, scause
    csrr    a1, sepc
    csrr    a2, stval
    call    handle_trap
    csrw    sepc, a0
    ld      ra,   0(sp)
    ld      t0,   8(sp)
    ld      t1,  16(sp)
    ld      t2,  24(sp)
    ld      t3,  32(sp)
    ld      t4,  40(sp)
    ld      t5,  48(sp)
    ld      t6,  56(sp)
    ld      a0,  64(sp)
    ld      a1,  72(sp)
    ld      a2,  80(sp)
    ld      a3,  88(sp)
    ld      a4,  96(sp)
    ld      a5, 104(sp)
    ld      a6, 112(sp)
    ld      a7, 120(sp)
    addi    sp, sp, 128
    sret

/* unsigned long read_counter_csr(csr): a CSR number is part of the instruction, hence one read for each. */
    .text
    .globl read_counter_csr
read_counter_csr:
    andi    a0, a0, 31
    slli    a0, a0, 3
    lla     t0, counter_reads
    add     t0, t0, a0
    jr      t0
    .option push
    .option norvc           /* each entry is 8 bytes */
    .balign 8
counter_reads:
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    csrr    a0, 0xc00 + \n
    ret
    .endr
    .option pop

/* void loop(n): exactly 2 n instructions between its first and its `ret`. n > 0. */
    .globl loop
loop:
    addi    a0, a0, -1
    bnez    a0, loop
    ret

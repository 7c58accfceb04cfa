/*
 * The conformance agent: entry, traps, and the operations that a batch is made of.
 *
 * It runs in S mode, wherever it is loaded (pc-relative addresses only), with a0 = hart id, a1 = device tree, satp = 0.
 * What it does over the serial line is in agent.c.
 *
 * A call of a batch, in doublewords:
 *     0  operation | number of operands << 8 | references << 16 | shifted references << 24
 *     1  operands, at most 8: of a reference, the number of an earlier call, whose value (1 << value) is meant
 * A result, in doublewords: 0 value or a0, 1 a1, 2 scause + 1 of the exception that the operation ended in, or 0
 */
    .option norvc                   /* what traps is stepped over: 4 bytes */
    .section .text.start, "ax"
    .globl  _start
_start:
    lla     sp, stack_top
    lla     t0, bss_start
    lla     t1, bss_end
1:  bgeu    t0, t1, 2f
    sd      zero, 0(t0)
    addi    t0, t0, 8
    j       1b
2:  csrw    sie, zero
    li      t0, 7
    csrw    scounteren, t0
    lla     t0, trap
    csrw    stvec, t0
    mv      a2, a1
    mv      a1, a0
    lla     a0, _start
    call    agent_main              /* does not return */

/*
 * void run_batch(calls, count, results). s0 call, s1 calls left, s2 results so far, s3 first result, s4 operands
 * resolved, s5 operation, s6 references, s7 shifted ones, s8 operands left.
 */
    .text
    .globl  run_batch
run_batch:
    addi    sp, sp, -112
    sd      ra, 0(sp)
    sd      s0, 8(sp)
    sd      s1, 16(sp)
    sd      s2, 24(sp)
    sd      s3, 32(sp)
    sd      s4, 40(sp)
    sd      s5, 48(sp)
    sd      s6, 56(sp)
    sd      s7, 64(sp)
    sd      s8, 72(sp)
    sd      s9, 80(sp)
    mv      s0, a0
    mv      s1, a1
    mv      s2, a2
    mv      s3, a2
    lla     s4, operands
next_call:
    beqz    s1, batch_done
    addi    s1, s1, -1
    ld      t0, 0(s0)
    addi    s0, s0, 8
    andi    s5, t0, 0xff
    srli    t1, t0, 8
    andi    s8, t1, 0xff
    srli    t1, t0, 16
    andi    s6, t1, 0xff
    srli    t1, t0, 24
    andi    s7, t1, 0xff
    mv      t0, s4
    addi    t1, s4, 64
1:  sd      zero, 0(t0)
    addi    t0, t0, 8
    bltu    t0, t1, 1b
    mv      t0, s4
2:  beqz    s8, 5f
    addi    s8, s8, -1
    ld      t1, 0(s0)
    addi    s0, s0, 8
    andi    t2, s6, 1
    srli    s6, s6, 1
    andi    t3, s7, 1
    srli    s7, s7, 1
    beqz    t2, 4f
    slli    t4, t1, 4               /* a result is 24 bytes */
    slli    t1, t1, 3
    add     t1, t1, t4
    add     t1, t1, s3
    ld      t4, 8(t1)               /* a1; of an operation that is no ecall it is the value, too */
    bnez    t3, 3f
    mv      t1, t4
    j       4f
3:  li      t1, 1
    sll     t1, t1, t4
4:  sd      t1, 0(t0)
    addi    t0, t0, 8
    j       2b
5:  sd      zero, 16(s2)
    li      t0, 'e'
    beq     s5, t0, op_ecall
    li      t0, 'c'
    beq     s5, t0, op_csr
    li      t0, 'w'
    beq     s5, t0, op_work
    li      t0, 'l'
    beq     s5, t0, op_load
    li      t0, 's'
    beq     s5, t0, op_store
    li      t0, 'f'
    beq     s5, t0, op_fill
    li      t0, 'k'
    beq     s5, t0, op_differ
    li      t0, 'u'
    beq     s5, t0, op_user
    li      t0, 'W'
    beq     s5, t0, op_write_csr
    li      t0, 'C'
    beq     s5, t0, op_interrupt_csr
    li      t0, 'i'
    beq     s5, t0, op_interrupts
    li      t0, 't'
    beq     s5, t0, op_touch
#ifdef MAILBOX
    li      t0, 'R'
    beq     s5, t0, op_reset
#endif
    li      a0, -1
    li      a1, 0
done:
    sd      a0, 0(s2)
    sd      a1, 8(s2)
    addi    s2, s2, 24
    j       next_call
value:
    mv      a1, a0
    j       done
batch_done:
    ld      ra, 0(sp)
    ld      s0, 8(sp)
    ld      s1, 16(sp)
    ld      s2, 24(sp)
    ld      s3, 32(sp)
    ld      s4, 40(sp)
    ld      s5, 48(sp)
    ld      s6, 56(sp)
    ld      s7, 64(sp)
    ld      s8, 72(sp)
    ld      s9, 80(sp)
    addi    sp, sp, 112
    ret

op_ecall:
    ld      a7, 0(s4)
    ld      a6, 8(s4)
    ld      a0, 16(s4)
    ld      a1, 24(s4)
    ld      a2, 32(s4)
    ld      a3, 40(s4)
    ld      a4, 48(s4)
    ld      a5, 56(s4)
    ecall
    j       done
op_csr:
    ld      t0, 0(s4)
    slli    t0, t0, 3
    lla     t1, csr_reads
    add     t1, t1, t0
    li      a0, -1
    jalr    ra, 0(t1)
    j       value
op_work:                            /* exactly 2 N instructions in the loop */
    ld      a0, 0(s4)
    mv      t0, a0
    beqz    t0, value
1:  addi    t0, t0, -1
    bnez    t0, 1b
    j       value
op_load:
    ld      t0, 0(s4)
    li      a0, -1
    ld      a0, 0(t0)
    j       value
op_store:
    ld      t0, 0(s4)
    ld      t1, 8(s4)
    li      a0, 0
    sd      t1, 0(t0)
    j       value
op_fill:
    ld      t0, 0(s4)
    ld      t1, 8(s4)
    ld      t2, 16(s4)
    mv      a0, t1
1:  beqz    t1, value
    sd      t2, 0(t0)
    addi    t0, t0, 8
    addi    t1, t1, -1
    j       1b
op_differ:
    ld      t0, 0(s4)
    ld      t1, 8(s4)
    ld      t2, 16(s4)
    li      a0, 0
1:  beqz    t1, value
    ld      t3, 0(t0)
    beq     t3, t2, 2f
    addi    a0, a0, 1
2:  addi    t0, t0, 8
    addi    t1, t1, -1
    j       1b
op_touch:                           /* a byte of each page, with nothing of them in the TLB */
    ld      t0, 0(s4)
    ld      t1, 8(s4)
    mv      a0, t1
    lui     t2, 1
    sfence.vma
1:  beqz    t1, value
    lbu     t3, 0(t0)
    add     t0, t0, t2
    addi    t1, t1, -1
    j       1b
op_write_csr:
    ld      t0, 0(s4)
    slli    t0, t0, 3
    lla     t1, csr_writes
    add     t1, t1, t0
    li      t2, 1
    li      a0, -1
    jalr    ra, 0(t1)
    j       value
op_interrupt_csr:
    ld      t0, 0(s4)
    ld      t1, 8(s4)
    li      t2, 1
    beq     t0, t2, 1f
    li      t2, 2
    beq     t0, t2, 2f
    csrw    sie, t1
    csrr    a0, sie
    csrw    sie, zero
    j       value
1:  csrc    sip, t1
    csrr    a0, sip
    j       value
2:  csrs    sip, t1
    csrr    a0, sip
    j       value
op_interrupts:                      /* s9 collects the causes */
    li      s9, 0
    ld      t0, 0(s4)
    csrw    sie, t0
    csrsi   sstatus, 2
    ld      t0, 8(s4)
1:  addi    t0, t0, -1
    bgtz    t0, 1b
    csrci   sstatus, 2
    csrw    sie, zero
    mv      a0, s9
    j       value
op_user:                            /* read a CSR in U mode, with scounteren as given */
    ld      t0, 0(s4)
    ld      t1, 8(s4)
    csrw    scounteren, t1
    slli    t0, t0, 3
    lla     t1, csr_reads
    add     t1, t1, t0
    lla     t0, in_user
    csrw    sepc, t0
    li      t0, 0x100
    csrc    sstatus, t0
    li      a0, -1
    sret
in_user:
    jalr    ra, 0(t1)
    ecall
back_from_user:
    li      t0, 7
    csrw    scounteren, t0
    j       value

#ifdef MAILBOX
/*
 * A reset of this vCPU, by the monitor: another vCPU runs `starter`, which starts this one at `resume` with a1 = sp.
 * The device: + 8 takes starter's address, + 16 resume's and resets, + 24 takes what hart_start answered.
 */
op_reset:
    addi    sp, sp, -80
    sd      s0, 0(sp)
    sd      s1, 8(sp)
    sd      s2, 16(sp)
    sd      s3, 24(sp)
    sd      s4, 32(sp)
    sd      s10, 40(sp)             /* the C program's */
    sd      s11, 48(sp)
    sd      gp, 56(sp)
    sd      tp, 64(sp)
    li      t0, 0x10000000
    lla     t1, starter
    sd      t1, 8(t0)
    mv      a1, sp
    lla     t1, resume
    li      a0, -1                  /* what a monitor that does nothing leaves */
    sd      t1, 16(t0)
    addi    sp, sp, 80
    j       value
resume:
    mv      sp, a1
    ld      s0, 0(sp)
    ld      s1, 8(sp)
    ld      s2, 16(sp)
    ld      s3, 24(sp)
    ld      s4, 32(sp)
    ld      s10, 40(sp)
    ld      s11, 48(sp)
    ld      gp, 56(sp)
    ld      tp, 64(sp)
    addi    sp, sp, 80
    csrw    sie, zero
    li      t0, 7
    csrw    scounteren, t0
    lla     t0, trap
    csrw    stvec, t0
    li      a0, 0
    j       value
starter:                            /* a1 address, a2 its a1 */
    li      a0, 0
    li      a6, 0
    li      a7, 0x48534d            /* HSM, hart_start */
    ecall
    li      t0, 0x10000000
    sd      a0, 24(t0)
1:  j       1b
#endif

/* Exceptions: note the cause and step over. Interrupts: note the cause, clear it. An ECALL of U mode ends op_user. */
    .balign 4
trap:
    csrw    sscratch, t0
    csrr    t0, scause
    bltz    t0, interrupt
    addi    t0, t0, -8
    beqz    t0, user_done
    addi    t0, t0, 9
    sd      t0, 16(s2)
    csrr    t0, sepc
    addi    t0, t0, 4
    csrw    sepc, t0
    csrr    t0, sscratch
    sret
user_done:
    lla     t0, back_from_user
    csrw    sepc, t0
    li      t0, 0x100
    csrs    sstatus, t0
    csrr    t0, sscratch
    sret
interrupt:
    addi    sp, sp, -16
    sd      t1, 0(sp)
    slli    t0, t0, 1
    srli    t0, t0, 1
    li      t1, 1
    sll     t1, t1, t0
    or      s9, s9, t1
    csrc    sip, t1
    csrc    sie, t1
    ld      t1, 0(sp)
    addi    sp, sp, 16
    csrr    t0, sscratch
    sret

    .balign 8
csr_reads:
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    csrr    a0, 0xc00 + \n
    ret
    .endr
    csrr    a0, 0xda0               /* 32 scountovf */
    ret
    csrr    a0, sip
    ret
    csrr    a0, sie
    ret
    csrr    a0, scounteren
    ret
csr_writes:
    csrrw   x0, 0xc00, t2
    ret
    csrrw   a0, 0xc02, t2
    ret
    csrrs   a0, 0xc00, t2
    ret
    csrrsi  a0, 0xc00, 0
    ret
    csrrci  a0, 0xc00, 1
    ret
    csrrs   x0, 0xc00, x0
    ret
    csrrw   x0, 0xc03, x0
    ret
    csrrs   a0, 0xb00, x0
    ret
    csrrs   a0, 0x323, x0
    ret
    csrrs   a0, 0xc80, x0
    ret

    .bss
    .balign 8
operands:
    .skip   64

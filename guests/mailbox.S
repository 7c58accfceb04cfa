/*
 * The mailbox payload: does one operation at a time, as the user space of the hypervisor tells it to, and tells the
 * result. `vpmu replay` runs recorded tables with it: the calls come from machine code, as in the recording.
 *
 * The mailbox is a device at 0x10000000, doublewords:
 *
 *   read   0x00 operation   0x10..0x38 arguments (a0..a5)   0x40 a6   0x48 a7
 *   write  0x80 result (a0) 0x88 second result (a1)         0x90 operation done
 *          0x98 registers that an ecall changed (bit 0 set: was checked)
 *          0xa0 scause      0xa8 sepc     0xb0 stval        of a trap, which the payload then steps over with a0 = -999
 *          0xc0 operation unknown: the script has ended     0xd0 a0 of hsm_helper's hart_start
 *
 *    1 ecall         2 read a CSR        3 loop of 2 N instructions    5 load        6 store
 *    8 (first) N x config_matching, start, stop                        9 ecall, and check the other registers
 *   10 read a counter CSR in U-mode     11 CSR write forms            12 fill memory
 *   13 check memory 14 write sie, clear or set bits of sip            15 touch pages
 *
 * The tables hold counts that are exact to the instruction and the addresses of trapping instructions, so what
 * a recording ran must not change: neither the instructions of an operation, nor the place of the operation
 * in the chain of comparisons, nor where the CSR table lies. Two payloads were recorded; a table's header line
 * names the one it needs by its size:
 *
 *   1544 bytes (mailbox)          operations 1 to 15 without 8, hsm_helper at 0x400, CSR table at 0x430
 *    684 bytes (mailbox-first)    operations 1 to 8 (FIRST is defined), CSR table at 0x198
 *
 * A third form (NATIVE is defined) ran in S mode directly on OpenSBI, without a monitor: it walks a table of entries
 * of 0x100 bytes in memory, laid out as the mailbox, with the results in place; 0xb8 tells that the operation trapped.
 * Its CSR table lies at 0x530.
 *
 * The first one is known from its tables only (operations 1 to 6, its size, where the CSR table lies); its operation 8 and
 * the space after its trap handler are ours.
 */
/* `li` of a constant that takes two instructions: assemblers choose different ones, the recorded payload had these. */
 .macro li32 rd, value
 lui \rd, ((\value) + 0x800) >> 12
 addiw \rd, \rd, (\value) - ((((\value) + 0x800) >> 12) << 12)
 .endm

 .option norvc
 .option norelax
 .section .text.start, "ax"
 .globl _start
_start:
 lla t0, trap
 csrw stvec, t0
#ifdef NATIVE
 auipc s0, 0x10            /* the table of operations: 64 KiB behind the payload's start */
 addi s0, s0, -12
#else
 li s0, 0x10000000
#endif
loop:
 ld t0, 0(s0)
 li t1, 1
 beq t0, t1, op_ecall
 li t1, 2
 beq t0, t1, op_csr
 li t1, 3
 beq t0, t1, op_work
 li t1, 5
 beq t0, t1, op_load
 li t1, 6
 beq t0, t1, op_store
#ifdef FIRST
 li t1, 8
 beq t0, t1, op_bench
#else
 li t1, 9
 beq t0, t1, op_ecallchk
 li t1, 10
 beq t0, t1, op_umode
 li t1, 11
 beq t0, t1, op_csrw
 li t1, 12
 beq t0, t1, op_fill
 li t1, 13
 beq t0, t1, op_check
 li t1, 14
 beq t0, t1, op_wcsr
 li t1, 15
 beq t0, t1, op_touch
#endif
#ifdef NATIVE
 li32 a7, 0x53525354       /* SRST: shutdown */
 li a6, 0
 li a0, 0
 li a1, 0
 ecall
#else
 sd x0, 0xc0(s0)      /* exit */
#endif
1: j 1b
op_ecall:
 ld a0, 0x10(s0)
 ld a1, 0x18(s0)
 ld a2, 0x20(s0)
 ld a3, 0x28(s0)
 ld a4, 0x30(s0)
 ld a5, 0x38(s0)
 ld a6, 0x40(s0)
 ld a7, 0x48(s0)
 ecall
done2:
 sd a0, 0x80(s0)
 sd a1, 0x88(s0)
#ifdef NATIVE
 addi s0, s0, 0x100
#else
 sd x0, 0x90(s0)
#endif
 j loop
op_csr:
 ld t0, 0x10(s0)
 slli t0, t0, 3
 lla t1, csrtab
 add t1, t1, t0
 jalr ra, t1, 0
 li a1, 0
 j done2
op_work:
 ld t0, 0x10(s0)
 mv a0, t0
1: addi t0, t0, -1
 bnez t0, 1b
 li a1, 0
 j done2
op_load:
 ld t0, 0x10(s0)
 ld a0, 0(t0)
 li a1, 0
 j done2
op_store:
 ld t0, 0x10(s0)
 ld t1, 0x18(s0)
 sd t1, 0(t0)
 li a0, 0
 li a1, 0
 j done2
#ifdef FIRST
op_bench:                  /* b N EVENT MASK: a0 = error that ended it or 0, a1 = ticks of `time` */
 ld s1, 0x10(s0)
 ld s2, 0x18(s0)
 ld s3, 0x20(s0)
 csrr s4, time
 li32 a7, 0x504d55
1: li a6, 2                /* config_matching(0, MASK, CLEAR_VALUE, EVENT, 0) */
 li a0, 0
 mv a1, s3
 li a2, 2
 mv a3, s2
 li a4, 0
 ecall
 bnez a0, 2f
 mv s5, a1
 li a6, 3                  /* counter_start(counter, 1, SET_INIT_VALUE, 0) */
 mv a0, s5
 li a1, 1
 li a2, 1
 li a3, 0
 ecall
 bnez a0, 2f
 li a6, 4                  /* counter_stop(counter, 1, RESET) */
 mv a0, s5
 li a1, 1
 li a2, 1
 ecall
 bnez a0, 2f
 addi s1, s1, -1
 bnez s1, 1b
2: csrr a1, time
 sub a1, a1, s4
 j done2
#else
op_ecallchk:
 ld a0, 0x10(s0)
 ld a1, 0x18(s0)
 ld a2, 0x20(s0)
 ld a3, 0x28(s0)
 ld a4, 0x30(s0)
 ld a5, 0x38(s0)
 ld a6, 0x40(s0)
 ld a7, 0x48(s0)
 mv s2, a2
 mv s3, a3
 mv s4, a4
 mv s5, a5
 mv s6, a6
 mv s7, a7
 li t0, 0x7000
 li32 t1, 0x7001
 li32 t2, 0x7002
 li32 t3, 0x7003
 li32 t4, 0x7004
 li32 t5, 0x7005
 li32 t6, 0x7006
 li s8, 0
 ecall
 addi t0, t0, -0x700
 addi t1, t1, -0x700
 addi t2, t2, -0x700
 addi t3, t3, -0x700
 addi t4, t4, -0x700
 addi t5, t5, -0x700
 addi t6, t6, -0x700
 li32 s9, 0x6900
 beq t0, s9, 1f
 ori s8, s8, 0x100
1: li32 s9, 0x6901
 beq t1, s9, 1f
 ori s8, s8, 0x200
1: li32 s9, 0x6902
 beq t2, s9, 1f
 ori s8, s8, 0x400
1: li32 s9, 0x6903
 beq t3, s9, 1f
 li32 s9, 0x800
 or s8, s8, s9
1: li32 s9, 0x6904
 beq t4, s9, 1f
 li s9, 0x1000
 or s8, s8, s9
1: li32 s9, 0x6905
 beq t5, s9, 1f
 li s9, 0x2000
 or s8, s8, s9
1: li32 s9, 0x6906
 beq t6, s9, 1f
 li s9, 0x4000
 or s8, s8, s9
1: beq a2, s2, 1f
 ori s8, s8, 4
1: beq a3, s3, 1f
 ori s8, s8, 8
1: beq a4, s4, 1f
 ori s8, s8, 0x10
1: beq a5, s5, 1f
 ori s8, s8, 0x20
1: beq a6, s6, 1f
 ori s8, s8, 0x40
1: beq a7, s7, 1f
 ori s8, s8, 0x80
1: ori s8, s8, 1          /* bit 0 set = check was done */
 sd s8, 0x98(s0)
 j done2
op_umode:                  /* u CSRIDX SCOUNTEREN: read CSR in U/VU mode */
 ld t0, 0x10(s0)
 ld t1, 0x18(s0)
 csrw scounteren, t1
 slli t0, t0, 3
 lla t1, csrtab
 add t1, t1, t0
 lla t0, uentry
 csrw sepc, t0
 li t0, 0x100
 csrc sstatus, t0
 li a0, -1
 sret
uentry:
 jalr ra, t1, 0
 li32 a7, 0x7777
 ecall                     /* cause 8 -> trap: umode_done */
1: j 1b
umode_done:
 lla t0, 1f
 csrw sepc, t0
 li t0, 0x100
 csrs sstatus, t0
 sret
1: csrr a1, scounteren
 li t0, 7
 csrw scounteren, t0
 j done2
op_csrw:                   /* W KIND: csr write forms */
 ld t0, 0x10(s0)
 slli t0, t0, 3
 lla t1, wtab
 add t1, t1, t0
 li t2, 1
 li a0, -1
 jalr ra, t1, 0
 li a1, 0
 j done2
op_fill:                   /* f ADDR N VAL */
 ld t0, 0x10(s0)
 ld t1, 0x18(s0)
 ld t2, 0x20(s0)
 mv a0, t1
1: sd t2, 0(t0)
 addi t0, t0, 8
 addi t1, t1, -1
 bnez t1, 1b
 li a1, 0
 j done2
op_check:                  /* k ADDR N VAL: a0 = mismatches, a1 = index of first (-1 none) */
 ld t0, 0x10(s0)
 ld t1, 0x18(s0)
 ld t2, 0x20(s0)
 li a0, 0
 li a1, -1
 li t3, 0
1: ld t4, 0(t0)
 beq t4, t2, 2f
 addi a0, a0, 1
 bgez a1, 2f
 mv a1, t3
2: addi t0, t0, 8
 addi t3, t3, 1
 bne t3, t1, 1b
 j done2
op_wcsr:                   /* C IDX VAL: 0 sie:=VAL  1 clear sip bits VAL  2 sip set bits VAL ; a0 = new value */
 ld t0, 0x10(s0)
 ld t1, 0x18(s0)
 li t2, 1
 beq t0, t2, 1f
 li t2, 2
 beq t0, t2, 2f
 csrw sie, t1
 csrr a0, sie
 j 3f
1: csrc sip, t1
 csrr a0, sip
 j 3f
2: csrs sip, t1
 csrr a0, sip
3: li a1, 0
 j done2
op_touch:                  /* t ADDR NPAGES: sfence.vma; load one word of each page */
 ld t0, 0x10(s0)
 ld t1, 0x18(s0)
 mv a0, t1
 li t3, 4096
 sfence.vma
1: ld t2, 0(t0)
 add t0, t0, t3
 addi t1, t1, -1
 bnez t1, 1b
 li a1, 0
 j done2
#endif
trap:
 csrr t4, scause
#ifndef FIRST
 li t3, 8                  /* ecall from U-mode: the end of operation 10 */
 beq t4, t3, umode_done
#endif
 sd t4, 0xa0(s0)
 csrr t4, sepc
 sd t4, 0xa8(s0)
 addi t4, t4, 4
 csrw sepc, t4
 csrr t4, stval
 sd t4, 0xb0(s0)
#ifdef NATIVE
 li t4, 1
 sd t4, 0xb8(s0)
#endif
 li a0, -999
 sret

#ifdef NATIVE
 .org 0x530
#elif !defined(FIRST)
 nop
 .org 0x400
 .globl hsm_helper
hsm_helper:                /* second VCPU: hart_start(0, entry in a3, 0x1234) until it answers, report, exit */
 li s0, 0x10000000
 li32 a7, 0x48534D
 li a6, 0
 mv a1, a3
 li a0, 0
 li32 a2, 0x1234
 ecall
 sd a0, 0xd0(s0)
1: j 1b
 nop
 .org 0x430
#else
 .org 0x198
#endif
 .globl csrtab
csrtab:
 .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
 csrr a0, 0xc00+\n
 ret
 .endr
 csrr a0, 0xda0   /* idx 32: scountovf */
 ret
 csrr a0, sip     /* 33 */
 ret
#ifndef FIRST
 csrr a0, sie     /* 34 */
 ret
 csrr a0, scounteren /* 35 */
 ret
 csrr a0, 0x120   /* 36 scountinhibit */
 ret
wtab:
 csrrw x0, 0xc00, t2   /* 0 */
 ret
 csrrw a0, 0xc02, t2   /* 1 */
 ret
 csrrs a0, 0xc00, t2   /* 2 nonzero mask */
 ret
 csrrsi a0, 0xc00, 0   /* 3 read only form */
 ret
 csrrci a0, 0xc00, 1   /* 4 */
 ret
 csrrs x0, 0xc00, x0   /* 5 read, rd = x0 */
 ret
 csrrw x0, 0xc03, x0   /* 6 */
 ret
 csrrs a0, 0xb00, x0   /* 7 mcycle */
 ret
 csrrs a0, 0x323, x0   /* 8 mhpmevent3 */
 ret
 csrrs a0, 0xc80, x0   /* 9 cycleh on RV64 */
 ret
#ifndef NATIVE
 .org 1544
#endif
#else
 .org 684
#endif

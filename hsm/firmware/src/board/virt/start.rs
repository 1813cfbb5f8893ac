//! From reset to Rust, and from any trap or panic to a wiped, halted device.
//!
//! Owns the stack, the limits that the CPU enforces, and the wipe. Once `_start` has locked the protection, not even
//! this image can write to its code, execute its data, run past the end of its stack, or reach memory beyond its 512
//! KiB.

use core::arch::global_asm;

global_asm!(
    r#"
    .section .text.start, "ax"
    .globl _start
_start:
    csrw mie, zero
    csrw mstatus, zero
    la   t0, _trap
    csrw mtvec, t0
    csrr t0, mhartid
    bnez t0, 9f

    // Physical memory protection, every entry locked. The first that matches decides.
    la   t0, __image_start          // from here
    srli t0, t0, 2
    csrw pmpaddr0, t0
    la   t0, __ram_start            // to here: code, read and run
    srli t0, t0, 2
    csrw pmpaddr1, t0
    la   t0, __stack_bottom         // to here: the guard, nothing
    srli t0, t0, 2
    csrw pmpaddr2, t0
    la   t0, __ram_end              // to here: RAM, read and write
    srli t0, t0, 2
    csrw pmpaddr3, t0
    li   t0, (0x00100000 >> 2) | 0x1ff      // test device, 4 KiB
    csrw pmpaddr4, t0
    li   t0, (0x02000000 >> 2) | 0x1fff     // timer, 64 KiB
    csrw pmpaddr5, t0
    li   t0, (0x0c000000 >> 2) | 0xfffff    // interrupt controller, 8 MiB
    csrw pmpaddr6, t0
    li   t0, (0x10000000 >> 2) | 0x1fff     // UART and virtio, 64 KiB
    csrw pmpaddr7, t0
    li   t0, (0x22000000 >> 2) | 0x3fffff   // second flash, 32 MiB
    csrw pmpaddr8, t0
    li   t0, -1                             // all the rest: nothing
    csrw pmpaddr9, t0
    li   t0, 0x8b888d80
    csrw pmpcfg0, t0
    li   t0, 0x9b9b9b9b
    csrw pmpcfg1, t0
    li   t0, 0x0000989b
    csrw pmpcfg2, t0

    // Nothing of an earlier run stays, whatever ended it.
    la   t0, __stack_bottom
    la   t1, __ram_end
1:  sw   zero, 0(t0)
    addi t0, t0, 4
    bltu t0, t1, 1b
    la   t0, __data_load
    la   t1, __data_start
    la   t2, __data_end
2:  bgeu t1, t2, 3f
    lw   t3, 0(t0)
    sw   t3, 0(t1)
    addi t0, t0, 4
    addi t1, t1, 4
    j    2b
    // The stack is painted, so that its high-water mark can be read.
3:  la   t0, __stack_bottom
    la   sp, __stack_top
    li   t1, 0x57ac57ac
4:  sw   t1, 0(t0)
    addi t0, t0, 4
    bltu t0, sp, 4b
    call started
9:  wfi
    j    9b

    .balign 4
_trap:
    // Nothing returns from here, so the stack may be used from its top again, even if it is what ran out. A trap on the
    // way wipes at once.
    la   t0, _wipe_at_once
    csrw mtvec, t0
    la   sp, __stack_top
    csrr a0, mcause
    csrr a1, mepc
    csrr a2, mtval
    call on_trap

    .balign 4
_wipe_at_once:
    li   a0, 0x23333
    // Wipes all RAM and registers, then leaves with the word in a0. The virtio devices first, for they write to RAM.
    .globl _wipe
_wipe:
    csrw mie, zero
    li   t0, 0x10001000
    li   t1, 0x10009000
    li   t2, 0x1000
7:  sw   zero, 0x70(t0)
    add  t0, t0, t2
    bltu t0, t1, 7b
    la   t0, __stack_bottom
    la   t1, __ram_end
5:  sw   zero, 0(t0)
    addi t0, t0, 4
    bltu t0, t1, 5b
    .irp r, ra, sp, gp, tp, t1, t2, t3, t4, t5, t6, s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, a1, a2, a3, a4, a5, a6, a7
    li   \r, 0
    .endr
    li   t0, 0x00100000
    sw   a0, 0(t0)
6:  wfi
    j    6b
"#
);

/*
 * The floating-point registers and fcsr, and the vector registers with what goes with them, to and from a save area. The kernel itself is
 * compiled without F, D and V; only these functions may use them, with sstatus.FS and VS not Off.
 */
.option arch, +d, +v
.text

.macro each_register op
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \op f\n, 8 * \n(a0)
    .endr
.endm

/* void rv_fpu_store(void *area) */
.global rv_fpu_store
rv_fpu_store:
    each_register fsd
    frcsr t0
    sd t0, 256(a0)
    ret

/* void rv_fpu_load(const void *area) */
.global rv_fpu_load
rv_fpu_load:
    each_register fld
    ld t0, 256(a0)
    fscsr t0
    ret

/* Whole-register transfers look at vstart only (RISC-V V 1.0, 7.9). Eight registers each. */
.macro each_vector_group op
    addi t0, a0, 64
    csrr t1, vlenb
    slli t1, t1, 3
    .irp n, 0,8,16,24
    \op v\n, (t0)
    add t0, t0, t1
    .endr
.endm

/* void rv_vector_store(void *area) */
.global rv_vector_store
rv_vector_store:
    csrr t0, vl
    csrr t1, vtype
    csrr t2, vcsr
    csrr t3, vstart
    sd t0, 0(a0)
    sd t1, 8(a0)
    sd t2, 16(a0)
    sd t3, 24(a0)
    csrw vstart, zero
    each_vector_group vs8r.v
    ret

/* void rv_vector_load(const void *area): vstart last, as setting vl and vtype clears it. */
.global rv_vector_load
rv_vector_load:
    csrw vstart, zero
    each_vector_group vl8re8.v
    ld t0, 0(a0)
    ld t1, 8(a0)
    ld t2, 16(a0)
    ld t3, 24(a0)
    vsetvl zero, t0, t1
    csrw vcsr, t2
    csrw vstart, t3
    ret

/*
 * uint64_t rv_vector_bytes(void): vlenb, or 0 when reading it traps: QEMU 7.2 lets VS be set on a CPU without V. Changes sstatus.SPP and
 * SPIE; interrupts are off.
 */
.global rv_vector_bytes
rv_vector_bytes:
    la t0, 1f
    csrrw t1, stvec, t0
    li a0, 0
    csrr a0, vlenb
    .balign 4
1:  csrw stvec, t1
    ret

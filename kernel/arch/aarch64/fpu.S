/*
 * Floating-point and vector registers to and from a save area; fpu.c chooses. Advanced SIMD: q0..q31, FPSR, FPCR. SVE: FPSR, FPCR, from
 * byte 64 on z0..z31, p0..p15, FFR.
 */
    .text
    .arch_extension fp
    .arch_extension simd
    .arch_extension sve

/* x0 is the area; a64_sve_*: x0 + 64 and x1 point to the vectors and the predicates. */
.macro each_q op
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \op q\n, [x0, #16 * \n]
    .endr
.endm

.macro each_z op
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \op z\n, [x0, #\n, mul vl]
    .endr
.endm

.macro each_p op
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    \op p\n, [x1, #\n, mul vl]
    .endr
.endm

.macro save_status offset
    mrs     x1, fpsr
    mrs     x2, fpcr
    str     x1, [x0, #\offset]
    str     x2, [x0, #\offset + 8]
.endm

.macro restore_status offset
    ldr     x1, [x0, #\offset]
    ldr     x2, [x0, #\offset + 8]
    msr     fpsr, x1
    msr     fpcr, x2
.endm

.macro vectors
    add     x0, x0, #64
    addvl   x1, x0, #16
    addvl   x1, x1, #16
.endm

    .globl a64_simd_save
a64_simd_save:
    each_q  str
    save_status 512
    ret

    .globl a64_simd_restore
a64_simd_restore:
    each_q  ldr
    restore_status 512
    ret

    .globl a64_sve_save
a64_sve_save:
    save_status 0
    vectors
    each_z  str
    each_p  str
    rdffr   p0.b
    str     p0, [x1, #16, mul vl]
    ret

    .globl a64_sve_restore
a64_sve_restore:
    restore_status 0
    vectors
    ldr     p0, [x1, #16, mul vl]
    wrffr   p0.b
    each_p  ldr
    each_z  ldr
    ret

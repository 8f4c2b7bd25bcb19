/*
 * The 32 floating-point registers and fcsr, in that order, in a save area. The kernel itself is compiled without F and D;
 * only these two functions may use them, with sstatus.FS not Off.
 */
.option arch, +d
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

/* Per-CPU set-up, starting and stopping CPUs and the machine (PSCI, Arm DEN 0022), random numbers. */
#include "a64.h"
#include "a64_asm.h"
#include <kernel/thread.h>
#include <tess/string.h>

static_assert(offsetof(struct cpu, current) == CPU_CURRENT);
static_assert(offsetof(struct cpu, stack_top) == CPU_STACK_TOP);
static_assert(offsetof(struct cpu, exit_work) == CPU_EXIT_WORK && offsetof(struct cpu, epoch) == CPU_EPOCH);
static_assert(offsetof(struct cpu, arch_scratch) == CPU_EMERGENCY_STACK);
static_assert(CPU_SCRATCH + 16 <= CPU_OFFSET_SCRATCH + sizeof(((struct cpu *)0)->arch_scratch));
static_assert(offsetof(struct arch_frame, sp) == FRAME_SP && offsetof(struct arch_frame, pc) == FRAME_PC);
static_assert(offsetof(struct arch_frame, pstate) == FRAME_PSTATE && offsetof(struct arch_frame, tls) == FRAME_TLS);
static_assert(offsetof(struct arch_frame, upcall) == FRAME_UPCALL);
static_assert(sizeof(struct arch_frame) == FRAME_SIZE && FRAME_SIZE % 16 == 0);
static_assert(offsetof(struct thread, native_limit) == THREAD_NATIVE_LIMIT && offsetof(struct thread, upcall) == THREAD_UPCALL);
static_assert(offsetof(struct thread, upcall_entry) == THREAD_UPCALL_ENTRY && offsetof(struct thread, pending) == THREAD_PENDING);
static_assert(offsetof(struct tess_upcall_frame, foreign.registers) == 0);
static_assert(offsetof(struct tess_upcall_frame, foreign.cause) == UPCALL_CAUSE);
static_assert(offsetof(struct tess_upcall_frame, foreign.access) == UPCALL_CAUSE + 4);
static_assert(offsetof(struct tess_upcall_frame, foreign.stack) == UPCALL_STACK);
static_assert(UPCALL_SYSTEM_CALL == UPCALL_CAUSE_SYSTEM_CALL && NATIVE_BASE == NATIVE_BASE_ADDRESS);

enum : uint64_t {
    PSCI_CPU_ON = 0xC4000003,
    PSCI_SYSTEM_OFF = 0x84000008,
    PSCI_SYSTEM_RESET = 0x84000009,
    ID_MMFR1_PAN = 15 << 20,
    ID_ISAR0_RNDR = 15ull << 60,
};

enum : uint64_t {
    SEMIHOSTING_EXIT_EXTENDED = 0x20,
    SEMIHOSTING_APPLICATION_EXIT = 0x20026, /* ADP_Stopped_ApplicationExit */
};

static bool psci_is_hvc;
static bool has_semihosting_exit;

[[noreturn]] void a64_secondary_main(struct cpu *cpu);

/* ---- Set-up ----------------------------------------------------------------------------------------------------- */

void arch_upcall_address_load(const struct arch_frame *frame) { A64_WRITE(tpidrro_el0, frame->upcall); }

void arch_cpu_set_self(struct cpu *cpu) { A64_WRITE(tpidr_el1, cpu); }

/* Privileged access never: user memory is out of the kernel's reach, as all copies go through the direct map. */
static void enable_pan(void)
{
    if (!(A64_READ(id_aa64mmfr1_el1) & ID_MMFR1_PAN))
        return;
    A64_WRITE(sctlr_el1, A64_READ(sctlr_el1) & ~(uint64_t)SCTLR_SPAN);
    a64_isb();
    __asm__ volatile(".arch_extension pan\n\tmsr pan, #1" ::: "memory");
}

void arch_cpu_init(struct cpu *cpu)
{
    A64_WRITE(vbar_el1, a64_vectors);
    A64_WRITE(tpidr_el0, 0);
    A64_WRITE(tpidrro_el0, 0);
    A64_WRITE(mdscr_el1, 0); /* no debug exceptions */
    a64_fpu_cpu_init();
    A64_WRITE(sctlr_el1, A64_READ(sctlr_el1) | SCTLR_WXN);
    a64_isb();
    /* SCTLR.WXN may be cached in TLB entries (Arm ARM D17.2.118). */
    arch_tlb_flush_kernel_local();
    enable_pan();
    cpu->arch_scratch[0] = (uint64_t)cpu->arch + PAGE_SIZE;
    cpu->arch_scratch[1] = 0;
}

void a64_secondary_main(struct cpu *cpu)
{
    /* Leaves the identity map. */
    A64_WRITE(ttbr0_el1, a64_image_physical(a64_empty_root));
    a64_isb();
    arch_tlb_flush_kernel_local();
    arch_cpu_init(cpu);
    kernel_secondary_main(cpu);
}

/* ---- Firmware --------------------------------------------------------------------------------------------------- */

static int64_t psci_call(uint64_t function, uint64_t arg0, uint64_t arg1, uint64_t arg2)
{
    register uint64_t x0 __asm__("x0") = function;
    register uint64_t x1 __asm__("x1") = arg0;
    register uint64_t x2 __asm__("x2") = arg1;
    register uint64_t x3 __asm__("x3") = arg2;

    /* The SMC calling convention keeps x18 and up (DEN 0028, 2.6); older versions keep x4 and up only. x12 to x15, which may change
     * too, are the user's when a system call powers off, and that never returns. */
    if (psci_is_hvc)
        __asm__ volatile("hvc #0"
                         : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)::"x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x16", "x17",
                           "memory");
    else
        __asm__ volatile("smc #0"
                         : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)::"x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x16", "x17",
                           "memory");
    return (int64_t)x0;
}

bool arch_cpu_start(struct cpu *cpu, paddr_t root)
{
    if (root != a64_kernel_root)
        return false;
    /* The new CPU reads *cpu with its MMU on, so the caches are coherent; only the stores must be done. */
    __asm__ volatile("dsb ish" ::: "memory");
    return psci_call(PSCI_CPU_ON, cpu->hw_id, a64_image_physical(a64_secondary_entry), (uint64_t)cpu) == 0;
}

/* ---- Power ------------------------------------------------------------------------------------------------------ */

void a64_power_init(const struct boot_info *bi)
{
    static const char option[] = "exit=semihosting";
    constexpr size_t length = sizeof(option) - 1;

    psci_is_hvc = bi->power.psci_is_hvc;
    /* A semihosting call without a debugger or emulator behind it is an undefined instruction: only on request. */
    for (const char *at = bi->cmdline; *at; at++) {
        bool is_word_start = at == bi->cmdline || at[-1] == ' ';
        if (is_word_start && strncmp(at, option, length) == 0 && (at[length] == 0 || at[length] == ' '))
            has_semihosting_exit = true;
    }
}

/* Arm Semihosting 2.0, 6.2: makes QEMU's process exit with `code`. */
static void semihosting_exit(uint64_t code)
{
    uint64_t block[2] = {SEMIHOSTING_APPLICATION_EXIT, code};
    register uint64_t x0 __asm__("x0") = SEMIHOSTING_EXIT_EXTENDED;
    register uint64_t *x1 __asm__("x1") = block;

    __asm__ volatile("hlt #0xf000" : "+r"(x0) : "r"(x1) : "memory");
}

void arch_power(enum arch_poweroff how)
{
    if (how == ARCH_EXIT_FAILURE && has_semihosting_exit)
        semihosting_exit(1);
    psci_call(how == ARCH_REBOOT ? PSCI_SYSTEM_RESET : PSCI_SYSTEM_OFF, 0, 0, 0);
    arch_halt();
}

void arch_halt(void)
{
    __asm__ volatile("msr daifset, #15" ::: "memory");
    for (;;)
        __asm__ volatile("wfi" ::: "memory");
}

void arch_idle(void)
{
    /* A pending interrupt ends wfi although it is masked (Arm ARM D1.6.2), so nothing can slip in between the caller's last
     * check and the wait, and no interrupt is ever taken in kernel mode. */
    __asm__ volatile("dsb sy\n\twfi" ::: "memory");
    a64_irq_handle();
}

/* Not inlined: tools/latency looks for it. */
[[gnu::noinline]] void arch_irq_poll(void)
{
    uint64_t pending;

    __asm__ volatile("mrs %0, isr_el1" : "=r"(pending)::"memory");
    if (pending != 0)
        a64_irq_handle();
}

/* ---- Odds and ends ---------------------------------------------------------------------------------------------- */

bool arch_random(uint64_t *out_value)
{
    uint64_t value, is_valid;

    if (!(A64_READ(id_aa64isar0_el1) & ID_ISAR0_RNDR))
        return false;
    /* RNDR sets Z when it has nothing to give (Arm ARM C5.2.16). */
    __asm__ volatile("mrs %0, S3_3_C2_C4_0\n\tcset %1, ne" : "=r"(value), "=r"(is_valid)::"cc", "memory");
    *out_value = value;
    return is_valid != 0;
}

bool arch_port_in(uint16_t port, uint32_t width_bytes, uint32_t *out_value)
{
    (void)port, (void)width_bytes, (void)out_value;
    return false;
}

bool arch_port_out(uint16_t port, uint32_t width_bytes, uint32_t value)
{
    (void)port, (void)width_bytes, (void)value;
    return false;
}

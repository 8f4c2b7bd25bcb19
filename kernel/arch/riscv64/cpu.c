/* Per-CPU set-up and start of the others through the SBI hart state management extension (SBI 1.0, chapter 9). */
#include "rv.h"

/* In use from the first instruction in C until kernel_main() names its own. */
struct cpu rv_early_cpu;
static struct rv_cpu_page early_page;

static void use_emergency_stack(struct cpu *cpu, struct rv_cpu_page *page)
{
    cpu->arch_scratch[RV_SCRATCH_EMERGENCY_STACK] = (uint64_t)(page + 1);
}

void arch_cpu_set_self(struct cpu *cpu)
{
    cpu->self = cpu;
    use_emergency_stack(cpu, &early_page);
    __asm__ volatile("mv tp, %0" ::"r"(cpu) : "memory");
}

void arch_cpu_init(struct cpu *cpu)
{
    if (cpu->arch != nullptr) {
        use_emergency_stack(cpu, cpu->arch);
    }
    rv_fpu_cpu_init();
    /* SPP clear from here on: traps come from user mode or do not return, and each SRET clears it anyway. */
    csr_clear(sstatus, SSTATUS_SIE | SSTATUS_SPIE | SSTATUS_SPP | SSTATUS_SUM | SSTATUS_MXR);
    csr_write(scounteren, SCOUNTEREN_CY_TM_IR);
    csr_write(sie, 0);
}

bool arch_cpu_start(struct cpu *cpu, paddr_t root)
{
    struct rv_cpu_page *page = cpu->arch;
    page->satp = SATP_MODE_SV39 | root >> PAGE_SHIFT;
    page->cpu = cpu;
    rv_starting.page = rv_phys(page);
    atomic_store_explicit(&rv_starting.hart_id_plus_1, cpu->hw_id + 1, memory_order_release);
    /* The firmware's call orders these stores with the other hart's start (SBI 1.0, 9.1 leaves it to a fence of ours). */
    __asm__ volatile("fence rw, rw" ::: "memory");
    return rv_sbi_hart_start(cpu->hw_id, rv_phys(rv_secondary_entry), rv_phys(page));
}

[[noreturn]] void rv_secondary(struct cpu *cpu);
[[noreturn]] void rv_secondary(struct cpu *cpu)
{
    cpu->self = cpu;
    arch_cpu_init(cpu);
    kernel_secondary_main(cpu);
}

bool arch_port_in([[maybe_unused]] uint16_t port, [[maybe_unused]] uint32_t width_bytes, [[maybe_unused]] uint32_t *out_value)
{
    return false;
}

bool arch_port_out([[maybe_unused]] uint16_t port, [[maybe_unused]] uint32_t width_bytes, [[maybe_unused]] uint32_t value) { return false; }

/* The `seed` register of Zkr belongs to machine mode unless firmware delegates it. */
bool arch_random([[maybe_unused]] uint64_t *out_value) { return false; }

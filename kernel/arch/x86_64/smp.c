/* Starting secondary CPUs: INIT, then STARTUP at the trampoline (Intel SDM vol. 3, 8.4.4.1), which boot.S takes from there. */
#include "x86.h"

paddr_t x86_ap_root; /* read by x86_ap_entry; the same for all CPUs */

bool arch_cpu_start(struct cpu *cpu, paddr_t root)
{
    uint32_t apic_id = (uint32_t)cpu->hw_id;
    if (apic_id > 0xFE && !x86_features.has_x2apic) {
        return false;
    }
    x86_ap_root = root;
    /* The 10 ms after INIT were for the external APICs of the first Pentiums; no CPU with long mode needs them. */
    x86_lapic_send_init(apic_id);
    x86_delay_ns(200'000);
    x86_lapic_send_startup(apic_id, X86_TRAMPOLINE / PAGE_SIZE);
    x86_delay_ns(200'000);
    if (!atomic_load_explicit(&cpu->is_online, memory_order_acquire)) {
        x86_lapic_send_startup(apic_id, X86_TRAMPOLINE / PAGE_SIZE);
    }
    return true;
}

void x86_ap_main(struct cpu *cpu)
{
    arch_cpu_set_self(cpu);
    arch_cpu_init(cpu);
    kernel_secondary_main(cpu);
}

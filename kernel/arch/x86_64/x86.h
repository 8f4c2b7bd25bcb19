/* What the files of this port share with each other. Nothing outside kernel/arch/x86_64 includes it. */
#pragma once
#include "asm.h"
#include <arch/arch.h>

/* ---- Instructions -------------------------------------------------------------------------------------------- */

static inline uint8_t x86_in8(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline uint16_t x86_in16(uint16_t port)
{
    uint16_t value;
    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline uint32_t x86_in32(uint16_t port)
{
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline void x86_out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory"); }

static inline void x86_out16(uint16_t port, uint16_t value) { __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory"); }

static inline void x86_out32(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory"); }

static inline uint64_t x86_rdmsr(uint32_t msr)
{
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
    return (uint64_t)high << 32 | low;
}

static inline void x86_wrmsr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

struct x86_cpuid {
    uint32_t eax, ebx, ecx, edx;
};

static inline struct x86_cpuid x86_cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct x86_cpuid r;
    __asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
    return r;
}

static inline uint64_t x86_read_cr0(void)
{
    uint64_t value;
    __asm__ volatile("mov %%cr0, %0" : "=r"(value) : : "memory");
    return value;
}

static inline void x86_write_cr0(uint64_t value) { __asm__ volatile("mov %0, %%cr0" : : "r"(value) : "memory"); }

static inline uint64_t x86_read_cr2(void)
{
    uint64_t value;
    __asm__ volatile("mov %%cr2, %0" : "=r"(value) : : "memory");
    return value;
}

static inline void x86_write_cr3(uint64_t value) { __asm__ volatile("mov %0, %%cr3" : : "r"(value) : "memory"); }

static inline uint64_t x86_read_cr4(void)
{
    uint64_t value;
    __asm__ volatile("mov %%cr4, %0" : "=r"(value) : : "memory");
    return value;
}

static inline void x86_write_cr4(uint64_t value) { __asm__ volatile("mov %0, %%cr4" : : "r"(value) : "memory"); }

constexpr uint64_t X86_CR0_AM = 1ull << 18;
constexpr uint64_t X86_CR0_EM = 1ull << 2;
constexpr uint64_t X86_CR0_TS = 1ull << 3;
constexpr uint64_t X86_CR4_TSD = 1ull << 2;
constexpr uint64_t X86_CR4_PGE = 1ull << 7;
constexpr uint64_t X86_CR4_PCE = 1ull << 8;
constexpr uint64_t X86_CR4_OSFXSR = 1ull << 9;
constexpr uint64_t X86_CR4_OSXMMEXCPT = 1ull << 10;
constexpr uint64_t X86_CR4_UMIP = 1ull << 11;
constexpr uint64_t X86_CR4_FSGSBASE = 1ull << 16;
constexpr uint64_t X86_CR4_PCIDE = 1ull << 17;
constexpr uint64_t X86_CR4_OSXSAVE = 1ull << 18;
constexpr uint64_t X86_CR4_SMEP = 1ull << 20;
constexpr uint64_t X86_CR4_SMAP = 1ull << 21;

/* ---- cpu.c: features and the per-CPU block -------------------------------------------------------------------- */

/* Probed once on the boot CPU; the others are taken to be like it. */
struct x86_features {
    bool has_pcid, has_smep, has_smap, has_umip, has_waitpkg, has_xsave, has_x2apic, has_tsc_deadline, has_1g_pages, has_rdrand, has_rdseed;
    uint64_t xcr0;          /* state components to enable; 0 without XSAVE */
    uint32_t fpu_size;      /* of a save area */
    uint32_t physical_bits; /* MAXPHYADDR */
};
extern struct x86_features x86_features;
extern bool x86_has_fsgsbase; /* apart, for entry.S */
void x86_features_probe(void);
uint32_t x86_apic_id(void); /* of the CPU that asks, by CPUID */

struct [[gnu::packed]] x86_tss { /* Intel SDM vol. 3, 7.7 */
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map_base;
};
static_assert(sizeof(struct x86_tss) == 104);

/*
 * cpu->arch: one zeroed page. Descriptor tables at the start; the rest is the stack of NMI, double fault and machine check,
 * which finds this block, and in it the CPU, by clearing the low bits of its stack pointer (entry.S).
 */
struct x86_cpu_block {
    struct cpu *cpu; /* at offset 0: entry.S */
    uint64_t timer_deadline_ns;
    uint64_t gdt[7];
    struct x86_tss tss;
};

static inline struct x86_cpu_block *x86_block(void) { return arch_cpu()->arch; }

/* ---- trap.c, entry.S ------------------------------------------------------------------------------------------- */
void x86_idt_init(void); /* boot CPU, once; then x86_idt_load() on every CPU */
void x86_idt_load(void);
void x86_syscall_entry(void);
[[noreturn]] void x86_ap_main(struct cpu *cpu);

/* ---- fpu.c ----------------------------------------------------------------------------------------------------- */
void x86_fpu_probe(void);
void x86_fpu_cpu_init(void);

/* ---- lapic.c, ioapic.c, time.c --------------------------------------------------------------------------------- */
/* Vectors: 0x20..0x2F the masked PICs (only their spurious interrupts), then one per GSI, then the local ones. */
constexpr uint32_t X86_VECTOR_PIC = 0x20;
constexpr uint32_t X86_VECTOR_GSI = 0x30;
constexpr uint32_t X86_VECTOR_TIMER = 0xF0;
constexpr uint32_t X86_VECTOR_IPI = 0xF1;
constexpr uint32_t X86_VECTOR_SPURIOUS = 0xFF;
constexpr uint32_t X86_GSI_MAX = X86_VECTOR_TIMER - X86_VECTOR_GSI;

void x86_lapic_init(const struct boot_info *bi); /* boot CPU; any number of times */
void x86_lapic_cpu_init(void);                   /* every CPU; any number of times */
void x86_lapic_eoi(void);
uint32_t x86_lapic_timer_count(void);  /* counts down */
void x86_lapic_timer_start_free(void); /* longest period, masked: for calibration */
void x86_lapic_timer_configure(uint64_t ticks_per_s);
void x86_lapic_timer_interrupt(void);
void x86_lapic_send_init(uint32_t apic_id);
void x86_lapic_send_startup(uint32_t apic_id, uint32_t page);
void x86_ioapic_interrupt(uint32_t gsi); /* masks a level-triggered source, ends the interrupt, passes it on */
void x86_irq_dispatch(uint32_t vector);
void x86_delay_ns(uint64_t ns);

/* ---- boot.c, pci.c --------------------------------------------------------------------------------------------- */
extern struct boot_info x86_boot_info;
void x86_pci_windows(struct boot_info *bi);

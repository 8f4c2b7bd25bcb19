/* This CPU: what it can do (CPUID), its descriptor tables, control registers and system-call entry. */
#include "x86.h"
#include <tess/string.h>

struct x86_features x86_features;
bool x86_has_fsgsbase;

constexpr uint32_t MSR_STAR = 0xC0000081, MSR_LSTAR = 0xC0000082, MSR_CSTAR = 0xC0000083, MSR_SFMASK = 0xC0000084;

/* How long user code may wait with UMWAIT or TPAUSE, and not in the deeper state (Intel SDM vol. 4, IA32_UMWAIT_CONTROL). */
constexpr uint32_t MSR_UMWAIT_CONTROL = 0xE1;
constexpr uint64_t UMWAIT_TSC_MAX = 100'000, UMWAIT_NO_C02 = 1; /* a multiple of 4 */

static_assert(sizeof(struct x86_cpu_block) <= 512, "the rest of the page is a stack");

static bool bit(uint32_t word, uint32_t index) { return word >> index & 1; }

void x86_features_probe(void)
{
    uint32_t leaf_max = x86_cpuid(0, 0).eax;
    uint32_t extended_max = x86_cpuid(0x80000000, 0).eax;
    struct x86_cpuid basic = x86_cpuid(1, 0);
    struct x86_cpuid structured = leaf_max >= 7 ? x86_cpuid(7, 0) : (struct x86_cpuid){};
    struct x86_cpuid extended = extended_max >= 0x80000001 ? x86_cpuid(0x80000001, 0) : (struct x86_cpuid){};
    x86_features = (struct x86_features){
        .has_pcid = bit(basic.ecx, 17),
        .has_x2apic = bit(basic.ecx, 21),
        .has_tsc_deadline = bit(basic.ecx, 24),
        .has_xsave = bit(basic.ecx, 26),
        .has_rdrand = bit(basic.ecx, 30),
        .has_smep = bit(structured.ebx, 7),
        .has_rdseed = bit(structured.ebx, 18),
        .has_smap = bit(structured.ebx, 20),
        .has_umip = bit(structured.ecx, 2),
        .has_waitpkg = bit(structured.ecx, 5),
        .has_1g_pages = bit(extended.edx, 26),
        .physical_bits = extended_max >= 0x80000008 ? x86_cpuid(0x80000008, 0).eax & 0xFF : 36,
    };
    x86_has_fsgsbase = bit(structured.ebx, 0);
    x86_fpu_probe();
}

/* Leaf 0xB has the 32-bit id where it exists (Intel SDM vol. 3, 8.9.1); the same test as in boot.S. */
uint32_t x86_apic_id(void)
{
    if (x86_cpuid(0, 0).eax >= 0xB) {
        struct x86_cpuid topology = x86_cpuid(0xB, 0);
        if (topology.ebx != 0) {
            return topology.edx;
        }
    }
    return x86_cpuid(1, 0).ebx >> 24;
}

/* KERNEL_GS_BASE holds the user's base while the kernel runs; x86_return loads it from the frame of every other thread. */
void arch_upcall_address_load(const struct arch_frame *frame) { x86_wrmsr(X86_MSR_KERNEL_GS_BASE, frame->gs_base); }

void arch_cpu_set_self(struct cpu *cpu)
{
    cpu->self = cpu;
    x86_wrmsr(X86_MSR_GS_BASE, (uint64_t)cpu);
    x86_wrmsr(X86_MSR_KERNEL_GS_BASE, 0);
}

static void descriptors_load(struct cpu *cpu, struct x86_cpu_block *block)
{
    block->cpu = cpu;
    block->tss.rsp[0] = cpu->stack_top;
    block->tss.ist[0] = (uint64_t)block + PAGE_SIZE;
    block->tss.io_map_base = sizeof(block->tss); /* beyond the limit: no port is open to user mode */

    uint64_t tss = (uint64_t)&block->tss;
    block->gdt[X86_SEL_KERNEL_CODE / 8] = 0x00AF9B000000FFFF;
    block->gdt[X86_SEL_KERNEL_DATA / 8] = 0x00CF93000000FFFF;
    block->gdt[X86_SEL_USER_DATA / 8] = 0x00CFF3000000FFFF;
    block->gdt[X86_SEL_USER_CODE / 8] = 0x00AFFB000000FFFF;
    block->gdt[X86_SEL_TSS / 8] =
        (sizeof(block->tss) - 1) | (tss & 0xFFFFFF) << 16 | 0x89ull << 40 | (tss >> 24 & 0xFF) << 56; /* available 64-bit TSS */
    block->gdt[X86_SEL_TSS / 8 + 1] = tss >> 32;

    struct [[gnu::packed]] {
        uint16_t limit;
        uint64_t base;
    } pointer = {sizeof(block->gdt) - 1, (uint64_t)block->gdt};
    __asm__ volatile("lgdt %0" : : "m"(pointer) : "memory");
    uint64_t scratch;
    __asm__ volatile("pushq %1\n\tleaq 1f(%%rip), %0\n\tpushq %0\n\tlretq\n1:" : "=&r"(scratch) : "i"(X86_SEL_KERNEL_CODE) : "memory");
    __asm__ volatile("mov %0, %%ss\n\tmov %1, %%ds\n\tmov %1, %%es\n\tmov %1, %%fs\n\tmov %1, %%gs"
                     :
                     : "r"(X86_SEL_KERNEL_DATA), "r"(0)
                     : "memory");
    arch_cpu_set_self(cpu); /* loading GS cleared its base */
    __asm__ volatile("ltr %w0" : : "r"(X86_SEL_TSS) : "memory");
}

static void control_registers_set(void)
{
    x86_write_cr0((x86_read_cr0() | X86_CR0_LONG_MODE) & ~(X86_CR0_EM | X86_CR0_AM));
    uint64_t cr4 = x86_read_cr4() & ~(X86_CR4_TSD | X86_CR4_PCE);
    cr4 |= X86_CR4_PGE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;
    cr4 |= x86_has_fsgsbase ? X86_CR4_FSGSBASE : 0;
    cr4 |= x86_features.has_pcid ? X86_CR4_PCIDE : 0; /* CR3 holds PCID 0 (Intel SDM vol. 3, 4.10.1) */
    cr4 |= x86_features.has_smep ? X86_CR4_SMEP : 0;
    cr4 |= x86_features.has_smap ? X86_CR4_SMAP : 0;
    cr4 |= x86_features.has_umip ? X86_CR4_UMIP : 0;
    cr4 |= x86_features.has_xsave ? X86_CR4_OSXSAVE : 0;
    x86_write_cr4(cr4);
    __asm__ volatile("pushq $2\n\tpopfq" : : : "memory", "cc"); /* AC clear: SMAP holds everywhere */
}

void arch_cpu_init(struct cpu *cpu)
{
    descriptors_load(cpu, cpu->arch);
    x86_idt_load();
    control_registers_set();
    x86_wrmsr(X86_MSR_EFER, x86_rdmsr(X86_MSR_EFER) | X86_EFER_LONG_MODE);
    x86_wrmsr(MSR_STAR, (uint64_t)X86_SEL_KERNEL_CODE << 32 | (uint64_t)(X86_SEL_KERNEL_DATA | 3) << 48);
    x86_wrmsr(MSR_LSTAR, (uint64_t)x86_syscall_entry);
    x86_wrmsr(MSR_CSTAR, (uint64_t)x86_syscall_entry); /* compatibility mode cannot be entered: no 32-bit user segment */
    x86_wrmsr(MSR_SFMASK, 0x257FD5);                   /* every flag user code can set */
    x86_wrmsr(X86_MSR_FS_BASE, 0);
    if (x86_features.has_waitpkg) {
        x86_wrmsr(MSR_UMWAIT_CONTROL, UMWAIT_TSC_MAX | UMWAIT_NO_C02);
    }
    x86_fpu_cpu_init();
}

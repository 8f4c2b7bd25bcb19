/* What the files of kernel/arch/aarch64 share. Private to this directory. */
#pragma once
#include <arch/arch.h>

/* One system register, by its assembler name or its S3_… encoding; each use is one instruction. */
#define A64_READ(reg)                                                                                                                      \
    ({                                                                                                                                     \
        uint64_t value_;                                                                                                                   \
        __asm__ volatile("mrs %0, " #reg : "=r"(value_)::"memory");                                                                        \
        value_;                                                                                                                            \
    })
#define A64_WRITE(reg, value) __asm__ volatile("msr " #reg ", %0" ::"r"((uint64_t)(value)) : "memory")

static inline void a64_isb(void) { __asm__ volatile("isb" ::: "memory"); }

static inline uint32_t a64_mmio_read32(uintptr_t address) { return *(const volatile uint32_t *)address; }
static inline void a64_mmio_write32(uintptr_t address, uint32_t value) { *(volatile uint32_t *)address = value; }

/* Affinity fields of MPIDR_EL1 (Arm ARM D17.2.101): what the device tree's reg and the GIC call the CPU. */
constexpr uint64_t A64_MPIDR_AFFINITY = 0xFF00FFFFFF;

/* boot.c */
extern uint64_t a64_kernel_physical; /* where kernel_image_start lies */
extern uint64_t early_root[512];     /* boot.S: TTBR1 until arch_paging_enable */
extern uint64_t early_identity[512]; /* boot.S: TTBR0 while a CPU turns its MMU on */
extern uint64_t a64_empty_root[512]; /* boot.S: TTBR0 of no address space */
static inline paddr_t a64_image_physical(const void *symbol) { return (vaddr_t)symbol - KERNEL_BASE + a64_kernel_physical; }

/* Maps the GiB of `pa` in the early tables: as RAM in the direct map, or as device memory in the slot at MMIO_BASE (one at
 * a time), returning the address of pa. Until arch_paging_enable. */
void a64_early_map_ram(paddr_t base, uint64_t size);
void *a64_early_map_device(paddr_t pa);

/* paging.c: the root that secondaries start with. */
extern paddr_t a64_kernel_root;

/* cpu.c */
void a64_power_init(const struct boot_info *bi);

/* entry.S, boot.S */
extern char a64_vectors[];
extern char a64_secondary_entry[];
void a64_switch_tables(paddr_t root, paddr_t empty_root);
void a64_user_return(struct thread *thread);

/* fpu.c: what the CPU has; leaves it disabled. fpu.S: with access enabled. */
void a64_fpu_cpu_init(void);
void a64_simd_save(void *area);
void a64_simd_restore(const void *area);
void a64_sve_save(void *area);
void a64_sve_restore(const void *area);

/* console.c: the early mapping is about to go; output is dropped until arch_console_remap. */
void a64_console_unmap(void);

/* time.c */
extern uint32_t a64_timer_intid;
void a64_timer_quiet(void); /* lowers the timer's interrupt line */

/* gic.c: acknowledges and handles one pending interrupt, if there is one. */
void a64_irq_handle(void);

/* gic_v3.c: the CPU interface in system registers, and redistributors (GIC architecture 3, IHI 0069). */
void gic_v3_init(uintptr_t redistributors, uint64_t size);
void gic_v3_cpu_init(uint32_t enabled); /* bit n: SGI or PPI n */
uint32_t gic_v3_acknowledge(void);
void gic_v3_end(uint32_t iar);
void gic_v3_send_sgi(uint64_t affinity, uint32_t sgi);

enum a64_exception : uint64_t { A64_EXCEPTION_SYNC, A64_EXCEPTION_INTERRUPT, A64_EXCEPTION_SERROR };

/*
 * struct boot_info: what every way of booting hands to kernel_main(). The architecture's boot code fills it once, on the
 * boot CPU, from PVH + ACPI static tables (x86_64) or the device tree (aarch64, riscv64); afterwards it is read-only.
 * Everything in it is data from outside: the parsers bound every read, and drop what does not fit with a log line.
 */
#pragma once
#include <kernel/types.h>

constexpr uint32_t BOOT_INFO_VERSION = 1;
constexpr uint32_t BOOT_RANGES_MAX = 64;
constexpr uint32_t BOOT_IOAPICS_MAX = 8;
constexpr uint32_t BOOT_ECAMS_MAX = 4;
constexpr uint32_t BOOT_CMDLINE_MAX = 1024;

enum boot_range_kind : uint32_t {
    BOOT_RAM = 1,      /* usable RAM; may contain the ranges below, which the kernel cuts out */
    BOOT_RESERVED = 2, /* never touched, never given to anybody as RAM (firmware, OpenSBI, ACPI, device tree) */
};

struct boot_range {
    paddr_t base;
    uint64_t size;
    enum boot_range_kind kind;
};

struct boot_cpu {
    uint64_t hw_id;      /* APIC id | MPIDR affinity | hart id */
    uint32_t intc_index; /* GICR/GICC interface or PLIC S-mode context of this CPU */
};

enum boot_console_kind : uint32_t {
    BOOT_CONSOLE_NONE,
    BOOT_CONSOLE_NS16550_PORT,
    BOOT_CONSOLE_NS16550_MMIO,
    BOOT_CONSOLE_PL011,
};

struct boot_console {
    enum boot_console_kind kind;
    uint64_t base;      /* physical address, or I/O port */
    uint32_t reg_shift; /* NS16550: log2 distance of registers */
    uint32_t irq;       /* interrupt source as arch_irq_* numbers it; UINT32_MAX when unknown */
};

/* One PCI Express host bridge: PCI Firmware 3.2 table 4-3 (MCFG), or "pci-host-ecam-generic". */
struct boot_ecam {
    paddr_t base; /* of bus_start's configuration space */
    uint16_t segment;
    uint8_t bus_start, bus_end;
    /* Bridge windows for BARs; size 0 = none. CPU address == bus address on every machine we support; io_base is the CPU
     * address of the I/O window (0 with real ports on x86_64). */
    paddr_t mmio32_base;
    uint64_t mmio32_size;
    paddr_t mmio64_base;
    uint64_t mmio64_size;
    paddr_t io_base;
    uint64_t io_size;
    /* INTx routing: source = intx_source[(device + pin - 1) % 4], pin = 1..4 (INTA..INTD): the swizzle all supported
     * machines use on their root bus (PCI-to-PCI Bridge 1.2, 9.1). level, active low. */
    uint32_t intx_source[4];
};

struct boot_interrupt_controller {
    /* x86_64: ACPI MADT (ACPI 6.5, 5.2.12) */
    paddr_t lapic_base;
    struct {
        paddr_t base;
        uint32_t gsi_base;
    } ioapics[BOOT_IOAPICS_MAX];
    uint32_t ioapic_count;
    struct {
        uint32_t gsi;
        uint16_t flags;
    } isa_override[16]; /* identity unless overridden */
    /* aarch64: GIC */
    uint32_t gic_version; /* 2 or 3 */
    paddr_t gicd_base;
    uint64_t gicd_size;
    paddr_t gicc_base; /* GICv2 */
    paddr_t gicr_base;
    uint64_t gicr_size; /* GICv3 */
    /* riscv64: PLIC; boot_cpu.intc_index is the context */
    paddr_t plic_base;
    uint64_t plic_size;
    uint32_t plic_source_count;
};

struct boot_timer {
    uint64_t frequency_hz;  /* of arch counter; 0 = calibrate (x86_64) */
    uint32_t irq;           /* aarch64: PPI number of the virtual timer */
    uint32_t pm_timer_port; /* x86_64 ACPI PM timer (FADT X_PM_TMR_BLK); 0 = none */
    bool has_sstc;          /* riscv64: stimecmp */
};

struct boot_power {
    uint32_t pm1a_control_port;
    uint16_t sleep_type_s5; /* x86_64: FADT and \_S5 in the DSDT */
    uint32_t reset_port;
    uint8_t reset_value; /* x86_64: FADT RESET_REG when in I/O space */
    paddr_t sifive_test; /* riscv64 virt: "sifive,test0"; 0 = none */
    bool psci_is_hvc;    /* aarch64: conduit, else smc */
};

struct boot_info {
    uint32_t version;
    uint32_t range_count;
    struct boot_range ranges[BOOT_RANGES_MAX];
    paddr_t kernel_start, kernel_end; /* the loaded image with its bss, page aligned outwards */
    paddr_t image_start;
    uint64_t image_size; /* boot image (CPIO); size 0 = none was given */
    paddr_t acpi_rsdp;   /* 0 = none */
    paddr_t dtb;
    uint64_t dtb_size;              /* 0 = none */
    char cmdline[BOOT_CMDLINE_MAX]; /* always terminated */
    uint32_t cpu_count;             /* 1..CPU_MAX; further CPUs are dropped with a log line */
    uint32_t boot_cpu;              /* index of the CPU that runs kernel_main */
    struct boot_cpu cpus[CPU_MAX];
    struct boot_console console;
    struct boot_interrupt_controller intc;
    struct boot_timer timer;
    struct boot_power power;
    uint32_t ecam_count;
    struct boot_ecam ecams[BOOT_ECAMS_MAX];
    uint8_t entropy[64];
    uint32_t entropy_size; /* seed from firmware or CPU instruction; may be empty */
};

/* Adds a range; false when the table is full (the caller logs and goes on). */
bool boot_info_add_range(struct boot_info *bi, paddr_t base, uint64_t size, enum boot_range_kind kind);

/* plat/acpi.c: fills CPUs, interrupt controller, PM timer, power, ECAM from the tables under acpi_rsdp. phys_to_virt works
 * for all of it (early direct map). False with a log line naming the table when something needed is missing or damaged. */
bool acpi_parse(struct boot_info *bi);

/* plat/fdt.c: fills everything the device tree knows (memory, reserved, CPUs, chosen: bootargs, initrd, rng-seed,
 * stdout; GIC or PLIC; timer; PSCI; pci-host-ecam-generic with ranges and interrupt-map; sifive,test0). */
bool fdt_parse(struct boot_info *bi, const void *dtb, uint64_t max_size);

/* GICv3 (IHI 0069): redistributors, one pair of 64 KiB frames for each CPU, and the CPU interface in system registers. */
#include "a64.h"

constexpr uint32_t GICR_CTLR = 0x0000;
constexpr uint32_t GICR_TYPER = 0x0008;
constexpr uint32_t GICR_WAKER = 0x0014;
constexpr uint32_t GICR_SGI_FRAME = 0x10000;
constexpr uint32_t GICR_IGROUPR0 = GICR_SGI_FRAME + 0x080;
constexpr uint32_t GICR_ISENABLER0 = GICR_SGI_FRAME + 0x100;
constexpr uint32_t GICR_ICENABLER0 = GICR_SGI_FRAME + 0x180;
constexpr uint32_t GICR_IPRIORITYR = GICR_SGI_FRAME + 0x400;

constexpr uint64_t GICR_TYPER_VLPIS = 1 << 1; /* GICv4: two more frames */
constexpr uint64_t GICR_TYPER_LAST = 1 << 4;
constexpr uint32_t GICR_CTLR_RWP = 1 << 3;
constexpr uint32_t GICR_WAKER_SLEEP = 1 << 1;
constexpr uint32_t GICR_WAKER_CHILDREN_ASLEEP = 1 << 2;
constexpr uint64_t GICR_STRIDE = 0x20000;
constexpr uint32_t WAIT_READS = 1'000'000;

constexpr uint32_t PRIORITY_ALL = 0xA0A0A0A0;
constexpr uint32_t PRIORITY_MASK = 0xF0;
constexpr uint64_t SRE_ENABLE = 1;

static uintptr_t redistributors;
static uint64_t redistributors_size;

void gic_v3_init(uintptr_t base, uint64_t size)
{
    redistributors = base;
    redistributors_size = size;
}

/* The redistributor whose GICR_TYPER carries our affinity: Aff3.2.1.0 in bits 63..32. */
static uintptr_t find_redistributor(uint64_t mpidr)
{
    uint64_t wanted = (mpidr >> 32 & 0xFF) << 24 | (mpidr & 0xFFFFFF), offset = 0;

    while (offset + GICR_STRIDE <= redistributors_size) {
        uint64_t type = *(const volatile uint64_t *)(redistributors + offset + GICR_TYPER);
        if (type >> 32 == wanted)
            return redistributors + offset;
        if (type & GICR_TYPER_LAST)
            break;
        offset += type & GICR_TYPER_VLPIS ? 2 * GICR_STRIDE : GICR_STRIDE;
    }
    panic("gic: no redistributor for CPU 0x%lx", (unsigned long)mpidr);
}

static void wait_clear(uintptr_t address, uint32_t bits)
{
    for (uint32_t i = 0; i < WAIT_READS && (a64_mmio_read32(address) & bits); i++)
        arch_cpu_relax();
}

/* `enabled`: bit n = SGI or PPI n. */
void gic_v3_cpu_init(uint32_t enabled)
{
    uintptr_t gicr = find_redistributor(A64_READ(mpidr_el1) & A64_MPIDR_AFFINITY);

    a64_mmio_write32(gicr + GICR_WAKER, a64_mmio_read32(gicr + GICR_WAKER) & ~GICR_WAKER_SLEEP);
    wait_clear(gicr + GICR_WAKER, GICR_WAKER_CHILDREN_ASLEEP);
    a64_mmio_write32(gicr + GICR_ICENABLER0, UINT32_MAX);
    a64_mmio_write32(gicr + GICR_IGROUPR0, UINT32_MAX);
    for (uint32_t source = 0; source < 32; source += 4)
        a64_mmio_write32(gicr + GICR_IPRIORITYR + source, PRIORITY_ALL);
    wait_clear(gicr + GICR_CTLR, GICR_CTLR_RWP);
    a64_mmio_write32(gicr + GICR_ISENABLER0, enabled);

    A64_WRITE(S3_0_C12_C12_5, A64_READ(S3_0_C12_C12_5) | SRE_ENABLE); /* ICC_SRE_EL1 */
    a64_isb();
    A64_WRITE(S3_0_C4_C6_0, PRIORITY_MASK); /* ICC_PMR_EL1 */
    A64_WRITE(S3_0_C12_C12_3, 0);           /* ICC_BPR1_EL1 */
    A64_WRITE(S3_0_C12_C12_4, 0);           /* ICC_CTLR_EL1: one write to EOIR ends and deactivates */
    A64_WRITE(S3_0_C12_C12_7, 1);           /* ICC_IGRPEN1_EL1 */
    a64_isb();
}

uint32_t gic_v3_acknowledge(void)
{
    uint32_t intid = (uint32_t)A64_READ(S3_0_C12_C12_0); /* ICC_IAR1_EL1 */

    /* The acknowledgement must be seen before anything the handler does to the device (IHI 0069, 4.1.1). */
    __asm__ volatile("dsb sy" ::: "memory");
    return intid;
}

void gic_v3_end(uint32_t intid)
{
    A64_WRITE(S3_0_C12_C12_1, intid); /* ICC_EOIR1_EL1 */
    a64_isb();
}

/* ICC_SGI1R_EL1 (12.2.24): Aff3.2.1 name a cluster, the list has one bit for each Aff0 in a range of 16. */
void gic_v3_send_sgi(uint64_t affinity, uint32_t sgi)
{
    uint64_t aff0 = affinity & 0xFF;
    uint64_t value = (affinity >> 32 & 0xFF) << 48 | (aff0 >> 4) << 44 | (affinity >> 16 & 0xFF) << 32 | (uint64_t)sgi << 24 |
                     (affinity >> 8 & 0xFF) << 16 | 1ull << (aff0 & 15);

    A64_WRITE(S3_0_C12_C11_5, value);
    a64_isb();
}

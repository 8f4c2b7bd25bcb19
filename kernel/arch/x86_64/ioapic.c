/*
 * The I/O APICs (Intel 82093AA data sheet) and the dispatch of interrupt vectors. A source is a GSI; its vector is fixed.
 * `lock` guards the index/window pair of all I/O APICs and the table of low words; it is taken with interrupts off only.
 *
 * A level-triggered source is masked when it fires, until its driver has served the device. An edge-triggered one stays open:
 * the I/O APIC forgets an edge that comes while the source is masked, and the driver would wait for ever.
 */
#include "x86.h"
#include <stdatomic.h>

constexpr uint32_t INDEX_VERSION = 1, INDEX_REDIRECTION = 0x10;
constexpr uint32_t REDIRECTION_ACTIVE_LOW = 1 << 13, REDIRECTION_LEVEL = 1 << 15, REDIRECTION_MASKED = 1 << 16;
constexpr uint16_t PIC_PRIMARY = 0x20, PIC_SECONDARY = 0xA0;

struct ioapic {
    volatile uint32_t *window; /* index at 0, data at 0x10 */
    uint32_t gsi_base, gsi_count;
};

static atomic_flag lock = ATOMIC_FLAG_INIT;
static struct ioapic ioapics[BOOT_IOAPICS_MAX];
static uint32_t ioapic_count;
static uint32_t redirection_low[X86_GSI_MAX]; /* so that masking writes one register and reads none */

static void lock_acquire(void)
{
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire)) {
        arch_cpu_relax();
    }
}

static void lock_release(void) { atomic_flag_clear_explicit(&lock, memory_order_release); }

static uint32_t ioapic_read_locked(struct ioapic *ioapic, uint32_t index)
{
    ioapic->window[0] = index;
    return ioapic->window[4];
}

static void ioapic_write_locked(struct ioapic *ioapic, uint32_t index, uint32_t value)
{
    ioapic->window[0] = index;
    ioapic->window[4] = value;
}

static struct ioapic *ioapic_of(uint32_t gsi)
{
    for (uint32_t i = 0; i < ioapic_count; i++) {
        if (gsi >= ioapics[i].gsi_base && gsi - ioapics[i].gsi_base < ioapics[i].gsi_count) {
            return &ioapics[i];
        }
    }
    return nullptr;
}

static void redirection_write_low_locked(struct ioapic *ioapic, uint32_t gsi)
{
    ioapic_write_locked(ioapic, INDEX_REDIRECTION + (gsi - ioapic->gsi_base) * 2, redirection_low[gsi]);
}

/* Moved off the exception vectors and masked for good; what may still come is a spurious 0x27 or 0x2F (Intel 8259A). */
static void pic_disable(void)
{
    x86_out8(PIC_PRIMARY, 0x11);
    x86_out8(PIC_SECONDARY, 0x11);
    x86_out8(PIC_PRIMARY + 1, X86_VECTOR_PIC);
    x86_out8(PIC_SECONDARY + 1, X86_VECTOR_PIC + 8);
    x86_out8(PIC_PRIMARY + 1, 4);
    x86_out8(PIC_SECONDARY + 1, 2);
    x86_out8(PIC_PRIMARY + 1, 1);
    x86_out8(PIC_SECONDARY + 1, 1);
    x86_out8(PIC_PRIMARY + 1, 0xFF);
    x86_out8(PIC_SECONDARY + 1, 0xFF);
}

static void ioapic_add(paddr_t base, uint32_t gsi_base)
{
    if (gsi_base >= X86_GSI_MAX) {
        kprintf("ioapic: GSI %u and above have no vector, left out\n", gsi_base);
        return;
    }
    char *page = mmio_map(base & ~(PAGE_SIZE - 1), PAGE_SIZE);
    struct ioapic *ioapic = &ioapics[ioapic_count++];
    ioapic->window = (volatile uint32_t *)(page + (base & (PAGE_SIZE - 1)));
    ioapic->gsi_base = gsi_base;
    uint32_t count = (ioapic_read_locked(ioapic, INDEX_VERSION) >> 16 & 0xFF) + 1;
    ioapic->gsi_count = count < X86_GSI_MAX - gsi_base ? count : X86_GSI_MAX - gsi_base;
    for (uint32_t gsi = gsi_base; gsi < gsi_base + ioapic->gsi_count; gsi++) {
        redirection_low[gsi] = REDIRECTION_MASKED | (X86_VECTOR_GSI + gsi);
        redirection_write_low_locked(ioapic, gsi);
    }
}

void arch_irq_init(const struct boot_info *bi)
{
    pic_disable();
    x86_lapic_init(bi);
    lock_acquire();
    for (uint32_t i = 0; i < bi->intc.ioapic_count; i++) {
        ioapic_add(bi->intc.ioapics[i].base, bi->intc.ioapics[i].gsi_base);
    }
    lock_release();
}

uint32_t arch_irq_source_count(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < ioapic_count; i++) {
        uint32_t end = ioapics[i].gsi_base + ioapics[i].gsi_count;
        count = end > count ? end : count;
    }
    return count;
}

bool arch_irq_configure(uint32_t source, bool is_level, bool is_active_low, uint32_t cpu_index)
{
    struct ioapic *ioapic = ioapic_of(source);
    if (ioapic == nullptr || cpu_index >= cpu_count) {
        return false;
    }
    uint64_t apic_id = cpus[cpu_index]->hw_id;
    if (apic_id > 0xFF) {
        return false; /* the destination field has 8 bits; more takes interrupt remapping */
    }
    lock_acquire();
    redirection_low[source] =
        REDIRECTION_MASKED | (X86_VECTOR_GSI + source) | (is_level ? REDIRECTION_LEVEL : 0) | (is_active_low ? REDIRECTION_ACTIVE_LOW : 0);
    redirection_write_low_locked(ioapic, source);
    ioapic_write_locked(ioapic, INDEX_REDIRECTION + (source - ioapic->gsi_base) * 2 + 1, (uint32_t)apic_id << 24);
    lock_release();
    return true;
}

static void source_set_masked(uint32_t source, bool is_masked)
{
    struct ioapic *ioapic = ioapic_of(source);
    if (ioapic == nullptr) {
        return;
    }
    lock_acquire();
    redirection_low[source] = (redirection_low[source] & ~REDIRECTION_MASKED) | (is_masked ? REDIRECTION_MASKED : 0);
    redirection_write_low_locked(ioapic, source);
    lock_release();
}

void arch_irq_mask(uint32_t source) { source_set_masked(source, true); }

void arch_irq_unmask(uint32_t source) { source_set_masked(source, false); }

void x86_ioapic_interrupt(uint32_t gsi)
{
    if (redirection_low[gsi] & REDIRECTION_LEVEL) {
        source_set_masked(gsi, true); /* before the EOI, which would make the line fire again */
    }
    x86_lapic_eoi();
    irq_device(gsi);
}

void x86_irq_dispatch(uint32_t vector)
{
    if (vector == X86_VECTOR_TIMER) {
        x86_lapic_timer_interrupt();
    } else if (vector == X86_VECTOR_IPI) {
        x86_lapic_eoi();
        irq_ipi();
    } else if (vector >= X86_VECTOR_GSI && vector < X86_VECTOR_GSI + X86_GSI_MAX) {
        x86_ioapic_interrupt(vector - X86_VECTOR_GSI);
    }
    /* Else spurious, from the local APIC or a PIC: no end of interrupt (Intel SDM vol. 3, 10.9). */
}

/* Authority over the hardware: device memory, interrupts, ports, dma, power. */
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/audit.h>
#include <kernel/machine.h>
#include <kernel/page.h>
#include <kernel/process.h>
#include <kernel/vspace.h>
#include <tess/string.h>

struct machine machine_object;
static struct tess_platform platform;

static uint32_t arch_number(void)
{
#if defined(__x86_64__)
    return 1;
#elif defined(__aarch64__)
    return 2;
#else
    return 3;
#endif
}

void machine_init(const struct boot_info *bi)
{
    platform.version = 1;
    platform.arch = arch_number();
    platform.pci_host_count = bi->ecam_count;
    for (uint32_t i = 0; i < bi->ecam_count && i < ARRAY_LENGTH(platform.pci_hosts); i++) {
        const struct boot_ecam *from = &bi->ecams[i];
        struct tess_pci_host *to = &platform.pci_hosts[i];
        *to = (struct tess_pci_host){
            .ecam_base = from->base,
            .segment = from->segment,
            .bus_start = from->bus_start,
            .bus_end = from->bus_end,
            .mmio32_base = from->mmio32_base,
            .mmio32_size = from->mmio32_size,
            .mmio64_base = from->mmio64_base,
            .mmio64_size = from->mmio64_size,
            .io_base = from->io_base,
            .io_size = from->io_size,
        };
        memcpy(to->intx_source, from->intx_source, sizeof(to->intx_source));
    }
    platform.console_kind = bi->console.kind;
    platform.console_base = bi->console.base;
    platform.console_reg_shift = bi->console.reg_shift;
    platform.console_irq = bi->console.irq;
    platform.entropy_size = bi->entropy_size <= sizeof(platform.entropy) ? bi->entropy_size : 0;
    memcpy(platform.entropy, bi->entropy, platform.entropy_size);
    platform.irq_source_count = arch_irq_source_count();
    memcpy(platform.cmdline, bi->cmdline, sizeof(platform.cmdline));
    platform.cmdline[sizeof(platform.cmdline) - 1] = 0;
    object_init_static(&machine_object.object, OBJECT_MACHINE, sizeof(machine_object));
}

status_t machine_platform(struct invocation *inv, struct machine *self, uint64_t address)
{
    (void)self;
    return user_copy_out(inv->thread->process->vspace, address, &platform, sizeof(platform));
}

static status_t give(struct invocation *inv, struct object *object, uint32_t rights, uint64_t first, uint64_t second, handle_t *out_handle)
{
    audit_did(AUDIT_DEVICE, inv->cspace, object, first, second);
    return invocation_give(inv, object, rights, out_handle);
}

status_t machine_device_memory(struct invocation *inv, struct machine *self, const struct cap *untyped, uint64_t physical, uint64_t size,
                               handle_t *out_memory)
{
    (void)self;
    uint64_t end;
    if (((physical | size) & (PAGE_SIZE - 1)) != 0 || size == 0 || ckd_add(&end, physical, size) || end > 1ull << 52 ||
        page_is_ram(physical, size))
        return ERROR_BAD_ARGUMENT;
    struct memory *memory;
    status_t status = memory_create_fixed((struct untyped *)untyped->object, MEMORY_KIND_DEVICE, physical, size >> PAGE_SHIFT, &memory);
    return status == OK ? give(inv, &memory->object, RIGHTS_ALL & ~(uint32_t)MEMORY_RIGHT_EXEC, physical, size, out_memory) : status;
}

status_t machine_interrupt(struct invocation *inv, struct machine *self, const struct cap *untyped, uint32_t source, uint32_t flags,
                           handle_t *out_interrupt)
{
    (void)self;
    if ((flags & ~(uint32_t)(INTERRUPT_LEVEL | INTERRUPT_ACTIVE_LOW)) != 0)
        return ERROR_BAD_ARGUMENT;
    struct interrupt *interrupt;
    status_t status = interrupt_create((struct untyped *)untyped->object, source, flags, &interrupt);
    return status == OK ? give(inv, &interrupt->object, RIGHTS_ALL, source, flags, out_interrupt) : status;
}

status_t machine_ioports(struct invocation *inv, struct machine *self, const struct cap *untyped, uint32_t base, uint32_t count,
                         handle_t *out_ioports)
{
    (void)self;
    if (base > 65535 || count == 0 || count > 65536 - base)
        return ERROR_BAD_ARGUMENT;
    if (arch_number() != 1)
        return ERROR_UNSUPPORTED;
    struct ioports *ioports;
    status_t status = object_create((struct untyped *)untyped->object, OBJECT_IOPORTS, sizeof(struct ioports), (void **)&ioports);
    if (status != OK)
        return status;
    ioports->base = base;
    ioports->count = count;
    return give(inv, &ioports->object, RIGHTS_ALL, base, count, out_ioports);
}

status_t machine_dma(struct invocation *inv, struct machine *self, const struct cap *untyped, uint64_t configuration, handle_t *out_dma)
{
    (void)self;
    struct dma *dma;
    status_t status = dma_create((struct untyped *)untyped->object, configuration, &dma);
    return status == OK ? give(inv, &dma->object, RIGHTS_ALL, configuration, 0, out_dma) : status;
}

status_t machine_power(struct invocation *inv, struct machine *self, uint32_t how)
{
    (void)inv, (void)self;
    static const enum arch_poweroff ways[] = {[POWER_OFF] = ARCH_POWEROFF, [POWER_REBOOT] = ARCH_REBOOT, [POWER_FAIL] = ARCH_EXIT_FAILURE};
    if (how >= ARRAY_LENGTH(ways))
        return ERROR_BAD_ARGUMENT;
    kprintf("%s", how == POWER_REBOOT ? "reboot" : "power off");
    arch_power(ways[how]);
}

static bool port_is_valid(const struct ioports *ioports, uint32_t offset, uint32_t width)
{
    return (width == 1 || width == 2 || width == 4) && offset < ioports->count && width <= ioports->count - offset;
}

status_t ioports_in(struct invocation *inv, struct ioports *self, uint32_t offset, uint32_t width, uint32_t *out_value)
{
    (void)inv;
    if (!port_is_valid(self, offset, width))
        return ERROR_BAD_ARGUMENT;
    return arch_port_in((uint16_t)(self->base + offset), width, out_value) ? OK : ERROR_UNSUPPORTED;
}

status_t ioports_out(struct invocation *inv, struct ioports *self, uint32_t offset, uint32_t width, uint32_t value)
{
    (void)inv;
    if (!port_is_valid(self, offset, width))
        return ERROR_BAD_ARGUMENT;
    return arch_port_out((uint16_t)(self->base + offset), width, value) ? OK : ERROR_UNSUPPORTED;
}

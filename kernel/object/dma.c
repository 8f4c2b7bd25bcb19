/*
 * The dma object without an IOMMU: pins memory and tells physical addresses. Each run is a cell charged to the dma's untyped.
 *
 * The bus manager resets a function before it lets go of its pages. When it dies together with the driver nobody does, so the
 * kernel itself switches the function's bus mastering off before pinned pages are used again.
 */
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/ipc.h>
#include <kernel/machine.h>
#include <kernel/untyped.h>

constexpr uint64_t FUNCTION_BYTES = 4096, BUS_BYTES = 256 * FUNCTION_BYTES; /* PCI Express Base 5.0, 7.2.2 */
constexpr uint32_t PCI_COMMAND = 4;                                         /* PCI Local Bus 3.0, 6.2.2 */
constexpr uint16_t PCI_COMMAND_MASTER = 4;

static struct {
    paddr_t base;
    uint64_t size;
    volatile uint8_t *at;
} windows[BOOT_ECAMS_MAX];

static struct spinlock guard_lock;
static struct list guards GUARDED_BY(&guard_lock) = LIST_INITIALIZER(guards); /* struct dma, guard_node: one for a function */

void dma_init(const struct boot_info *bi)
{
    for (uint32_t i = 0; i < bi->ecam_count && i < BOOT_ECAMS_MAX; i++) {
        const struct boot_ecam *ecam = &bi->ecams[i];
        windows[i].base = ecam->base;
        windows[i].size = (ecam->bus_end - ecam->bus_start + 1) * BUS_BYTES;
        windows[i].at = mmio_map(ecam->base, windows[i].size);
    }
}

/* nullptr when no PCI function has its configuration space there. */
static volatile uint16_t *find_command(paddr_t configuration)
{
    for (uint32_t i = 0; i < BOOT_ECAMS_MAX; i++)
        if (configuration % FUNCTION_BYTES == 0 && configuration - windows[i].base < windows[i].size)
            return (volatile uint16_t *)(windows[i].at + (configuration - windows[i].base) + PCI_COMMAND);
    return nullptr;
}

/* The function's guard from now on. An older one may outlive its driver's successor, and must not touch the function then. */
static void guard_begin(struct dma *dma, volatile uint16_t *command)
{
    spinlock_acquire(&guard_lock);
    list_for_each (node, &guards) {
        struct dma *older = container_of(node, struct dma, guard_node);
        if (older->command == command) {
            older->command = nullptr;
            list_remove(node);
            break;
        }
    }
    dma->command = command;
    list_push_back(&guards, &dma->guard_node);
    spinlock_release(&guard_lock);
}

static void guard_end(struct dma *dma, bool has_pins)
{
    spinlock_acquire(&guard_lock);
    if (dma->command != nullptr) {
        list_remove(&dma->guard_node);
        if (has_pins) {
            *dma->command &= (uint16_t)~PCI_COMMAND_MASTER;
            (void)*dma->command; /* its completion pushes the function's earlier writes ahead (PCI Express Base 5.0, 2.4.1) */
        }
    }
    spinlock_release(&guard_lock);
}

static void run_release(struct dma *dma, struct dma_run *run)
{
    memory_unpin(run->memory, run->first, run->count_pages);
    object_put(&run->memory->object);
    untyped_cell_free(dma->object.untyped, OBJECT_DMA, run, sizeof(struct dma_run));
}

static struct dma_run *take_first(struct dma *dma)
{
    spinlock_acquire(&dma->lock);
    struct list_node *node = list_pop_front(&dma->runs);
    spinlock_release(&dma->lock);
    return node != nullptr ? container_of(node, struct dma_run, node) : nullptr;
}

static bool dma_class_destroy(struct object *object)
{
    struct dma *dma = (struct dma *)object;
    guard_end(dma, dma_pinned_pages(dma) != 0);
    struct dma_run *run;
    while ((run = take_first(dma)) != nullptr)
        run_release(dma, run);
    return true;
}

const struct object_class dma_class = {.destroy = dma_class_destroy};

status_t dma_create(struct untyped *untyped, paddr_t configuration, struct dma **out_dma)
{
    volatile uint16_t *command = configuration != 0 ? find_command(configuration) : nullptr;
    if (configuration != 0 && command == nullptr)
        return ERROR_BAD_ARGUMENT;
    status_t status = object_create(untyped, OBJECT_DMA, sizeof(struct dma), (void **)out_dma);
    if (status != OK)
        return status;
    list_init(&(*out_dma)->runs);
    if (command != nullptr)
        guard_begin(*out_dma, command);
    return OK;
}

uint64_t dma_pinned_pages(struct dma *dma)
{
    uint64_t count = 0;
    spinlock_acquire(&dma->lock);
    list_for_each (node, &dma->runs)
        count += container_of(node, struct dma_run, node)->count_pages;
    spinlock_release(&dma->lock);
    return count;
}

status_t dma_map(struct invocation *inv, struct dma *self, const struct cap *memory, uint64_t offset, uint64_t size,
                 uint64_t *out_device_address)
{
    (void)inv;
    struct memory *object = (struct memory *)memory->object;
    uint64_t end;
    if (((offset | size) & (PAGE_SIZE - 1)) != 0 || size == 0 || ckd_add(&end, offset, size) ||
        end > peek(object->size_pages) << PAGE_SHIFT)
        return ERROR_BAD_ARGUMENT;
    struct dma_run *run = untyped_cell_alloc(self->object.untyped, OBJECT_DMA, sizeof(struct dma_run));
    if (run == nullptr)
        return ERROR_NO_MEMORY;
    status_t status = memory_pin(object, offset >> PAGE_SHIFT, size >> PAGE_SHIFT);
    if (status != OK) {
        untyped_cell_free(self->object.untyped, OBJECT_DMA, run, sizeof(struct dma_run));
        return status;
    }
    object_get(&object->object);
    *run = (struct dma_run){.memory = object, .first = offset >> PAGE_SHIFT, .count_pages = size >> PAGE_SHIFT};
    spinlock_acquire(&object->lock);
    for (uint64_t i = 0; i < run->count_pages && status == OK; i++) {
        paddr_t page;
        status = memory_page_locked(object, (offset >> PAGE_SHIFT) + i, false, &page);
        if (status == OK && i == 0)
            run->address = page;
        else if (status == OK && page != run->address + (i << PAGE_SHIFT))
            status = ERROR_NO_CONTIGUOUS;
    }
    spinlock_release(&object->lock);
    if (status != OK) {
        run_release(self, run);
        return status;
    }
    *out_device_address = run->address;
    spinlock_acquire(&self->lock);
    list_push_back(&self->runs, &run->node);
    spinlock_release(&self->lock);
    return OK;
}

status_t dma_unmap(struct invocation *inv, struct dma *self, uint64_t device_address)
{
    (void)inv;
    struct dma_run *found = nullptr;
    spinlock_acquire(&self->lock);
    list_for_each (node, &self->runs) {
        struct dma_run *run = container_of(node, struct dma_run, node);
        if (run->address == device_address) {
            found = run;
            list_remove(node);
            break;
        }
    }
    spinlock_release(&self->lock);
    if (found == nullptr)
        return ERROR_NOT_FOUND;
    run_release(self, found);
    return OK;
}

status_t dma_release(struct invocation *inv, struct dma *self, uint64_t *out_count_pages)
{
    (void)inv;
    uint64_t count = 0;
    struct dma_run *run;
    while ((run = take_first(self)) != nullptr) {
        count += run->count_pages;
        run_release(self, run);
    }
    *out_count_pages = count;
    return OK;
}

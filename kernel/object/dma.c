/* The dma object without an IOMMU: pins memory and tells physical addresses. Each run is a cell charged to the dma's untyped. */
#include <kernel/abi_dispatch.h>
#include <kernel/ipc.h>
#include <kernel/machine.h>
#include <kernel/untyped.h>

static void run_release(struct dma *dma, struct dma_run *run)
{
    memory_unpin(run->memory);
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
    struct dma_run *run;
    while ((run = take_first(dma)) != nullptr)
        run_release(dma, run);
    return true;
}

const struct object_class dma_class = {.destroy = dma_class_destroy};

status_t dma_create(struct untyped *untyped, struct dma **out_dma)
{
    status_t status = object_create(untyped, OBJECT_DMA, sizeof(struct dma), (void **)out_dma);
    if (status == OK)
        list_init(&(*out_dma)->runs);
    return status;
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
    if (((offset | size) & (PAGE_SIZE - 1)) != 0 || size == 0 || ckd_add(&end, offset, size) || end > object->size_pages << PAGE_SHIFT)
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
    *run = (struct dma_run){.memory = object, .count_pages = size >> PAGE_SHIFT};
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

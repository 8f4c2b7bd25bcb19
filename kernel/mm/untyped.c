/*
 * Untypeds: quotas over the buddy, and small cells cut from pages charged to them. A cell's page belongs to one untyped and one
 * size; when its last cell is freed the page goes back, so that accounting by pages is exact. Objects of several types may share
 * it, so it is counted under the untyped's own type.
 */
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/invocation.h>
#include <kernel/page.h>
#include <kernel/page_cache.h>
#include <kernel/trace_events.h>
#include <kernel/untyped.h>
#include <tess/string.h>

struct untyped *untyped_root;

static status_t charge(struct untyped *untyped, uint64_t count)
{
    status_t status = ERROR_NO_MEMORY;
    spinlock_acquire(&untyped->lock);
    if (count <= untyped->limit_pages - untyped->used_pages) {
        peekable_set(untyped->used_pages, untyped->used_pages + count);
        status = OK;
    }
    spinlock_release(&untyped->lock);
    return status;
}

[[clang::noinline]] static status_t charge_again(struct untyped *untyped, uint64_t count_pages)
{
    status_t status = page_cache_discharge(untyped) ? charge(untyped, count_pages) : ERROR_NO_MEMORY;
    if (status != OK && quiesce_is_pending()) {
        /* Objects already given up may only wait for their grace period. What they give back may lie in this CPU's cache then. */
        quiesce_drain();
        (void)page_cache_discharge(untyped);
        status = charge(untyped, count_pages);
    }
    if (status != OK)
        trace_charge_refused(arch_cpu(), trace_thread_id(arch_cpu()), untyped->object.id, count_pages);
    return status;
}

status_t untyped_charge(struct untyped *untyped, uint64_t count_pages)
{
    status_t status = charge(untyped, count_pages);
    return __builtin_expect(status == OK, true) ? OK : charge_again(untyped, count_pages);
}

void untyped_uncharge(struct untyped *untyped, uint64_t count_pages)
{
    spinlock_acquire(&untyped->lock);
    peekable_set(untyped->used_pages, untyped->used_pages - count_pages);
    spinlock_release(&untyped->lock);
}

static inline status_t page_take(struct untyped *untyped, enum object_type type, bool wants_zeroed, paddr_t *out_page)
{
    status_t status = page_cache_alloc(untyped, wants_zeroed, out_page);
    if (status != OK)
        return status;
    object_pages_add(type, 1);
    trace_page_alloc(arch_cpu(), trace_thread_id(arch_cpu()), untyped->object.id, type);
    return OK;
}

status_t untyped_page_take(struct untyped *untyped, enum object_type type, paddr_t *out_page)
{
    return page_take(untyped, type, false, out_page);
}

status_t untyped_page_alloc(struct untyped *untyped, enum object_type type, paddr_t *out_page)
{
    status_t status = page_take(untyped, type, true, out_page);
    if (status != OK)
        return status;
    if (*out_page & PAGE_IS_ZERO)
        *out_page &= ~PAGE_IS_ZERO;
    else
        page_zero(phys_to_virt(*out_page));
    return OK;
}

static inline void page_give_back(struct untyped *untyped, enum object_type type, paddr_t page, bool is_zeroed)
{
    trace_page_free(arch_cpu(), trace_thread_id(arch_cpu()), untyped->object.id, type);
    object_pages_add(type, -1);
    page_cache_free(untyped, page, is_zeroed);
}

void untyped_page_free(struct untyped *untyped, enum object_type type, paddr_t page) { page_give_back(untyped, type, page, false); }

void untyped_page_free_zeroed(struct untyped *untyped, enum object_type type, paddr_t page) { page_give_back(untyped, type, page, true); }

uint64_t untyped_used_pages(const struct untyped *untyped)
{
    uint64_t used = peek(untyped->used_pages), ahead = page_cache_charged(untyped);
    return used > ahead ? used - ahead : 0;
}

static uint32_t cell_class(uint32_t size)
{
    uint32_t class = 0;
    while ((64u << class) < size)
        class ++;
    return class;
}

void *untyped_cell_alloc(struct untyped *untyped, enum object_type type, uint32_t size)
{
    uint32_t class = cell_class(size);
    paddr_t address;
    if (class >= SLAB_CLASS_COUNT - 1)
        return untyped_page_alloc(untyped, type, &address) == OK ? phys_to_virt(address) : nullptr;

    uint32_t cell_size = 64u << class;
    spinlock_acquire(&untyped->lock);
    if (list_is_empty(&untyped->slabs[class])) {
        spinlock_release(&untyped->lock);
        if (untyped_page_take(untyped, OBJECT_UNTYPED, &address) != OK) /* each cell is cleared when it is given out */
            return nullptr;
        struct page *fresh = page_of(address);
        uint8_t *base = phys_to_virt(address);
        for (uint32_t offset = 0; offset < PAGE_SIZE; offset += cell_size)
            *(uint16_t *)(base + offset) = offset + cell_size < PAGE_SIZE ? (uint16_t)((offset + cell_size) / 16) : 0xFFFF;
        peekable_set(fresh->state, PAGE_SLAB);
        fresh->slab_class = (uint8_t)class;
        fresh->slab_free = 0;
        fresh->slab_used = 0;
        fresh->untyped = untyped;
        spinlock_acquire(&untyped->lock);
        list_push_front(&untyped->slabs[class], &fresh->node);
    }
    struct page *page = container_of(list_first(&untyped->slabs[class]), struct page, node);
    paddr_t page_pa = (page_array_first + (uint64_t)(page - page_array)) << PAGE_SHIFT;
    uint8_t *cell = (uint8_t *)phys_to_virt(page_pa) + page->slab_free * 16u;
    page->slab_free = *(uint16_t *)cell;
    page->slab_used++;
    if (page->slab_free == 0xFFFF)
        list_remove(&page->node);
    spinlock_release(&untyped->lock);
    for (uint64_t *word = (uint64_t *)cell; word < (uint64_t *)(cell + cell_size); word += 8)
        word[0] = 0, word[1] = 0, word[2] = 0, word[3] = 0, word[4] = 0, word[5] = 0, word[6] = 0, word[7] = 0;
    return cell;
}

void untyped_cell_free(struct untyped *untyped, enum object_type type, void *cell, uint32_t size)
{
    if (cell_class(size) >= SLAB_CLASS_COUNT - 1) {
        untyped_page_free(untyped, type, virt_to_phys(cell));
        return;
    }
    paddr_t page_pa = virt_to_phys(cell) & ~(PAGE_SIZE - 1);
    struct page *page = page_of(page_pa);
    spinlock_acquire(&untyped->lock);
    bool was_full = page->slab_free == 0xFFFF;
    *(uint16_t *)cell = page->slab_free;
    page->slab_free = (uint16_t)((virt_to_phys(cell) - page_pa) / 16);
    page->slab_used--;
    bool is_empty = page->slab_used == 0;
    if (is_empty && !was_full)
        list_remove(&page->node);
    else if (was_full && !is_empty)
        list_push_front(&untyped->slabs[page->slab_class], &page->node);
    spinlock_release(&untyped->lock);
    if (is_empty) {
        page->slab_used = 0;
        untyped_page_free(untyped, OBJECT_UNTYPED, page_pa);
    }
}

static void untyped_setup(struct untyped *untyped, uint64_t limit_pages, struct untyped *parent)
{
    untyped->limit_pages = limit_pages;
    untyped->parent = parent;
    list_init(&untyped->objects);
    for (uint32_t i = 0; i < SLAB_CLASS_COUNT; i++)
        list_init(&untyped->slabs[i]);
}

void untyped_init_root(void)
{
    paddr_t page = page_alloc(0);
    if (page == 0)
        panic("not enough memory for the root untyped");
    page_zero(phys_to_virt(page));
    untyped_root = phys_to_virt(page);
    struct object *object = &untyped_root->object;
    atomic_store(&object->refs, 1); /* the kernel's own: never destroyed */
    object->type = OBJECT_UNTYPED;
    object->id = 1;
    object->size = sizeof(struct untyped);
    derivation_init_root(&object->root);
    list_init(&object->watches);
    untyped_setup(untyped_root, page_free_count(), nullptr);
    object_count_add(OBJECT_UNTYPED, 1);
}

bool untyped_kill_step(struct untyped *untyped)
{
    for (uint32_t done = 0; done < 64; done++) {
        /* Descend to an untyped without children, so that depth costs no stack. Everything on the way stays readable for this
         * kernel entry, and kill order inside an untyped does not matter. */
        struct untyped *at = untyped;
        struct object *victim = nullptr;
        for (;;) {
            spinlock_acquire(&at->lock);
            at->is_closing = true; /* what is made meanwhile must not outlive the destruction */
            struct list_node *first = list_first(&at->objects);
            victim = first != nullptr ? container_of(first, struct object, untyped_node) : nullptr;
            bool is_counted = victim != nullptr && object_try_get(victim);
            if (victim != nullptr && !is_counted) {
                /* Already on somebody's reap list: it will take itself off, count it as gone. */
                list_remove(&victim->untyped_node);
                victim->is_on_untyped_list = false;
            }
            spinlock_release(&at->lock);
            if (victim != nullptr && !is_counted) {
                victim = nullptr;
                done++;
                continue;
            }
            if (victim != nullptr && victim->type == OBJECT_UNTYPED && object_is_alive(victim)) {
                struct untyped *child = (struct untyped *)victim;
                spinlock_acquire(&child->lock);
                child->is_closing = true;
                bool is_empty = list_is_empty(&child->objects);
                spinlock_release(&child->lock);
                if (!is_empty) {
                    object_put(victim); /* perhaps the last, but readable for this kernel entry */
                    at = child;
                    continue;
                }
            }
            break;
        }
        if (victim == nullptr && at == untyped)
            return false;
        if (victim == nullptr)
            continue; /* somebody else emptied the child */
        object_kill(victim);
        object_put(victim);
        arch_irq_poll();
    }
    return true;
}

static bool untyped_destroy(struct object *object)
{
    struct untyped *untyped = (struct untyped *)object;
    (void)page_cache_discharge(untyped);
    untyped_uncharge(untyped->parent, untyped->limit_pages);
    object_watches_notify(object);
    object_put(&untyped->parent->object);
    return true;
}

const struct object_class untyped_class = {.destroy = untyped_destroy};

status_t untyped_info(struct invocation *inv, struct untyped *self, uint64_t *out_limit_pages, uint64_t *out_used_pages,
                      uint64_t *out_object_count)
{
    /* What was given up already is not shown as used, if it comes back soon. Through a ring, that ring is not counted. */
    constexpr uint64_t PATIENCE_NS = 2'000'000;
    if (!inv->is_submitted && reap_is_pending()) {
        if (!object_try_get(&self->object))
            return ERROR_STALE_HANDLE;
        (void)reap_all(arch_time_ns() + PATIENCE_NS);
        object_put(&self->object);
    }
    spinlock_acquire(&self->lock);
    *out_limit_pages = self->limit_pages;
    *out_used_pages = untyped_used_pages(self);
    *out_object_count = self->object_count;
    spinlock_release(&self->lock);
    return OK;
}

status_t untyped_create_untyped(struct invocation *inv, struct untyped *self, uint64_t size_bytes, handle_t *out_untyped)
{
    uint64_t pages = size_bytes / PAGE_SIZE + (size_bytes % PAGE_SIZE != 0);
    if (pages == 0)
        return ERROR_BAD_ARGUMENT;
    status_t status = untyped_charge(self, pages);
    if (status != OK)
        return status;
    struct untyped *child;
    status = object_create(self, OBJECT_UNTYPED, sizeof(struct untyped), (void **)&child);
    if (status != OK) {
        untyped_uncharge(self, pages);
        return status;
    }
    object_get(&self->object);
    untyped_setup(child, pages, self);
    return invocation_give(inv, &child->object, RIGHTS_ALL, out_untyped);
}

/*
 * The first process: `bin/init` of the boot image, mapped straight from it, with a handle to everything the kernel has to give.
 * From here on nothing is made except by handles and from untypeds.
 */
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/clock.h>
#include <kernel/init.h>
#include <kernel/machine.h>
#include <kernel/process.h>
#include <kernel/trace.h>
#include <kernel/untyped.h>
#include <kernel/vspace.h>
#include <tess/cpio.h>
#include <tess/elf.h>
#include <tess/string.h>

constexpr uint64_t INIT_BASE = 0x1000000;
constexpr uint64_t INIT_STACK = 64 * 1024;
constexpr uint32_t INIT_SLOTS = 4096;
static const char INIT_PATH[] = "bin/init";

struct first {
    struct vspace *vspace;
    struct cspace *cspace;
    struct process *process;
    struct thread *thread;
    struct memory *pages;             /* message page, then bootstrap page */
    struct tess_bootstrap *bootstrap; /* direct-map address */
};

static void must(status_t status, const char *what)
{
    if (status == ERROR_NO_MEMORY)
        panic("not enough memory to start init: %s", what);
    if (status != OK)
        panic("cannot start init: %s (error %d)", what, status);
}

static void give(struct first *first, const char *name, struct object *object, uint32_t rights)
{
    struct tess_bootstrap *bootstrap = first->bootstrap;
    struct tess_bootstrap_handle *entry = &bootstrap->handles[bootstrap->handle_count++];
    memcpy(entry->name, name, strlen(name));
    must(cspace_insert(first->cspace, object, nullptr, rights, nullptr, &entry->handle), name);
}

static vaddr_t map(struct first *first, struct memory *memory, uint64_t offset, uint64_t size, vaddr_t address, uint32_t prot)
{
    must(vspace_map_memory(first->vspace, memory, offset, size, address, address != 0 ? MAP_FIXED : 0, prot, prot, INHERIT_DEFAULT,
                           &address),
         "mapping");
    return address;
}

static void load_segment(struct first *first, const struct cpio_file *file, struct memory *image, const struct elf_segment *segment)
{
    vaddr_t start = INIT_BASE + align_down(segment->address, PAGE_SIZE);
    uint64_t size = align_up(INIT_BASE + segment->address + segment->memory_size, PAGE_SIZE) - start;
    arch_irq_poll();
    if (!segment->is_writable) {
        map(first, image, file->offset + align_down(segment->file_offset, PAGE_SIZE), size, start,
            PROT_READ | (segment->is_executable ? PROT_EXEC : 0));
        return;
    }
    struct memory *data;
    must(memory_create(untyped_root, size >> PAGE_SHIFT, 0, &data), "data segment");
    const uint8_t *from = (const uint8_t *)file->data + segment->file_offset;
    uint64_t at = segment->address & (PAGE_SIZE - 1);
    for (uint64_t done = 0; done < segment->file_size;) {
        uint64_t part = min_u64(segment->file_size - done, PAGE_SIZE - (at & (PAGE_SIZE - 1)));
        paddr_t page;
        spinlock_acquire(&data->lock);
        status_t status = memory_page_locked(data, at >> PAGE_SHIFT, true, &page);
        spinlock_release(&data->lock);
        must(status, "data segment");
        memcpy((uint8_t *)phys_to_virt(page) + (at & (PAGE_SIZE - 1)), from + done, part);
        done += part;
        at += part;
    }
    map(first, data, 0, size, start, PROT_READ | PROT_WRITE);
    object_put(&data->object);
}

static void make_process(struct first *first)
{
    must(vspace_create(untyped_root, &first->vspace), "address space");
    must(cspace_create(untyped_root, INIT_SLOTS, &first->cspace), "handle table");
    must(process_create(untyped_root, &cell_root, first->vspace, first->cspace, "init\0\0\0\0\0\0\0\0\0\0\0", &first->process), "process");
    first->process->is_needed = true;
    first->cspace->is_first = true;
    must(memory_create(untyped_root, 2, MEMORY_COMMITTED, &first->pages), "message page");
    arch_irq_poll(); /* the last stretch of the boot is measured as any other */
    must(thread_create(untyped_root, first->process, first->pages, 0, 0, &first->thread), "thread");
    paddr_t page = 0;
    spinlock_acquire(&first->pages->lock);
    must(memory_page_locked(first->pages, 1, true, &page), "bootstrap page");
    spinlock_release(&first->pages->lock);
    first->bootstrap = phys_to_virt(page);
}

static void give_handles(struct first *first, struct memory *image)
{
    arch_irq_poll();
    give(first, "self.cspace", &first->cspace->object, RIGHTS_ALL);
    give(first, "self.vspace", &first->vspace->object, RIGHTS_ALL);
    give(first, "self.process", &first->process->object, RIGHTS_ALL);
    give(first, "self.thread", &first->thread->object, RIGHTS_ALL);
    first->bootstrap->block.thread = first->bootstrap->handles[3].handle;
    give(first, "self.untyped", &untyped_root->object, RIGHTS_ALL & ~(uint32_t)RIGHT_DESTROY);
    give(first, "log", &log_object.object, RIGHTS_ALL);
    give(first, "audit", &audit_object.object, RIGHTS_ALL & ~(uint32_t)(RIGHT_DESTROY | LOG_RIGHT_APPEND));
    give(first, "machine", &machine_object.object, RIGHTS_ALL & ~(uint32_t)RIGHT_DESTROY);
    give(first, "system", &system_object.object, RIGHTS_ALL & ~(uint32_t)RIGHT_DESTROY);
    give(first, "cell", &cell_root.object, RIGHTS_ALL & ~(uint32_t)RIGHT_DESTROY);
    give(first, "clock", &clock_object.object, RIGHTS_ALL & ~(uint32_t)RIGHT_DESTROY);
    give(first, "trace", &trace_object.object, RIGHTS_ALL & ~(uint32_t)RIGHT_DESTROY);
    give(first, "image", &image->object, RIGHTS_ALL & ~(uint32_t)MEMORY_RIGHT_WRITE);
}

void first_process_start(const struct boot_info *bi)
{
    if (bi->image_size == 0)
        panic("no boot image was given: pass one as initial ramdisk (-initrd)");
    if (bi->image_start < bi->kernel_end && bi->image_start + bi->image_size > bi->kernel_start)
        panic("not enough memory: the boot image was loaded where the kernel lies");
    if (bi->image_start & (PAGE_SIZE - 1))
        panic("the boot image at %lx is not page aligned", bi->image_start);
    struct cpio_file file;
    status_t status = cpio_find(phys_to_virt(bi->image_start), bi->image_size, INIT_PATH, &file);
    if (status == ERROR_NOT_FOUND)
        panic("the boot image has no %s", INIT_PATH);
    if (status != OK)
        panic("the boot image is damaged before %s was found", INIT_PATH);
    struct elf_image elf;
    if (elf_parse(file.data, file.size, ELF_NATIVE, &elf) != OK)
        panic("%s is damaged or not a static position-independent program for this machine", INIT_PATH);
    if (file.offset & (PAGE_SIZE - 1))
        panic("%s is not page aligned in the boot image", INIT_PATH);

    struct first first = {};
    make_process(&first);
    struct memory *image, *clock, *stack;
    must(memory_create_fixed(untyped_root, MEMORY_KIND_FIXED, bi->image_start, align_up(bi->image_size, PAGE_SIZE) >> PAGE_SHIFT, &image),
         "boot image");
    for (uint32_t i = 0; i < elf.segment_count; i++)
        load_segment(&first, &file, image, &elf.segments[i]);
    arch_icache_sync(phys_to_virt(bi->image_start), bi->image_size);
    must(memory_create_fixed(untyped_root, MEMORY_KIND_FIXED, clock_page_physical(), 1, &clock), "clock page");
    must(memory_create(untyped_root, INIT_STACK >> PAGE_SHIFT, 0, &stack), "stack");

    struct tess_bootstrap *bootstrap = first.bootstrap;
    vaddr_t pages = map(&first, first.pages, 0, 2 * PAGE_SIZE, 0x800000, PROT_READ | PROT_WRITE);
    bootstrap->stack_size = INIT_STACK;
    bootstrap->stack_base = map(&first, stack, 0, INIT_STACK, 0x900000, PROT_READ | PROT_WRITE);
    bootstrap->clock_page = map(&first, clock, 0, PAGE_SIZE, 0x810000, PROT_READ);
    bootstrap->image_base = INIT_BASE;
    bootstrap->seed = boot_random(bi);
    bootstrap->version = ABI_VERSION;
    bootstrap->abi_hash = ABI_HASH;
    bootstrap->args_offset = sizeof(struct tess_bootstrap);
    bootstrap->block.self = pages + PAGE_SIZE;
    bootstrap->block.message_page = pages;
    give_handles(&first, image);
    (void)thread_start_at(first.thread, INIT_BASE + elf.entry, bootstrap->stack_base + INIT_STACK, pages + PAGE_SIZE, 0, pages + PAGE_SIZE);
    /* Handles and mappings keep what they need from here on. */
    object_put(&image->object);
    object_put(&clock->object);
    object_put(&stack->object);
    object_put(&first.pages->object);
    object_put(&first.thread->object);
    object_put(&first.process->object);
    object_put(&first.cspace->object);
    object_put(&first.vspace->object);
}

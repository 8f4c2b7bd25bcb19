/* Records of open file descriptions: pages that fork shares. A record is taken by compare-and-swap, since all who have the page may take one. */
#include "files.h"
#include <linux/queue.h>
#include <tess/invoke.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

static constexpr uint32_t RECORDS = RECORDS_SIZE / sizeof(struct linux_record);

static struct linux_record *take(struct records *page, uint32_t flags)
{
    for (uint32_t i = 0; i < RECORDS; i++) {
        struct linux_record *record = &page->records[i];
        uint32_t none = 0;
        if (record->users == 0 && __c11_atomic_compare_exchange_strong(&record->users, &none, 1, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
            record->flags = flags;
            record->offset = 0;
            return record;
        }
    }
    return nullptr;
}

struct linux_record *record_create(struct linux_file_table *table, uint32_t flags)
{
    struct linux_record *record = nullptr;
    linux_lock(&table->lock);
    for (uint32_t i = 0; i < table->page_count && record == nullptr; i++) {
        record = take(&table->pages[i], flags);
    }
    handle_t memory;
    void *address;
    if (record == nullptr && table->page_count < RECORD_PAGES &&
        tess_untyped_create_memory(linux_process()->untyped, RECORDS_SIZE, 0, &memory) == OK) {
        if (linux_shared_map(memory, RECORDS_SIZE, &address) == 0) {
            struct records *page = &table->pages[table->page_count++];
            *page = (struct records){.memory = memory, .records = address};
            record = take(page, flags);
        } else {
            files_handle_delete(memory);
        }
    }
    linux_unlock(&table->lock);
    return record;
}

int64_t records_map_into(const struct linux_file_table *table, handle_t vspace)
{
    for (uint32_t i = 0; i < table->page_count; i++) {
        uint64_t address;
        status_t status = tess_vspace_map(vspace, table->pages[i].memory, 0, RECORDS_SIZE, (uint64_t)table->pages[i].records,
                                          MAP_READ | MAP_WRITE | MAP_FIXED | MAP_INHERIT_SHARE, &address);
        if (status != OK) {
            return linux_error(status);
        }
    }
    return 0;
}

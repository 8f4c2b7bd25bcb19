/* Two trees over the names of a directory: by name, to find one; by position, which a name keeps while it is there, so that a listing in pieces
 * shows every name that was there all the time once. */
#include <tmpfs/tmpfs.h>

static uint32_t name_hash(const char *name, uint32_t size)
{
    uint64_t hash = hash_bytes(name, size);
    return (uint32_t)(hash ^ hash >> 32);
}

struct entry *entry_find(struct inode *directory, const char *name, uint32_t size)
{
    uint32_t hash = name_hash(name, size);
    struct tree_node *node = directory->names.root;
    while (node != nullptr) {
        struct entry *entry = tree_entry(node, struct entry, by_name);
        int order = hash < entry->hash ? -1 : hash > entry->hash ? 1 : memcmp(name, entry->name, min_u32(size, entry->name_size));
        if (order == 0) {
            if (size == entry->name_size) {
                return entry;
            }
            order = size < entry->name_size ? -1 : 1;
        }
        node = order < 0 ? node->left : node->right;
    }
    return nullptr;
}

struct entry *entry_create(struct tmpfs *fs, const char *name, uint32_t size)
{
    struct entry *entry = allocator_allocate_zeroed(fs->allocator, sizeof(*entry) + size);
    if (entry != nullptr) {
        entry->hash = name_hash(name, size);
        entry->name_size = (uint16_t)size;
        memcpy(entry->name, name, size);
    }
    return entry;
}

void entry_destroy(struct tmpfs *fs, struct entry *entry) { allocator_release(fs->allocator, entry, sizeof(*entry) + entry->name_size); }

void entry_insert(struct inode *directory, struct entry *entry, struct inode *inode)
{
    entry->directory = directory;
    entry->inode = inode;
    entry->position = directory->position_next++;
    tree_insert(&directory->names, &entry->by_name);
    tree_insert(&directory->positions, &entry->by_position);
}

void entry_remove(struct entry *entry)
{
    tree_remove(&entry->directory->names, &entry->by_name);
    tree_remove(&entry->directory->positions, &entry->by_position);
}

struct entry *entry_at(struct inode *directory, uint64_t position)
{
    struct entry probe = {.position = position};
    struct tree_node *node = tree_lower_bound(&directory->positions, &probe.by_position);
    return node == nullptr ? nullptr : tree_entry(node, struct entry, by_position);
}

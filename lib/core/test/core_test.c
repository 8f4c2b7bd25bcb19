/* Trees against a sorted array, lists, and the readers of ELF and CPIO against every truncation and many damaged copies. */
#include <check.h>
#include <stdlib.h>
#include <tess/cpio.h>
#include <tess/elf.h>
#include <tess/list.h>
#include <tess/tree.h>

static uint64_t random_state = 7;
static uint32_t random_next(void)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(random_state >> 33);
}

/* ---- tree ---- */
struct item {
    uint32_t key, order;
    bool is_in;
    struct tree_node node;
    struct list_node list_node;
};
static bool item_less(const struct tree_node *a, const struct tree_node *b)
{
    return tree_entry(a, struct item, node)->key < tree_entry(b, struct item, node)->key;
}

/* Height of the subtree, or -1 when an invariant is broken. */
static int check_subtree(const struct tree_node *node, const struct tree_node *parent)
{
    if (node == nullptr) {
        return 0;
    }
    int left = check_subtree(node->left, node), right = check_subtree(node->right, node);
    int height = 1 + (left > right ? left : right);
    bool is_right = left >= 0 && right >= 0 && abs(left - right) <= 1 && node->parent == parent && (int)node->height == height;
    return is_right ? height : -1;
}

static bool is_in_order(const struct tree *tree, uint32_t count)
{
    uint32_t seen = 0;
    const struct item *before = nullptr;
    for (struct tree_node *n = tree_first(tree); n != nullptr; n = tree_next(n), seen++) {
        const struct item *item = tree_entry(n, struct item, node);
        if (before != nullptr && (item->key < before->key || (item->key == before->key && item->order < before->order))) {
            return false;
        }
        before = item;
    }
    uint32_t back = 0;
    for (struct tree_node *n = tree_last(tree); n != nullptr; n = tree_prev(n)) {
        back++;
    }
    return seen == count && back == count && check_subtree(tree->root, nullptr) >= 0;
}

static void test_tree(void)
{
    static struct item items[300];
    struct tree tree;
    tree_init(&tree, item_less);
    CHECK(tree_is_empty(&tree) && tree_first(&tree) == nullptr && tree_last(&tree) == nullptr);
    uint32_t count = 0;
    bool is_right = true;
    for (uint32_t round = 0; round < 20000 && is_right; round++) {
        struct item *item = &items[random_next() % ARRAY_LENGTH(items)];
        if (item->is_in) {
            tree_remove(&tree, &item->node);
            count--;
        } else {
            item->key = random_next() % 100;
            item->order = round;
            tree_insert(&tree, &item->node);
            count++;
        }
        item->is_in = !item->is_in;
        is_right = is_in_order(&tree, count);
    }
    CHECK(is_right);
    for (uint32_t key = 0; key <= 100; key++) {
        struct item probe = {.key = key};
        struct tree_node *found = tree_lower_bound(&tree, &probe.node);
        const struct item *least = nullptr;
        for (uint32_t i = 0; i < ARRAY_LENGTH(items); i++) {
            if (items[i].is_in && items[i].key >= key && (least == nullptr || items[i].key < least->key)) {
                least = &items[i];
            }
        }
        CHECK((found == nullptr) == (least == nullptr));
        CHECK(found == nullptr || tree_entry(found, struct item, node)->key == least->key);
    }
}

static void test_list(void)
{
    struct item items[4] = {};
    struct list list, other;
    list_init(&list);
    list_init(&other);
    CHECK(list_is_empty(&list) && list_pop_front(&list) == nullptr && list_last(&list) == nullptr);
    for (uint32_t i = 0; i < 4; i++) {
        items[i].key = i;
        list_node_init(&items[i].list_node);
        CHECK(!list_node_is_linked(&items[i].list_node));
    }
    list_push_back(&list, &items[1].list_node);
    list_push_front(&list, &items[0].list_node);
    list_push_back(&other, &items[2].list_node);
    list_push_back(&other, &items[3].list_node);
    list_splice_back(&list, &other);
    CHECK(list_is_empty(&other));
    uint32_t expected = 0;
    list_for_each (node, &list) {
        CHECK(list_entry(node, struct item, list_node)->key == expected++);
    }
    CHECK(expected == 4);
    list_for_each_safe (node, &list) {
        if (list_entry(node, struct item, list_node)->key % 2 == 0) {
            list_remove(node);
            list_remove(node);
        }
    }
    CHECK(list_first(&list) == &items[1].list_node && list_next(&list, &items[1].list_node) == &items[3].list_node);
    CHECK(list_next(&list, &items[3].list_node) == nullptr && list_pop_front(&list) == &items[1].list_node);
}

/* ---- CPIO ---- */
static size_t cpio_add(char *archive, size_t at, const char *name, const char *data)
{
    at += (size_t)sprintf(archive + at, "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x", 1, 0100644, 0, 0, 1, 0,
                          strlen(data), 0, 0, 0, 0, strlen(name) + 1, 0);
    at += (size_t)sprintf(archive + at, "%s", name) + 1;
    at = (size_t)align_up(at, 4);
    at += (size_t)sprintf(archive + at, "%s", data);
    return (size_t)align_up(at, 4);
}

/* Reads everything; what the reader returns must lie inside. */
static status_t cpio_walk(const char *archive, size_t size)
{
    uint64_t cursor = 0;
    struct cpio_file file;
    status_t status;
    while ((status = cpio_next(archive, size, &cursor, &file)) == OK) {
        CHECK(is_range_within(file.offset, file.size, size) && file.data == archive + file.offset);
        CHECK(memchr(file.name, 0, (size_t)(archive + size - file.name)) != nullptr);
    }
    return status;
}

static void test_cpio(void)
{
    static char archive[2048];
    size_t size = cpio_add(archive, 0, "bin/init", "hello");
    size = cpio_add(archive, size, "empty", "");
    size = cpio_add(archive, size, "etc/x", "world!!");
    size_t end = cpio_add(archive, size, "TRAILER!!!", "");
    struct cpio_file file;
    CHECK(cpio_find(archive, end, "etc/x", &file) == OK && file.size == 7 && memcmp(file.data, "world!!", 7) == 0);
    CHECK(cpio_find(archive, end, "empty", &file) == OK && file.size == 0);
    CHECK(cpio_find(archive, end, "etc", &file) == ERROR_NOT_FOUND);
    CHECK(cpio_walk(archive, end) == ERROR_NOT_FOUND);
    for (size_t cut = 0; cut < size; cut++) {
        char *copy = malloc(cut + 1); /* exactly sized: the sanitizer sees a read beyond */
        memcpy(copy, archive, cut);
        CHECK(cpio_walk(copy, cut) == ERROR_BAD_FORMAT);
        free(copy);
    }
    for (uint32_t round = 0; round < 20000; round++) {
        char *copy = malloc(end);
        memcpy(copy, archive, end);
        for (uint32_t k = 0; k < 1 + round % 3; k++) {
            copy[random_next() % end] = (char)(random_next() % 2 ? "0123456789abcdef"[random_next() % 16] : random_next());
        }
        cpio_walk(copy, end);
        free(copy);
    }
}

/* ---- ELF ---- */
struct header {
    uint32_t type, flags;
    uint64_t offset, address, physical, file_size, memory_size, align;
};
static const struct header sound[3] = {
    {1, 4, 0, 0, 0, 0x1200, 0x1200, 4096},          /* R */
    {1, 5, 0x2000, 0x2000, 0, 0x800, 0x800, 4096},  /* RX */
    {1, 6, 0x3000, 0x3000, 0, 0x100, 0x5000, 4096}, /* RW */
};
constexpr size_t ELF_SIZE = 0x3100;

static uint8_t *elf_make(const struct header *headers, uint32_t count, uint64_t entry)
{
    uint8_t *file = calloc(1, ELF_SIZE);
    memcpy(file, "\177ELF\2\1\1", 7);
    store_le16(file + 16, 3);
    store_le16(file + 18, ELF_RISCV);
    store_le64(file + 24, entry);
    store_le64(file + 32, 64);
    store_le16(file + 54, 56);
    store_le16(file + 56, (uint16_t)count);
    memcpy(file + 64, headers, count * sizeof(*headers));
    return file;
}

static status_t elf_try(const struct header *headers, uint32_t count, uint64_t entry)
{
    struct elf_image image;
    uint8_t *file = elf_make(headers, count, entry);
    status_t status = elf_parse(file, ELF_SIZE, ELF_RISCV, &image);
    free(file);
    return status;
}

static void check_image(const struct elf_image *image, size_t size)
{
    uint64_t end = 0;
    for (uint32_t i = 0; i < image->segment_count; i++) {
        const struct elf_segment *s = &image->segments[i];
        CHECK(is_range_within(s->file_offset, s->file_size, size) && s->file_size <= s->memory_size);
        CHECK(!(s->is_writable && s->is_executable) && align_down(s->address, ELF_PAGE) >= end);
        end = align_up(s->address + s->memory_size, ELF_PAGE);
    }
    CHECK(end == image->extent);
}

#define WITH(field, i, value)                                                                                                              \
    ({                                                                                                                                     \
        struct header h[3] = {sound[0], sound[1], sound[2]};                                                                               \
        h[i].field = (value);                                                                                                              \
        elf_try(h, 3, 0x2010);                                                                                                             \
    })

static void test_elf(void)
{
    struct elf_image image;
    uint8_t *file = elf_make(sound, 3, 0x2010);
    CHECK(elf_parse(file, ELF_SIZE, ELF_RISCV, &image) == OK);
    CHECK(image.segment_count == 3 && image.extent == 0x8000 && image.entry == 0x2010);
    CHECK(image.segments[1].is_executable && image.segments[2].is_writable && image.segments[2].memory_size == 0x5000);
    CHECK(elf_parse(file, ELF_SIZE, ELF_AARCH64, &image) == ERROR_UNSUPPORTED);
    for (size_t cut = 0; cut < ELF_SIZE; cut++) {
        uint8_t *copy = malloc(cut + 1);
        memcpy(copy, file, cut);
        CHECK(elf_parse(copy, cut, ELF_RISCV, &image) == ERROR_BAD_FORMAT);
        free(copy);
    }
    for (uint32_t round = 0; round < 50000; round++) {
        uint8_t *copy = malloc(ELF_SIZE);
        memcpy(copy, file, ELF_SIZE);
        for (uint32_t k = 0; k < 1 + round % 4; k++) {
            copy[random_next() % (64 + 3 * 56)] = (uint8_t)(random_next() % 3 ? random_next() : random_next() % 2 ? 0xFF : 0);
        }
        if (elf_parse(copy, ELF_SIZE, ELF_RISCV, &image) == OK) {
            check_image(&image, ELF_SIZE);
        }
        free(copy);
    }
    free(file);
    CHECK(elf_try(sound, 3, 0x1000) == ERROR_BAD_FORMAT); /* entry in constants */
    CHECK(elf_try(sound, 3, 0x2800) == ERROR_BAD_FORMAT); /* just behind the text */
    CHECK(elf_try(sound, 0, 0x2010) == ERROR_BAD_FORMAT);
    CHECK(WITH(flags, 1, 7) == ERROR_BAD_FORMAT);               /* writable and executable */
    CHECK(WITH(flags, 0, 2) == ERROR_BAD_FORMAT);               /* not readable */
    CHECK(WITH(address, 2, 0x2000) == ERROR_BAD_FORMAT);        /* shares a page */
    CHECK(WITH(address, 0, 0x8000) == ERROR_BAD_FORMAT);        /* not ascending */
    CHECK(WITH(address, 2, 0x3008) == ERROR_BAD_FORMAT);        /* not congruent */
    CHECK(WITH(address, 2, 0ull - 0x1000) == ERROR_BAD_FORMAT); /* wraps */
    CHECK(WITH(memory_size, 2, 0ull - 0x3000) == ERROR_BAD_FORMAT);
    CHECK(WITH(memory_size, 2, 0x80) == ERROR_BAD_FORMAT);   /* less memory than file */
    CHECK(WITH(memory_size, 0, 0x1300) == ERROR_BAD_FORMAT); /* zero fill in constants */
    CHECK(WITH(file_size, 2, 0x101) == ERROR_BAD_FORMAT);    /* beyond the file */
    CHECK(WITH(offset, 2, 0ull - 0x1000) == ERROR_BAD_FORMAT);
    CHECK(WITH(type, 0, 3) == ERROR_UNSUPPORTED); /* interpreter */
    CHECK(WITH(type, 2, 7) == ERROR_UNSUPPORTED); /* TLS */
}

static void test_util(void)
{
    CHECK(log2_ceil(0) == 0 && log2_ceil(1) == 0 && log2_ceil(2) == 1 && log2_ceil(3) == 2 && log2_ceil(1ull << 40) == 40);
    CHECK(!is_range_within(8, UINT64_MAX, 16) && is_range_within(8, 8, 16) && !is_range_within(17, 0, 16));
    uint8_t b[8];
    store_be64(b, 0x0102030405060708);
    CHECK(b[0] == 1 && b[7] == 8 && load_be32(b) == 0x01020304 && load_le16(b) == 0x0201 && load_be64(b) == 0x0102030405060708);
}

int main(void)
{
    test_util();
    test_list();
    test_tree();
    test_cpio();
    test_elf();
    return check_result();
}

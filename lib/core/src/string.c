/*
 * Memory functions, eight bytes at a time: without vector registers (kernel and native programs use none) a 64-bit word is
 * the widest store there is, and under emulation the number of instructions is the cost.
 *
 * no_builtin keeps the compiler from recognising these loops and turning them into calls of themselves.
 */
#include <stdint.h>
#include <tess/string.h>

#define NO_BUILTIN __attribute__((no_builtin))

typedef uint64_t __attribute__((may_alias)) word_t;
struct __attribute__((packed, may_alias)) unaligned_word {
    uint64_t value;
};

constexpr size_t WORD = sizeof(word_t);
constexpr size_t BLOCK = 8 * WORD;
/* Below this, finding the alignment costs more than bytes do. */
constexpr size_t SMALL = 16;

#if defined(__x86_64__) || defined(__aarch64__)
constexpr bool HAS_UNALIGNED_LOADS = true;
#else
constexpr bool HAS_UNALIGNED_LOADS = false;
#endif

static inline size_t misalignment(const void *p) { return (uintptr_t)p % WORD; }

NO_BUILTIN static inline void copy_bytes_up(uint8_t *d, const uint8_t *s, size_t count)
{
    while (count-- > 0) {
        *d++ = *s++;
    }
}

NO_BUILTIN static inline void copy_bytes_down(uint8_t *d, const uint8_t *s, size_t count)
{
    while (count-- > 0) {
        d[count] = s[count];
    }
}

/* Both aligned, count a multiple of WORD. Ascending: right for overlap with d < s. */
NO_BUILTIN static inline void copy_words_up(uint8_t *destination, const uint8_t *source, size_t count)
{
    word_t *d = (word_t *)destination;
    const word_t *s = (const word_t *)source;
    for (; count >= BLOCK; count -= BLOCK, d += 8, s += 8) {
        /* Loads before stores in halves, so that pairs can be loaded and stored together where the machine has that. */
        word_t a = s[0], b = s[1], c = s[2], e = s[3];
        d[0] = a, d[1] = b, d[2] = c, d[3] = e;
        a = s[4], b = s[5], c = s[6], e = s[7];
        d[4] = a, d[5] = b, d[6] = c, d[7] = e;
    }
    for (; count > 0; count -= WORD) {
        *d++ = *s++;
    }
}

/* d aligned, s not, count a multiple of WORD. Ascending. */
NO_BUILTIN __attribute__((no_sanitize("address"))) static inline void copy_words_shifted_up(uint8_t *destination, const uint8_t *source,
                                                                                            size_t count)
{
    word_t *d = (word_t *)destination;
    if (HAS_UNALIGNED_LOADS) {
        const struct unaligned_word *s = (const struct unaligned_word *)source;
        for (; count > 0; count -= WORD) {
            *d++ = (s++)->value;
        }
        return;
    }
    /* Little-endian merge of neighbouring aligned words. Only words that hold at least one byte of the source are read. */
    uint32_t shift = (uint32_t)misalignment(source) * 8;
    const word_t *s = (const word_t *)(source - misalignment(source));
    word_t low = *s++;
    for (; count > 0; count -= WORD) {
        word_t high = *s++;
        *d++ = low >> shift | high << (64 - shift);
        low = high;
    }
}

NO_BUILTIN static void copy_up(uint8_t *d, const uint8_t *s, size_t count)
{
    if (count >= SMALL) {
        size_t head = (WORD - misalignment(d)) % WORD;
        copy_bytes_up(d, s, head);
        d += head, s += head, count -= head;
        size_t body = count - count % WORD;
        if (misalignment(s) == 0) {
            copy_words_up(d, s, body);
        } else {
            copy_words_shifted_up(d, s, body);
        }
        d += body, s += body, count -= body;
    }
    copy_bytes_up(d, s, count);
}

/* Overlap with d > s: from the end down. */
NO_BUILTIN static void copy_down(uint8_t *d, const uint8_t *s, size_t count)
{
    if (count >= SMALL && misalignment(d) == misalignment(s)) {
        size_t tail = misalignment(d + count);
        count -= tail;
        copy_bytes_down(d + count, s + count, tail);
        while (count >= WORD) {
            count -= WORD;
            *(word_t *)(d + count) = *(const word_t *)(s + count);
        }
    }
    copy_bytes_down(d, s, count);
}

NO_BUILTIN void *memcpy(void *restrict destination, const void *restrict source, size_t count)
{
    copy_up(destination, source, count);
    return destination;
}

NO_BUILTIN void *memmove(void *destination, const void *source, size_t count)
{
    if ((uintptr_t)destination - (uintptr_t)source >= count) {
        copy_up(destination, source, count);
    } else {
        copy_down(destination, source, count);
    }
    return destination;
}

NO_BUILTIN void *memset(void *destination, int value, size_t count)
{
    uint8_t *d = destination;
    uint8_t byte = (uint8_t)value;
    if (count >= SMALL) {
        word_t word = byte * 0x0101010101010101ull;
        for (; misalignment(d) != 0; count--) {
            *d++ = byte;
        }
        word_t *w = (word_t *)d;
        for (; count >= BLOCK; count -= BLOCK, w += 8) {
            w[0] = word, w[1] = word, w[2] = word, w[3] = word;
            w[4] = word, w[5] = word, w[6] = word, w[7] = word;
        }
        for (; count >= WORD; count -= WORD) {
            *w++ = word;
        }
        d = (uint8_t *)w;
    }
    while (count-- > 0) {
        *d++ = byte;
    }
    return destination;
}

NO_BUILTIN int memcmp(const void *left, const void *right, size_t count)
{
    const uint8_t *l = left, *r = right;
    if (count >= SMALL && misalignment(l) == misalignment(r)) {
        for (; misalignment(l) != 0; l++, r++, count--) {
            if (*l != *r) {
                return *l - *r;
            }
        }
        while (count >= WORD && *(const word_t *)l == *(const word_t *)r) {
            l += WORD, r += WORD, count -= WORD;
        }
    }
    for (; count > 0; l++, r++, count--) {
        if (*l != *r) {
            return *l - *r;
        }
    }
    return 0;
}

static inline bool has_zero_byte(word_t word) { return ((word - 0x0101010101010101ull) & ~word & 0x8080808080808080ull) != 0; }

/* Reads whole aligned words, which may reach past the terminator but never past the end of its page. */
NO_BUILTIN __attribute__((no_sanitize("address"))) size_t strlen(const char *text)
{
    const char *end = text;
    for (; misalignment(end) != 0; end++) {
        if (*end == '\0') {
            return (size_t)(end - text);
        }
    }
    while (!has_zero_byte(*(const word_t *)end)) {
        end += WORD;
    }
    while (*end != '\0') {
        end++;
    }
    return (size_t)(end - text);
}

NO_BUILTIN size_t strnlen(const char *text, size_t limit)
{
    size_t length = 0;
    while (length < limit && text[length] != '\0') {
        length++;
    }
    return length;
}

NO_BUILTIN int strcmp(const char *left, const char *right)
{
    while (*left != '\0' && *left == *right) {
        left++, right++;
    }
    return (unsigned char)*left - (unsigned char)*right;
}

NO_BUILTIN int strncmp(const char *left, const char *right, size_t limit)
{
    for (; limit > 0; left++, right++, limit--) {
        if (*left != *right || *left == '\0') {
            return (unsigned char)*left - (unsigned char)*right;
        }
    }
    return 0;
}

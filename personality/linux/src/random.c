/* getrandom: ChaCha20 (RFC 8439) keyed at the start with what the cell's maker gave (struct linux_start.seed), and with a new key out of
 * its own output after every use, so that what was given out cannot be found again. */
#include <linux/call.h>
#include <tess/string.h>
#include <tess/util.h>

static inline uint32_t rotate(uint32_t value, uint32_t by) { return value << by | value >> (32 - by); }

static void quarter(uint32_t *s, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    s[a] += s[b], s[d] = rotate(s[d] ^ s[a], 16);
    s[c] += s[d], s[b] = rotate(s[b] ^ s[c], 12);
    s[a] += s[b], s[d] = rotate(s[d] ^ s[a], 8);
    s[c] += s[d], s[b] = rotate(s[b] ^ s[c], 7);
}

static void block(const uint32_t key[8], uint64_t counter, uint32_t out[16])
{
    const uint32_t start[16] = {0x61707865,
                                0x3320646E,
                                0x79622D32,
                                0x6B206574,
                                key[0],
                                key[1],
                                key[2],
                                key[3],
                                key[4],
                                key[5],
                                key[6],
                                key[7],
                                (uint32_t)counter,
                                (uint32_t)(counter >> 32),
                                0,
                                0};
    memcpy(out, start, sizeof(start));
    for (uint32_t round = 0; round < 10; round++) {
        for (uint32_t i = 0; i < 4; i++) {
            quarter(out, i, 4 + i, 8 + i, 12 + i);
        }
        for (uint32_t i = 0; i < 4; i++) {
            quarter(out, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
        }
    }
    for (uint32_t i = 0; i < 16; i++) {
        out[i] += start[i];
    }
}

/* A key for one use; the process keeps another. A fork's child and its parent, which have the same state, part here: by time and id. */
static void take_key(uint32_t key[8])
{
    struct linux_process *process = linux_process();
    uint32_t out[16];
    linux_lock(&process->arena_lock);
    uint32_t state[8];
    memcpy(state, process->random, sizeof(state));
    block(state, linux_clock_monotonic() ^ (uint64_t)process->pid << 40, out);
    memcpy(process->random, out, sizeof(process->random));
    linux_unlock(&process->arena_lock);
    memcpy(key, out + 8, 32);
}

void linux_random(void *to, uint64_t size)
{
    uint32_t key[8], out[16];
    uint8_t *bytes = to;
    take_key(key);
    for (uint64_t done = 0; done < size; done += sizeof(out)) {
        block(key, done / sizeof(out), out);
        memcpy(bytes + done, out, min_u64(size - done, sizeof(out)));
    }
}

int64_t linux_sys_getrandom(uint64_t buffer, uint64_t size, uint64_t flags)
{
    uint32_t key[8], out[16];
    if ((flags & ~7ull) != 0 || (flags & 6) == 6) {
        return -LINUX_EINVAL;
    }
    size = min_u64(size, INT32_MAX);
    take_key(key);
    for (uint64_t done = 0; done < size; done += sizeof(out)) {
        if (done > 256 && linux_is_interrupted()) {
            return (int64_t)done;
        }
        block(key, done / sizeof(out), out);
        if (linux_copy_to_user(buffer + done, out, min_u64(size - done, sizeof(out))) != 0) {
            return done > 0 ? (int64_t)done : -LINUX_EFAULT;
        }
    }
    return (int64_t)size;
}

#include "generator.h"
#include "chacha.h"
#include <tess/string.h>

/* Nonces keep the two uses of a key apart. */
static const uint8_t NONCE_READ[CHACHA_NONCE_BYTES] = {'r'};
static const uint8_t NONCE_MIX[CHACHA_NONCE_BYTES] = {'m'};

/* The compiler must not drop the wiping of what is dead afterwards. */
static void wipe(void *data, size_t size)
{
    memset(data, 0, size);
    __asm__ volatile("" : : "r"(data) : "memory");
}

void generator_mix(struct generator *g, const void *seed, size_t size, bool is_full_entropy)
{
    const uint8_t *bytes = seed;
    uint8_t block[CHACHA_BLOCK_BYTES];
    uint32_t counter = (uint32_t)size;
    /* 32 bytes at a time: the key absorbs them, then goes through the block function, which cannot be run backwards without
     * knowing the output's other half. */
    do {
        size_t part = size < CHACHA_KEY_BYTES ? size : CHACHA_KEY_BYTES;
        for (size_t i = 0; i < part; i++) {
            g->key[i] ^= bytes[i];
        }
        chacha_block(g->key, counter++, NONCE_MIX, block);
        memcpy(g->key, block, CHACHA_KEY_BYTES);
        bytes += part;
        size -= part;
    } while (size > 0);
    wipe(block, sizeof(block));
    if (is_full_entropy) {
        g->is_seeded = true;
        g->bytes_since_seed = 0;
    }
}

void generator_read(struct generator *g, uint8_t *out, size_t size)
{
    uint8_t block[CHACHA_BLOCK_BYTES], old_key[CHACHA_KEY_BYTES];
    memcpy(old_key, g->key, sizeof(old_key));
    chacha_block(old_key, 0, NONCE_READ, block);
    memcpy(g->key, block, CHACHA_KEY_BYTES);
    g->bytes_since_seed += size;
    size_t offset = CHACHA_KEY_BYTES;
    for (uint32_t counter = 1; size > 0; counter++) {
        size_t part = CHACHA_BLOCK_BYTES - offset;
        part = part < size ? part : size;
        memcpy(out, block + offset, part);
        out += part;
        size -= part;
        offset = 0;
        if (size > 0) {
            chacha_block(old_key, counter, NONCE_READ, block);
        }
    }
    wipe(block, sizeof(block));
    wipe(old_key, sizeof(old_key));
}

#include "chacha.h"
#include <tess/string.h>
#include <tess/util.h>

static uint32_t rotate(uint32_t value, uint32_t bits) { return value << bits | value >> (32 - bits); }

/* RFC 8439, 2.1 */
static void quarter_round(uint32_t state[16], uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    state[a] += state[b];
    state[d] = rotate(state[d] ^ state[a], 16);
    state[c] += state[d];
    state[b] = rotate(state[b] ^ state[c], 12);
    state[a] += state[b];
    state[d] = rotate(state[d] ^ state[a], 8);
    state[c] += state[d];
    state[b] = rotate(state[b] ^ state[c], 7);
}

void chacha_block(const uint8_t key[CHACHA_KEY_BYTES], uint32_t counter, const uint8_t nonce[CHACHA_NONCE_BYTES],
                  uint8_t out[CHACHA_BLOCK_BYTES])
{
    /* "expand 32-byte k", key, block counter, nonce */
    uint32_t start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, [12] = counter};
    for (uint32_t i = 0; i < 8; i++) {
        start[4 + i] = load_le32(key + 4 * i);
    }
    for (uint32_t i = 0; i < 3; i++) {
        start[13 + i] = load_le32(nonce + 4 * i);
    }
    uint32_t state[16];
    memcpy(state, start, sizeof(state));
    for (uint32_t round = 0; round < 10; round++) {
        quarter_round(state, 0, 4, 8, 12);
        quarter_round(state, 1, 5, 9, 13);
        quarter_round(state, 2, 6, 10, 14);
        quarter_round(state, 3, 7, 11, 15);
        quarter_round(state, 0, 5, 10, 15);
        quarter_round(state, 1, 6, 11, 12);
        quarter_round(state, 2, 7, 8, 13);
        quarter_round(state, 3, 4, 9, 14);
    }
    for (uint32_t i = 0; i < 16; i++) {
        store_le32(out + 4 * i, state[i] + start[i]);
    }
}

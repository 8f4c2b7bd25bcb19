#include <netd/siphash.h>
#include <tess/string.h>

static uint64_t rotate(uint64_t value, uint32_t bits) { return value << bits | value >> (64 - bits); }

static void round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static void absorb(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    round(v);
    round(v);
    v[0] ^= word;
}

uint64_t siphash(const uint64_t key[2], const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d, key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};
    size_t at = 0;
    for (; size - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, bytes + at, 8);
        absorb(v, word);
    }
    uint64_t last = (uint64_t)size << 56;
    for (size_t i = 0; at + i < size; i++) {
        last |= (uint64_t)bytes[at + i] << (8 * i);
    }
    absorb(v, last);
    v[2] ^= 0xFF;
    for (int i = 0; i < 4; i++) {
        round(v);
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/*
 * A random generator with fast key erasure: every read makes ChaCha20 blocks under the present key, of which the first 32 bytes
 * become the next key before anything is handed out. Whoever steals the state later learns nothing of what was given before.
 *
 * Seeding mixes: the new key depends on the old key and on the whole seed, so a bad source can add nothing but take nothing away.
 * Pure; the caller serialises.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct generator {
    uint8_t key[32];
    uint64_t bytes_since_seed;
    bool is_seeded; /* at least one full seed from a source of full entropy was mixed in */
};

/* is_full_entropy: `seed` holds at least 32 bytes that nobody can guess. */
void generator_mix(struct generator *g, const void *seed, size_t size, bool is_full_entropy);
/* Fills `out`; the caller looks at is_seeded first. */
void generator_read(struct generator *g, uint8_t *out, size_t size);

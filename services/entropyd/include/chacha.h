/* The ChaCha20 block function, RFC 8439, 2.3: sixteen words of state to sixty-four bytes. No state of its own. */
#pragma once
#include <stdint.h>

constexpr uint32_t CHACHA_KEY_BYTES = 32;
constexpr uint32_t CHACHA_NONCE_BYTES = 12;
constexpr uint32_t CHACHA_BLOCK_BYTES = 64;

void chacha_block(const uint8_t key[CHACHA_KEY_BYTES], uint32_t counter, const uint8_t nonce[CHACHA_NONCE_BYTES],
                  uint8_t out[CHACHA_BLOCK_BYTES]);

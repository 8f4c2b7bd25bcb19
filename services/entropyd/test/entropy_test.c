/* RFC 8439 test vectors, and the properties of the generator that can be seen from outside. */
#include "chacha.h"
#include "generator.h"
#include <check.h>

static void test_vectors(void)
{
    uint8_t key[32], nonce[12] = {0, 0, 0, 9, 0, 0, 0, 0x4a}, out[64];
    for (uint8_t i = 0; i < 32; i++) {
        key[i] = i;
    }
    /* 2.3.2 */
    static const uint8_t expected[64] = {
        0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15, 0x50, 0x0f, 0xdd, 0x1f, 0xa3, 0x20, 0x71, 0xc4, 0xc7, 0xd1, 0xf4, 0xc7, 0x33, 0xc0,
        0x68, 0x03, 0x04, 0x22, 0xaa, 0x9a, 0xc3, 0xd4, 0x6c, 0x4e, 0xd2, 0x82, 0x64, 0x46, 0x07, 0x9f, 0xaa, 0x09, 0x14, 0xc2, 0xd7, 0x05,
        0xd9, 0x8b, 0x02, 0xa2, 0xb5, 0x12, 0x9c, 0xd1, 0xde, 0x16, 0x4e, 0xb9, 0xcb, 0xd0, 0x83, 0xe8, 0xa2, 0x50, 0x3c, 0x4e,
    };
    chacha_block(key, 1, nonce, out);
    CHECK(memcmp(out, expected, sizeof(out)) == 0);
    /* Appendix A.1, test vector 1: everything zero */
    static const uint8_t zero_start[16] = {0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90, 0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28};
    memset(key, 0, sizeof(key));
    memset(nonce, 0, sizeof(nonce));
    chacha_block(key, 0, nonce, out);
    CHECK(memcmp(out, zero_start, sizeof(zero_start)) == 0);
}

static void test_generator(void)
{
    struct generator a = {}, b = {};
    uint8_t one[200], two[200], key[32];
    CHECK(!a.is_seeded);
    generator_mix(&a, "1234567", 7, false);
    CHECK(!a.is_seeded);
    generator_mix(&a, "0123456789abcdef0123456789abcdef0123456789", 42, true);
    CHECK(a.is_seeded && a.bytes_since_seed == 0);
    b = a;
    memcpy(key, a.key, sizeof(key));
    generator_read(&a, one, sizeof(one));
    CHECK(memcmp(key, a.key, sizeof(key)) != 0); /* the key that made the output is gone */
    CHECK(a.bytes_since_seed == 200);
    generator_read(&b, two, sizeof(two));
    CHECK(memcmp(one, two, sizeof(one)) == 0);
    generator_read(&a, two, sizeof(two));
    CHECK(memcmp(one, two, sizeof(one)) != 0);
    /* No 32 bytes of output are the next key. */
    for (size_t i = 0; i + 32 <= sizeof(two); i++) {
        CHECK(memcmp(two + i, a.key, 32) != 0);
    }
    generator_mix(&b, "x", 1, false);
    generator_read(&b, one, sizeof(one));
    CHECK(memcmp(one, two, sizeof(one)) != 0);
    uint8_t guard[3] = {1, 2, 3};
    generator_read(&b, guard + 1, 1);
    CHECK(guard[0] == 1 && guard[2] == 3);
}

int main(void)
{
    test_vectors();
    test_generator();
    return check_result();
}

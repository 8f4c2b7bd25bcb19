/* The reference vectors of the SipHash paper: key 00..0f, input 00, 01, 02... of each length. */
#include <netd/siphash.h>
#include <stdio.h>

int main(void)
{
    static const struct {
        size_t size;
        uint64_t hash;
    } vectors[] = {{0, 0x726fdb47dd0e0e31}, {1, 0x74f839c593dc67fd},  {7, 0xab0200f58b01d137},
                   {8, 0x93f5f5799a932462}, {15, 0xa129ca6149be45e5}, {63, 0x958a324ceb064572}};
    const uint64_t key[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    uint8_t input[64];
    int failed = 0;
    for (size_t i = 0; i < sizeof input; i++) {
        input[i] = (uint8_t)i;
    }
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        if (siphash(key, input, vectors[i].size) != vectors[i].hash) {
            printf("siphash of %zu bytes is wrong\n", vectors[i].size);
            failed++;
        }
    }
    printf("%zu vectors, %d failed\n", sizeof vectors / sizeof vectors[0], failed);
    return failed;
}

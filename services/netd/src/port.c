#include "lwip_hooks.h"
#include <arch/cc.h>
#include <netd/port.h>
#include <netd/siphash.h>
#include <std/log.h>
#include <std/program.h>
#include <std/time.h>
#include <stdlib.h>
#include <tess/string.h>
#include <tess/stub/entropy.h>

#include "lwip/sys.h"

static struct {
    handle_t entropy;
    uint64_t isn_key[2];
    uint64_t key[2]; /* of the generator below */
    uint64_t counter;
} port;

/* A keyed hash in counter mode: unpredictable as long as the key is. The key comes from the entropy service once per process. */
uint32_t port_random(void)
{
    port.counter++;
    return (uint32_t)siphash(port.key, &port.counter, sizeof port.counter);
}

void port_init(handle_t entropy)
{
    uint8_t seed[64] = {};
    status_t status = ERROR_BAD_HANDLE;
    if (entropy != HANDLE_NONE) {
        status = tess_entropy_read(entropy, seed, time_after_ns(2 * NS_PER_S));
    }
    if (status != OK) {
        log_warning("no entropy (%s); sequence numbers are guessable", status_name(status));
        uint64_t now[2] = {time_now_ns(), time_wall_ns()};
        memcpy(seed, now, sizeof now);
        memcpy(seed + 16, now, sizeof now);
    }
    memcpy(port.key, seed, sizeof port.key);
    memcpy(port.isn_key, seed + 16, sizeof port.isn_key);
    memset(seed, 0, sizeof seed);
}

/* RFC 6528, section 3: a hash of the connection's four addresses, plus a clock of 4 microseconds. */
u32_t port_tcp_isn(const ip_addr_t *local_ip, u16_t local_port, const ip_addr_t *remote_ip, u16_t remote_port)
{
    uint32_t pair[3] = {ip_2_ip4(local_ip)->addr, ip_2_ip4(remote_ip)->addr, (uint32_t)local_port << 16 | remote_port};
    return (u32_t)siphash(port.isn_key, pair, sizeof pair) + (u32_t)(time_now_ns() / (4 * NS_PER_US));
}

u32_t sys_now(void) { return (u32_t)(time_now_ns() / NS_PER_MS); }

void sys_init(void) {}

void port_assert_failed(const char *message, const char *file, int line) { std_abort("%s (%s:%d)", message, file, line); }

int atoi(const char *text)
{
    int value = 0;
    for (; *text >= '0' && *text <= '9' && value < 100'000'000; text++) {
        value = value * 10 + (*text - '0');
    }
    return value;
}

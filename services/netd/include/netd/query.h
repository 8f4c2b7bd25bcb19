/* Questions to the network that are answered later: ping and name lookup. A caller who is gone by then costs nothing. */
#pragma once
#include <std/loop.h>
#include <stdint.h>
#include <tess/call.h>

constexpr uint32_t PINGS = 8;
constexpr uint32_t LOOKUPS = 8;

[[nodiscard]] status_t query_init(struct loop *loop);
/* net.ping and net.resolve; both defer their answer (resolve only when it is not known already). */
status_t ping_start(struct tess_call *call, uint32_t address, uint32_t timeout_ms);
status_t lookup_start(struct tess_call *call, const uint8_t name[96], uint32_t *out_address);

/*
 * What the status page shows, gathered by facts.c through capabilities and turned into text by pure functions. Every list is
 * cut at a limit, so the largest possible page fits STATUS_TEXT_BYTES; the totals say when something was left out.
 */
#pragma once
#include <httpd/connection.h>
#include <httpd/text.h>
#include <stdint.h>
#include <tess/abi.h>

constexpr uint32_t STATUS_CPUS = 32;
constexpr uint32_t STATUS_PROCESSES = 64;
constexpr uint32_t STATUS_SERVICES = 32;
constexpr uint32_t STATUS_DEVICES = 32;
constexpr size_t STATUS_TEXT_BYTES = 48 * 1024;

struct status_cpu {
    struct tess_cpu_info info;
    uint32_t load_permille; /* since the facts before these */
};

struct status_service {
    char name[NAME_BYTES];
    uint32_t state, restarts, last_cause;
    int32_t last_status;
    uint64_t process_id, since_ns, limit_pages, used_pages;
};

struct status_device {
    uint32_t bdf, vendor, device, class_code;
    char holder[NAME_BYTES];
};

struct status_net {
    uint32_t flags, address, mask, gateway, dns;
    uint8_t mac[8];
    uint64_t rx_frames, tx_frames, rx_bytes, tx_bytes, dropped, tcp_accepted, memory_used;
    uint32_t tcp_open, tcp_time_wait, tcp_listening, restarts;
};

struct status_http {
    struct http_counters counters;
    uint32_t connections, connections_peak, spare; /* spare: connections beyond the usual few whose memory is still kept */
    uint64_t accepted, refused;
};

struct status_facts {
    const char *arch;
    uint64_t now_ns;
    uint64_t wall_ns;                                    /* 0: not known */
    bool has_system, has_services, has_devices, has_net; /* false: nobody answered, or httpd holds no such handle */
    struct tess_system_info system;
    uint32_t cpu_count, process_count, service_count, device_count;
    struct status_cpu cpus[STATUS_CPUS];
    struct tess_process_info processes[STATUS_PROCESSES];
    struct status_service services[STATUS_SERVICES];
    struct status_device devices[STATUS_DEVICES];
    struct status_net net;
    struct status_http http;
};

void status_write_html(struct text *text, const struct status_facts *facts);
void status_write_json(struct text *text, const struct status_facts *facts);

/* Words for both, and for tests. */
const char *status_service_state(uint32_t state);
const char *status_device_class(uint32_t class_code);

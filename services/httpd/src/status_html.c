/* The status page as the server paints it first; status.js then keeps the same elements up to date from /status.json. */
#include <httpd/status.h>

static constexpr uint64_t PAGE = 4096;

/* Three significant digits with a binary unit: "14.2 MiB". */
static void bytes(struct text *text, uint64_t value)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    uint32_t unit = 0;
    uint64_t rest = 0;
    while (value >= 1024) {
        rest = value % 1024;
        value /= 1024;
        unit++;
    }
    text_number(text, value);
    if (unit > 0 && value < 100) {
        text_string(text, ".");
        text_number(text, rest * 10 / 1024);
    }
    text_string(text, " ");
    text_string(text, units[unit]);
}

static void duration(struct text *text, uint64_t ns)
{
    uint64_t seconds = ns / 1'000'000'000;
    if (seconds >= 86400) {
        text_format(text, "%lu d %lu h", seconds / 86400, seconds / 3600 % 24);
    } else if (seconds >= 3600) {
        text_format(text, "%lu h %02lu min", seconds / 3600, seconds / 60 % 60);
    } else if (seconds >= 60) {
        text_format(text, "%lu min %02lu s", seconds / 60, seconds % 60);
    } else {
        text_format(text, "%lu.%lu s", seconds, ns / 100'000'000 % 10);
    }
}

static void milliseconds(struct text *text, uint64_t ns) { text_format(text, "%lu.%lu ms", ns / 1'000'000, ns / 100'000 % 10); }

static void address(struct text *text, uint32_t value)
{
    const uint8_t *b = (const uint8_t *)&value; /* network byte order in memory */
    text_format(text, "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
}

static void section(struct text *text, const char *title, const char *id, const char *columns)
{
    text_string(text, "<section><h2>");
    text_string(text, title);
    text_string(text, "</h2><div class=scroll><table><thead><tr>");
    text_string(text, columns);
    text_string(text, "</tr></thead><tbody id=");
    text_string(text, id);
    text_string(text, ">");
}

static void section_end(struct text *text) { text_string(text, "</tbody></table></div></section>\n"); }

static void cell_number(struct text *text, uint64_t value)
{
    text_string(text, "<td class=n>");
    text_number(text, value);
}

static void bar(struct text *text, uint64_t permille)
{
    text_format(text, "<td class=b><i style=\"--p:%lu\"></i>", permille > 1000 ? 1000 : permille);
}

static void tile(struct text *text, const char *id, const char *label)
{
    text_string(text, "<div><span>");
    text_string(text, label);
    text_string(text, "</span><b id=");
    text_string(text, id);
    text_string(text, ">");
}

static void tiles(struct text *text, const struct status_facts *facts)
{
    text_string(text, "<div class=tiles>");
    tile(text, "uptime", "Uptime");
    duration(text, facts->now_ns);
    text_string(text, "</b></div>");
    if (facts->has_system) {
        const struct tess_system_info *system = &facts->system;
        tile(text, "used", "Memory in use");
        bytes(text, (system->ram_pages - system->free_pages) * PAGE);
        text_string(text, "</b><small>of <span id=ram>");
        bytes(text, system->ram_pages * PAGE);
        text_string(text, "</span></small></div>");
        tile(text, "procs", "Processes");
        text_number(text, system->process_count);
        text_string(text, "</b></div>");
    }
    tile(text, "requests", "Requests served");
    text_number(text, facts->http.counters.requests);
    text_string(text, "</b></div>");
    tile(text, "conns", "Connections");
    text_number(text, facts->http.connections);
    text_string(text, "</b><small>peak <span id=peak>");
    text_number(text, facts->http.connections_peak);
    text_string(text, "</span></small></div></div>\n");
}

static void cpus(struct text *text, const struct status_facts *facts)
{
    section(text, "Processors", "cpus",
            "<th>CPU<th class=b>Load<th class=n>%<th class=n>Switches<th class=n>Calls<th class=n>Interrupts<th class=n>Timer");
    for (uint32_t i = 0; i < facts->cpu_count; i++) {
        const struct status_cpu *cpu = &facts->cpus[i];
        text_string(text, "<tr><td>");
        text_number(text, cpu->info.index);
        bar(text, cpu->load_permille);
        text_format(text, "<td class=n>%u.%u", cpu->load_permille / 10, cpu->load_permille % 10);
        cell_number(text, cpu->info.switches);
        cell_number(text, cpu->info.syscalls);
        cell_number(text, cpu->info.interrupts);
        cell_number(text, cpu->info.timer_interrupts);
    }
    section_end(text);
}

static void memory(struct text *text, const struct status_facts *facts)
{
    const struct tess_system_info *system = &facts->system;
    uint64_t most = 1;
    for (uint32_t i = 1; i < OBJECT_TYPE_LIMIT; i++) {
        most = system->object_pages[i] > most ? system->object_pages[i] : most;
    }
    section(text, "Memory by kind of object", "objects", "<th>Object<th class=b>Share<th class=n>Bytes<th class=n>Count");
    for (uint32_t i = 1; i < OBJECT_TYPE_LIMIT; i++) {
        if (system->object_count[i] == 0 && system->object_pages[i] == 0) {
            continue;
        }
        text_string(text, "<tr><td>");
        text_string(text, object_type_name((enum object_type)i));
        bar(text, system->object_pages[i] * 1000 / most);
        text_string(text, "<td class=n>");
        bytes(text, system->object_pages[i] * PAGE);
        cell_number(text, system->object_count[i]);
    }
    section_end(text);
}

static void processes(struct text *text, const struct status_facts *facts)
{
    section(text, "Processes", "processes",
            "<th class=n>Id<th>Name<th class=n>Threads<th class=n>Handles<th class=n>Memory<th class=n>CPU time");
    for (uint32_t i = 0; i < facts->process_count; i++) {
        const struct tess_process_info *process = &facts->processes[i];
        text_string(text, "<tr>");
        cell_number(text, process->id);
        text_string(text, "<td>");
        text_html(text, process->name, sizeof process->name);
        cell_number(text, process->thread_count);
        cell_number(text, process->handle_count);
        text_string(text, "<td class=n>");
        bytes(text, process->memory_pages * PAGE);
        text_string(text, "<td class=n>");
        milliseconds(text, process->cpu_ns);
    }
    section_end(text);
}

static void services(struct text *text, const struct status_facts *facts)
{
    section(text, "Services", "services", "<th>Name<th>State<th class=n>Restarts<th class=n>Quota<th class=n>In use");
    for (uint32_t i = 0; i < facts->service_count; i++) {
        const struct status_service *service = &facts->services[i];
        text_string(text, "<tr><td>");
        text_html(text, service->name, sizeof service->name);
        text_format(text, "<td><em class=s%u>", service->state < 4 ? service->state : 3);
        text_string(text, status_service_state(service->state));
        text_string(text, "</em>");
        cell_number(text, service->restarts);
        text_string(text, "<td class=n>");
        bytes(text, service->limit_pages * PAGE);
        text_string(text, "<td class=n>");
        bytes(text, service->used_pages * PAGE);
    }
    section_end(text);
}

static void fact(struct text *text, const char *label, const char *id)
{
    text_string(text, "<tr><td>");
    text_string(text, label);
    text_string(text, "<td class=n id=");
    text_string(text, id);
    text_string(text, ">");
}

static void fact_number(struct text *text, const char *label, const char *id, uint64_t value)
{
    fact(text, label, id);
    text_number(text, value);
}

static void network(struct text *text, const struct status_facts *facts)
{
    const struct status_net *net = &facts->net;
    section(text, "Network", "net", "<th>Fact<th class=n>Value");
    fact(text, "Address", "n-address");
    address(text, net->address);
    fact(text, "Gateway", "n-gateway");
    address(text, net->gateway);
    fact(text, "Link", "n-link");
    text_string(text, (net->flags & 1) == 0 ? "down" : (net->flags & 4) != 0 ? "up, by DHCP" : "up, fixed address");
    fact(text, "Received", "n-rx");
    text_number(text, net->rx_frames);
    text_string(text, " frames, ");
    bytes(text, net->rx_bytes);
    fact(text, "Sent", "n-tx");
    text_number(text, net->tx_frames);
    text_string(text, " frames, ");
    bytes(text, net->tx_bytes);
    fact_number(text, "Dropped", "n-dropped", net->dropped);
    fact_number(text, "TCP open", "n-open", net->tcp_open);
    fact_number(text, "TCP time-wait", "n-wait", net->tcp_time_wait);
    fact_number(text, "TCP accepted", "n-accepted", net->tcp_accepted);
    fact_number(text, "Driver restarts", "n-restarts", net->restarts);
    section_end(text);
}

static void devices(struct text *text, const struct status_facts *facts)
{
    section(text, "Devices", "devices", "<th>Place<th>Kind<th>Vendor:device<th>Driver");
    for (uint32_t i = 0; i < facts->device_count; i++) {
        const struct status_device *device = &facts->devices[i];
        text_format(text, "<tr><td>%02x:%02x.%u<td>%s<td>%04x:%04x<td>", device->bdf >> 8 & 0xFF, device->bdf >> 3 & 0x1F, device->bdf & 7,
                    status_device_class(device->class_code), device->vendor & 0xFFFF, device->device & 0xFFFF);
        if (device->holder[0] != '\0') {
            text_html(text, device->holder, sizeof device->holder);
        } else {
            text_string(text, "<em class=s0>none</em>");
        }
    }
    section_end(text);
}

void status_write_html(struct text *text, const struct status_facts *facts)
{
    text_string(text, "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
                      "<meta name=viewport content=\"width=device-width,initial-scale=1\"><title>Tessera</title>"
                      "<link rel=icon href=/favicon.svg><link rel=stylesheet href=/style.css>"
                      "<script src=/status.js defer></script></head><body>\n<header><h1>Tessera</h1><p>");
    text_string(text, facts->arch);
    if (facts->has_system) {
        text_string(text, " &middot; ");
        text_number(text, facts->system.cpu_count);
        text_string(text, facts->system.cpu_count == 1 ? " processor" : " processors");
    }
    text_string(text, " &middot; <span id=live>as of this page</span></p></header>\n<main>");
    tiles(text, facts);
    if (facts->has_system) {
        cpus(text, facts);
        memory(text, facts);
        processes(text, facts);
    }
    if (facts->has_services) {
        services(text, facts);
    }
    if (facts->has_net) {
        network(text, facts);
    }
    if (facts->has_devices) {
        devices(text, facts);
    }
    text_string(text, "</main>\n<footer>Every figure was read through a capability that this web server was given. "
                      "<a href=/status.json>The same as JSON</a></footer></body></html>\n");
}

/*
 * The page and its JSON for no facts, ordinary facts and the most that can be; with an argument, writes ordinary ones to
 * stdout ("html" or "json") for a real parser.
 */
#include <check.h>
#include <httpd/site.h>
#include <string.h>

static struct status_facts facts;
static struct site site;
static int facts_read;
static char buffer[STATUS_TEXT_BYTES + 1];

static void fill(bool is_largest)
{
    uint64_t much = is_largest ? UINT64_MAX : 123456;
    memset(&facts, 0, sizeof facts);
    facts = (struct status_facts){.arch = "x86_64",
                                  .now_ns = is_largest ? UINT64_MAX : 4'321'000'000,
                                  .wall_ns = much,
                                  .has_system = true,
                                  .has_services = true,
                                  .has_devices = true,
                                  .has_net = true};
    facts.system = (struct tess_system_info){
        .ram_pages = is_largest ? much : 65536, .free_pages = is_largest ? 0 : 60000, .cpu_count = 2, .process_count = much};
    for (uint32_t i = 0; i < 32; i++) {
        facts.system.object_count[i] = facts.system.object_pages[i] = is_largest ? much : i < 9 ? i * 10 : 0;
    }
    facts.cpu_count = is_largest ? STATUS_CPUS : 2;
    facts.process_count = is_largest ? STATUS_PROCESSES : 5;
    facts.service_count = is_largest ? STATUS_SERVICES : 4;
    facts.device_count = is_largest ? STATUS_DEVICES : 3;
    for (uint32_t i = 0; i < facts.cpu_count; i++) {
        facts.cpus[i] = (struct status_cpu){.info = {i, 1, much, much, much, much, much, much, much, much}, .load_permille = 1000};
    }
    for (uint32_t i = 0; i < facts.process_count; i++) {
        facts.processes[i] = (struct tess_process_info){.id = is_largest ? much : i + 1,
                                                        .handle_count = much,
                                                        .memory_pages = much,
                                                        .cpu_ns = much,
                                                        .start_ns = much,
                                                        .thread_count = 9};
        memcpy(facts.processes[i].name, is_largest ? "\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"" : "netd<&>\"\\\n\xff......", 16);
    }
    for (uint32_t i = 0; i < facts.service_count; i++) {
        facts.services[i] = (struct status_service){.state = is_largest ? 2 : 1,
                                                    .restarts = (uint32_t)much,
                                                    .process_id = much,
                                                    .since_ns = much,
                                                    .limit_pages = much,
                                                    .used_pages = much};
        memset(facts.services[i].name, is_largest ? '"' : 's', 16);
    }
    for (uint32_t i = 0; i < facts.device_count; i++) {
        facts.devices[i] = (struct status_device){.bdf = 0xFFFF, .vendor = 0x1af4, .device = 0x1041, .class_code = 0x020000};
        memset(facts.devices[i].holder, is_largest ? '"' : 'h', is_largest ? 16 : 5);
    }
    facts.net = (struct status_net){.flags = 7,
                                    .address = 0x0f02000a,
                                    .rx_frames = much,
                                    .tx_frames = much,
                                    .rx_bytes = much,
                                    .tx_bytes = much,
                                    .dropped = much,
                                    .tcp_accepted = much,
                                    .memory_used = much};
    facts.http.counters = (struct http_counters){much, much, much, much, much};
    facts.http.accepted = facts.http.refused = much;
}

static size_t render(void (*write)(struct text *, const struct status_facts *))
{
    struct text text = {.data = buffer, .size = STATUS_TEXT_BYTES};
    write(&text, &facts);
    CHECK(!text.is_full);
    buffer[text.length] = '\0';
    return text.length;
}

/* Brackets balance outside strings and nothing that JSON forbids is inside. */
static bool is_plausible_json(const char *text)
{
    int depth = 0;
    bool in_string = false;
    for (; *text != '\0'; text++) {
        if (in_string) {
            if (*text == '\\') {
                text++;
            } else if (*text == '"') {
                in_string = false;
            } else if ((unsigned char)*text < ' ' || (unsigned char)*text >= 0x7F) {
                return false;
            }
        } else if (*text == '"') {
            in_string = true;
        } else if (*text == '{' || *text == '[') {
            depth++;
        } else if (*text == '}' || *text == ']') {
            depth--;
        } else if (*text == ',' && (text[1] == ',' || text[1] == '}' || text[1] == ']')) {
            return false;
        }
    }
    return depth == 0 && !in_string;
}

static void test_texts(void)
{
    memset(&facts, 0, sizeof facts);
    facts.arch = "none";
    CHECK(render(status_write_html) > 200);
    CHECK(render(status_write_json) > 50 && is_plausible_json(buffer));
    fill(false);
    CHECK(render(status_write_html) < 12000);
    CHECK(strstr(buffer, "netd&lt;&amp;&gt;&quot;\\??") != nullptr && strstr(buffer, "10.0.2.15") != nullptr);
    CHECK(render(status_write_json) < 8000 && is_plausible_json(buffer));
    fill(true);
    size_t html = render(status_write_html), json = render(status_write_json);
    CHECK(is_plausible_json(buffer));
    printf("largest page %zu bytes, largest JSON %zu bytes, limit %zu\n", html, json, STATUS_TEXT_BYTES);
}

static void read_facts(void *context, struct status_facts *out)
{
    (void)context;
    *out = facts;
    facts_read++;
}

static void test_documents(void)
{
    fill(false);
    site.read_facts = read_facts;
    site_init(&site);
    struct http_response held[SITE_DOCUMENTS], response;
    uint64_t now = 1'000'000'000;
    site_respond(&site, "/", now, &held[0]);
    CHECK(held[0].status == 200 && held[0].document != nullptr && facts_read == 1);
    site_respond(&site, "/", now + SITE_FRESH_NS - 1, &response);
    CHECK(response.document == held[0].document && facts_read == 1);
    site_release(response.document);
    /* Slow readers hold every document: the newest is served again, and nothing they read changes. */
    for (uint32_t i = 1; i < SITE_DOCUMENTS; i++) {
        now += SITE_FRESH_NS;
        site_respond(&site, "/", now, &held[i]);
        CHECK(held[i].document != held[i - 1].document);
    }
    site_respond(&site, "/", now + 10 * SITE_FRESH_NS, &response);
    CHECK(response.document == held[SITE_DOCUMENTS - 1].document && facts_read == (int)SITE_DOCUMENTS);
    site_release(response.document);
    site_release(held[0].document);
    site_respond(&site, "/", now + 10 * SITE_FRESH_NS, &response);
    CHECK(response.document == held[0].document && facts_read == (int)SITE_DOCUMENTS + 1);
    size_t length = response.size;
    site_release(response.document);
    facts.http.counters.requests *= 1000;
    site_respond(&site, "/", now + 20 * SITE_FRESH_NS, &response);
    CHECK(response.size == length && length % 1024 == 0);
    site_respond(&site, "/status.json", now, &response);
    CHECK(response.status == 200 && strcmp(response.content_type, "application/json") == 0);
    response = (struct http_response){};
    site_respond(&site, "/nothing", now, &response);
    CHECK(response.status == 404);
}

int main(int argc, char **argv)
{
    if (argc == 2) {
        fill(false);
        printf("%.*s", (int)render(strcmp(argv[1], "json") == 0 ? status_write_json : status_write_html), buffer);
        return 0;
    }
    test_texts();
    test_documents();
    return check_result();
}

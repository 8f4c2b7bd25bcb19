/* Handles in words, for each type of object. */
#include <caps.h>
#include <check.h>

static char text[160];

static const char *describe(struct tess_handle_info info, struct caps_target target)
{
    caps_describe(text, sizeof(text), &info, &target);
    return text;
}

#define INFO(...) ((struct tess_handle_info){__VA_ARGS__})
#define TARGET(...) ((struct caps_target){__VA_ARGS__})
#define NOBODY ((struct caps_target){})

int main(void)
{
    CHECK_TEXT(describe(INFO(.type = OBJECT_ENDPOINT, .rights = HTTP_RIGHT_OBSERVE), TARGET("httpd", INTERFACE_HTTP)),
               "call httpd:http (observe)");
    CHECK_TEXT(
        describe(INFO(.type = OBJECT_ENDPOINT, .rights = NET_RIGHT_OBSERVE | NET_RIGHT_LISTEN, .badge = 3), TARGET("netd", INTERFACE_NET)),
        "call netd:net (observe, listen), known to it as 3");
    CHECK_TEXT(describe(INFO(.type = OBJECT_ENDPOINT, .rights = RIGHTS_ALL), TARGET("init", INTERFACE_SUPERVISOR)),
               "answer calls to init:supervisor");
    CHECK_TEXT(describe(INFO(.type = OBJECT_ENDPOINT, .rights = 0x300), NOBODY), "call an unnamed endpoint (rights 0x300)");
    CHECK_TEXT(describe(INFO(.type = OBJECT_ENDPOINT, .rights = RIGHT_COPY), TARGET("netd", INTERFACE_NET)), "call netd:net (no method)");
    CHECK_TEXT(describe(INFO(.type = OBJECT_MEMORY, .rights = MEMORY_RIGHT_READ | MEMORY_RIGHT_WRITE, .detail = {16384}), NOBODY),
               "read and write 16 KiB of memory");
    CHECK_TEXT(describe(INFO(.type = OBJECT_MEMORY, .rights = RIGHTS_ALL, .detail = {4096, 1}), NOBODY),
               "read, write, exec and resize 4 KiB of device registers");
    CHECK_TEXT(describe(INFO(.type = OBJECT_MEMORY, .rights = RIGHT_INSPECT, .detail = {4096}), NOBODY), "only measure 4 KiB of memory");
    CHECK_TEXT(describe(INFO(.type = OBJECT_UNTYPED, .rights = RIGHTS_ALL, .detail = {1024, 300}), NOBODY),
               "make kernel objects and memory out of 4 MiB (1.1 MiB used)");
    CHECK_TEXT(describe(INFO(.type = OBJECT_PROCESS, .rights = RIGHTS_ALL, .object_id = 5), TARGET("httpd", 0)),
               "create threads in and end process 5 (httpd)");
    CHECK_TEXT(describe(INFO(.type = OBJECT_THREAD, .rights = THREAD_RIGHT_CONTROL, .object_id = 9), NOBODY), "control thread 9");
    CHECK_TEXT(describe(INFO(.type = OBJECT_MACHINE, .rights = MACHINE_RIGHT_POWER), NOBODY), "switch the machine off or reboot it");
    CHECK_TEXT(describe(INFO(.type = OBJECT_DMA, .rights = DMA_RIGHT_MAP, .detail = {64}), NOBODY),
               "let its device read and write memory (64 pages pinned; no IOMMU)");
    CHECK_TEXT(describe(INFO(.type = OBJECT_LOG, .rights = LOG_RIGHT_APPEND), NOBODY), "append to the log");
    CHECK_TEXT(describe(INFO(.type = OBJECT_LOG, .rights = LOG_RIGHT_APPEND | LOG_RIGHT_READ), NOBODY), "append and read the log");
    CHECK_TEXT(describe(INFO(.type = OBJECT_CSPACE, .rights = RIGHTS_ALL), NOBODY), "use, insert and remove a table of handles");
    CHECK_TEXT(describe(INFO(.type = OBJECT_EVENT, .rights = EVENT_RIGHT_SIGNAL), NOBODY), "signal an event");
    CHECK_TEXT(describe(INFO(.type = OBJECT_IOPORTS, .rights = RIGHTS_ALL, .detail = {0x3f8, 8}), NOBODY), "use I/O ports 0x3f8 to 0x3ff");
    CHECK_TEXT(describe(INFO(.type = 99, .rights = RIGHT_INSPECT), NOBODY), "look at unknown");
    CHECK(caps_warning(&INFO(.type = OBJECT_DMA, .rights = DMA_RIGHT_MAP)) != nullptr);
    CHECK(caps_warning(&INFO(.type = OBJECT_DMA, .rights = DMA_RIGHT_MAP, .detail = {0, 1})) == nullptr);
    CHECK(caps_warning(&INFO(.type = OBJECT_MACHINE, .rights = MACHINE_RIGHT_POWER)) == nullptr);
    caps_generic_rights(text, sizeof(text), RIGHT_COPY | RIGHT_MINT | RIGHT_OWNER | HTTP_RIGHT_OBSERVE);
    CHECK_TEXT(text, "copy mint");
    /* A buffer too small cuts, and never overruns. */
    for (size_t size = 1; size < 60; size++) {
        char small[64];
        memset(small, 'x', sizeof(small));
        caps_describe(small, size, &INFO(.type = OBJECT_UNTYPED, .rights = RIGHTS_ALL, .detail = {1024, 300}), &NOBODY);
        CHECK(strlen(small) < size && small[size] == 'x');
    }
    return check_result();
}

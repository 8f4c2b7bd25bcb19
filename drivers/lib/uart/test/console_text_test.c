/* Two sources on one terminal: log lines never land inside the client's unfinished line. */
#include <check.h>
#include <uart/console_text.h>

static struct console_text text;

static const char *drain(void)
{
    static char out[CONSOLE_OUTPUT_BYTES + 1];
    uint32_t size = 0;
    while (console_text_pending(&text) > 0) {
        out[size++] = (char)console_text_next(&text);
    }
    out[size] = 0;
    return out;
}

static void client(const char *string) { console_text_client(&text, (const uint8_t *)string, (uint32_t)strlen(string)); }

static void record(const char *name, const char *message)
{
    console_text_record(
        &text, &(struct console_record){.time_ns = 1'234'567'890, .name = name, .message = message, .size = (uint32_t)strlen(message)});
}

int main(void)
{
    record("netd", "up\n");
    CHECK_TEXT(drain(), "[   1.234567] netd: up\r\n");
    record(nullptr, "a\nb\033[2Jc");
    CHECK_TEXT(drain(), "[   1.234567] a b?[2Jc\r\n");
    client("hello\r\n");
    record("x", "y");
    CHECK_TEXT(drain(), "hello\r\n[   1.234567] x: y\r\n");
    client("tsh> ec");
    drain();
    record("x", "y");
    CHECK_TEXT(drain(), "\r\033[K[   1.234567] x: y\r\ntsh> ec");
    client("\r\033[Ktsh> echo");
    drain();
    record("x", "y");
    CHECK_TEXT(drain(), "\r\033[K[   1.234567] x: y\r\n\r\033[Ktsh> echo");
    for (uint32_t i = 0; i < CONSOLE_LINE_BYTES; i++) {
        client("z");
    }
    drain();
    record("x", "y");
    CHECK_TEXT(drain(), "\r\n[   1.234567] x: y\r\n");
    client("\n");
    client("abc");
    drain();
    console_text_client_gone(&text);
    record("x", "y");
    CHECK_TEXT(drain(), "\r\n[   1.234567] x: y\r\n");
    /* The longest record with the longest line fits the promised room. */
    client("\n");
    for (uint32_t i = 0; i < CONSOLE_LINE_BYTES; i++) {
        client("z");
    }
    drain();
    static char long_message[4000];
    memset(long_message, 'm', sizeof(long_message) - 1);
    record("0123456789abcdefgh", long_message);
    CHECK(console_text_pending(&text) <= CONSOLE_RECORD_ROOM);
    CHECK(strstr(drain(), "z") != nullptr);
    return check_result();
}

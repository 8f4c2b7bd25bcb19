/*
 * The line editor against a small model of a terminal row: after each script of keys the text, and what a person would see,
 * must be right. Random keys then check that the two never drift apart.
 */
#include <check.h>
#include <line.h>
#include <stdlib.h>

constexpr size_t SCREEN_COLUMNS = 80;

/* One row; a character is up to 4 bytes. Anything the editor may not send (wrapping, BS at column 0) is counted. */
static struct screen {
    char cells[SCREEN_COLUMNS][5];
    size_t column;
    unsigned faults, bells, clears;
    char row[SCREEN_COLUMNS * 4 + 1];
} screen;

static void screen_clear(void)
{
    for (size_t i = 0; i < SCREEN_COLUMNS; i++) {
        strcpy(screen.cells[i], " ");
    }
}

static void screen_write(void *, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        if (byte == '\r') {
            screen.column = 0;
        } else if (byte == '\n') {
            screen_clear();
        } else if (byte == '\b') {
            screen.faults += screen.column == 0;
            screen.column -= screen.column > 0;
        } else if (byte == '\a') {
            screen.bells++;
        } else if (byte == 27) {
            screen.clears++;
            i += bytes[i + 2] == '2' ? 3 : 2;
            screen.column = 0;
            screen_clear();
        } else if ((byte & 0xC0) == 0x80) {
            strncat(screen.cells[screen.column - 1], &bytes[i], 1);
        } else if (screen.column < SCREEN_COLUMNS - 1) {
            screen.cells[screen.column][0] = (char)byte;
            screen.cells[screen.column++][1] = '\0';
        } else {
            screen.faults++;
        }
    }
}

static const char *screen_row(void)
{
    screen.row[0] = '\0';
    for (size_t i = 0; i < SCREEN_COLUMNS; i++) {
        strcat(screen.row, screen.cells[i]);
    }
    size_t end = strlen(screen.row);
    while (end > 0 && screen.row[end - 1] == ' ') {
        screen.row[--end] = '\0';
    }
    return screen.row;
}

static const char *candidates[] = {"help", "ps", "mem", "services", "shutdown", "restart", "reboot", "start", "stop"};

static const char *candidate(void *, size_t index)
{
    return index < sizeof(candidates) / sizeof(candidates[0]) ? candidates[index] : nullptr;
}

static struct line line;

static void fresh(void)
{
    screen = (struct screen){};
    screen_clear();
    line_init(&line, "> ", screen_write, candidate, nullptr);
    line_start(&line);
}

static enum line_result type(const char *keys)
{
    enum line_result result = LINE_EDITING;
    while (*keys != '\0') {
        result = line_feed(&line, *keys++);
    }
    return result;
}

static enum line_result enter(const char *keys)
{
    type(keys);
    enum line_result result = type("\r");
    return result;
}

#define UP "\033[A"
#define DOWN "\033[B"
#define RIGHT "\033[C"
#define LEFT "\033[D"

static void test_editing(void)
{
    fresh();
    type("abc");
    CHECK_TEXT(line.text, "abc");
    CHECK_TEXT(screen_row(), "> abc");
    type(LEFT LEFT "X");
    CHECK_TEXT(line.text, "aXbc");
    CHECK_TEXT(screen_row(), "> aXbc");
    CHECK(screen.column == 4);
    type("\033[3~");
    CHECK_TEXT(line.text, "aXc");
    type("\177\177\177\177");
    CHECK_TEXT(line.text, "c");
    CHECK_TEXT(screen_row(), "> c");
    type("\005d\001b\033[Fe\033[Ha\033[4~f\033[1~_");
    CHECK_TEXT(line.text, "_abcdef");
    type("\033OF\033OH\033[1;5C\013");
    CHECK_TEXT(line.text, "_");
    type("one two  three\027");
    CHECK_TEXT(line.text, "_one two  ");
    type("\027");
    CHECK_TEXT(line.text, "_one ");
    type("\025");
    CHECK_TEXT(line.text, "");
    CHECK_TEXT(screen_row(), ">");
    type("hello\014");
    CHECK(screen.clears == 2);
    CHECK_TEXT(screen_row(), "> hello");
    CHECK(screen.faults == 0);
}

static void test_utf8(void)
{
    fresh();
    type("a\u00e9\u20ac\U0001F600z");
    CHECK_TEXT(line.text, "a\u00e9\u20ac\U0001F600z");
    CHECK_TEXT(screen_row(), "> a\u00e9\u20ac\U0001F600z");
    type(LEFT LEFT LEFT "\177");
    CHECK_TEXT(line.text, "a\u20ac\U0001F600z");
    CHECK(screen.column == 3);
    type("\004");
    CHECK_TEXT(line.text, "a\U0001F600z");
    /* stray continuation, overlong, surrogate, beyond Unicode, C1, cut short */
    type("\005\200\300\200\355\240\200\364\220\200\200\302\200\303(");
    CHECK_TEXT(line.text, "a\U0001F600z(");
    CHECK(screen.faults == 0);
}

static void test_line_ends(void)
{
    fresh();
    CHECK(type("one\r") == LINE_READY);
    CHECK_TEXT(line.text, "one");
    line_start(&line);
    CHECK(type("\n") == LINE_EDITING); /* of the CR before */
    CHECK(type("two\n") == LINE_READY);
    CHECK_TEXT(line.text, "two");
    line_start(&line);
    CHECK(type("\n") == LINE_READY); /* LF LF: an empty line */
    line_start(&line);
    CHECK(type("abc\003") == LINE_CANCELLED);
    CHECK_TEXT(line.text, "");
    line_start(&line);
    CHECK(type("x\033\r") == LINE_READY); /* a lone ESC does not swallow Enter */
}

static void test_history(void)
{
    fresh();
    for (const char *const *text = (const char *const[]){"first", "second", "second", "", "third", nullptr}; *text; text++) {
        enter(*text);
        line_start(&line);
    }
    CHECK(line.history_count == 3);
    type("dra");
    type(UP);
    CHECK_TEXT(line.text, "third");
    type(UP);
    CHECK_TEXT(line.text, "second");
    type(UP UP UP);
    CHECK_TEXT(line.text, "first");
    CHECK_TEXT(screen_row(), "> first");
    type(DOWN DOWN DOWN DOWN);
    CHECK_TEXT(line.text, "dra");
    type("ft\r");
    CHECK_TEXT(line.text, "draft");
    for (int i = 0; i < 100; i++) {
        char text[16];
        snprintf(text, sizeof(text), "n%d", i);
        line_start(&line);
        enter(text);
    }
    CHECK(line.history_count == LINE_HISTORY_MAX);
    CHECK_TEXT(line_history(&line, 0), "n68");
    CHECK_TEXT(line_history(&line, 31), "n99");
    CHECK(line_history(&line, 32) == nullptr);
    line_start(&line);
    for (int i = 0; i < 40; i++) {
        type(UP);
    }
    CHECK_TEXT(line.text, "n68");
}

static void test_completion(void)
{
    fresh();
    type("se\t");
    CHECK_TEXT(line.text, "services ");
    type("x\t");
    CHECK_TEXT(line.text, "services x");
    type("\025re\t");
    CHECK_TEXT(line.text, "re");
    CHECK_TEXT(screen_row(), "> re");
    type("s\t");
    CHECK_TEXT(line.text, "restart ");
    type("\025st\t\t");
    CHECK_TEXT(line.text, "st");
    type("a\t\025help sh\t");
    CHECK_TEXT(line.text, "help shutdown ");
    type("\025zz\t");
    CHECK(screen.bells == 1);
    CHECK(screen.faults == 0);
}

static void test_long_line(void)
{
    fresh();
    for (int i = 0; i < 300; i++) {
        char key = (char)('a' + i % 26);
        line_feed(&line, key);
    }
    CHECK(line.length == LINE_BYTES_MAX - 1);
    CHECK(screen.bells == 300 - (LINE_BYTES_MAX - 1));
    CHECK(screen.faults == 0);
    type("\001");
    CHECK(memcmp(screen_row(), "> abcdefghij", 12) == 0);
    CHECK(strlen(screen_row()) == LINE_COLUMNS);
    line_hide(&line);
    CHECK_TEXT(screen_row(), "");
    line_show(&line);
    CHECK(memcmp(screen_row(), "> abcdefghij", 12) == 0);
}

/* What the row must show, from the invariants alone. */
static void check_row(void)
{
    char wanted[SCREEN_COLUMNS * 4 + 1] = "> ";
    size_t column = 2, cursor_column = 0, at = line.left;
    while (true) {
        if (at == line.cursor) {
            cursor_column = column;
        }
        if (at >= line.length || column >= LINE_COLUMNS) {
            break;
        }
        size_t start = at++;
        while ((line.text[at] & 0xC0) == 0x80) {
            at++;
        }
        strncat(wanted, line.text + start, at - start);
        column++;
    }
    size_t end = strlen(wanted);
    while (end > 0 && wanted[end - 1] == ' ') {
        wanted[--end] = '\0';
    }
    CHECK_TEXT(screen_row(), wanted);
    CHECK(screen.column == cursor_column);
    CHECK(line.text[line.length] == '\0' && strlen(line.text) == line.length && line.cursor <= line.length);
}

static void test_random(void)
{
    static const char *const keys[] = {"a",    "b ",      "\u00e9", "\u20ac", UP,     DOWN,   LEFT,   LEFT,      RIGHT,
                                       "\177", "\177",    "\001",   "\005",   "\013", "\025", "\027", "\033[3~", "a long stretch of text ",
                                       "\t",   "\033[5~", "\303"};
    fresh();
    srand(1);
    for (int i = 0; i < 50000 && check_failed == 0; i++) {
        type(keys[(size_t)rand() % (sizeof(keys) / sizeof(keys[0]))]);
        check_row();
        if (rand() % 40 == 0) {
            type("\r");
            line_start(&line);
        }
    }
    /* and arbitrary bytes */
    for (int i = 0; i < 200000 && check_failed == 0; i++) {
        if (line_feed(&line, (char)rand()) != LINE_EDITING) {
            line_start(&line);
        }
        check_row();
    }
    CHECK(screen.faults == 0);
}

int main(void)
{
    test_editing();
    test_utf8();
    test_line_ends();
    test_history();
    test_completion();
    test_long_line();
    test_random();
    return check_result();
}

/*
 * The line editor of the shell. Three layers, top to bottom of this file: drawing (what is on the row), editing (what is in the
 * buffer), keys (which bytes mean which edit).
 *
 * Invariants: text holds whole code points only; cursor and left stand at the start of one; left <= cursor <= length;
 * text[length] is 0. Every code point counts as one column.
 */
#include <line.h>
#include <tess/string.h>

/* ---- drawing ---- */

struct output {
    char bytes[4 * LINE_COLUMNS + 3 * LINE_COLUMNS + 8]; /* text in UTF-8, blanks and backspaces over it, CR */
    size_t count;
};

static void output_add(struct output *out, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count && out->count < sizeof(out->bytes); i++) {
        out->bytes[out->count++] = bytes[i];
    }
}

static void output_repeat(struct output *out, char byte, size_t count)
{
    while (count-- > 0) {
        output_add(out, &byte, 1);
    }
}

static void output_flush(struct output *out, const struct line *line)
{
    if (out->count > 0) {
        line->write(line->context, out->bytes, out->count);
    }
}

static void print(const struct line *line, const char *text) { line->write(line->context, text, strlen(text)); }

static bool is_continuation(char byte) { return ((uint8_t)byte & 0xC0) == 0x80; }

static size_t columns(const char *text, size_t count)
{
    size_t result = 0;
    for (size_t i = 0; i < count; i++) {
        result += !is_continuation(text[i]);
    }
    return result;
}

static size_t next_point(const struct line *line, size_t at)
{
    if (at < line->length) {
        do {
            at++;
        } while (at < line->length && is_continuation(line->text[at]));
    }
    return at;
}

static size_t previous_point(const struct line *line, size_t at)
{
    if (at > 0) {
        do {
            at--;
        } while (at > 0 && is_continuation(line->text[at]));
    }
    return at;
}

static size_t room_columns(const struct line *line) { return LINE_COLUMNS - strlen(line->prompt); }

/* Moves the window so that the cursor is in it. */
static void scroll(struct line *line)
{
    if (line->cursor < line->left) {
        line->left = line->cursor;
    }
    while (columns(line->text + line->left, line->cursor - line->left) > room_columns(line)) {
        line->left = next_point(line, line->left);
    }
}

static void draw(struct line *line)
{
    if (!line->is_shown) {
        return;
    }
    scroll(line);
    struct output out = {.count = 0};
    output_add(&out, "\r", 1);
    output_add(&out, line->prompt, strlen(line->prompt));
    size_t end = line->left, drawn = 0;
    while (end < line->length && drawn < room_columns(line)) {
        end = next_point(line, end);
        drawn++;
    }
    output_add(&out, line->text + line->left, end - line->left);
    size_t blanks = line->drawn_columns > drawn ? line->drawn_columns - drawn : 0;
    output_repeat(&out, ' ', blanks);
    output_repeat(&out, '\b', blanks + columns(line->text + line->cursor, end - line->cursor));
    line->drawn_columns = drawn;
    output_flush(&out, line);
}

void line_hide(struct line *line)
{
    if (!line->is_shown) {
        return;
    }
    struct output out = {.count = 0};
    output_add(&out, "\r", 1);
    output_repeat(&out, ' ', strlen(line->prompt) + line->drawn_columns);
    output_add(&out, "\r", 1);
    output_flush(&out, line);
    line->drawn_columns = 0;
    line->is_shown = false;
}

void line_show(struct line *line)
{
    if (!line->is_shown) {
        line->is_shown = true;
        draw(line);
    }
}

/* ---- editing ---- */

static void insert(struct line *line, const char *bytes, size_t count)
{
    if (line->length + count >= LINE_BYTES_MAX) {
        print(line, "\a");
        return;
    }
    bool is_at_end = line->cursor == line->length;
    memmove(line->text + line->cursor + count, line->text + line->cursor, line->length - line->cursor + 1);
    memcpy(line->text + line->cursor, bytes, count);
    line->length += count;
    line->cursor += count;
    /* Typing at the end, the common case, need not draw the whole row. */
    size_t width = columns(bytes, count);
    if (is_at_end && line->is_shown && columns(line->text + line->left, line->length - line->left) <= room_columns(line)) {
        line->write(line->context, bytes, count);
        line->drawn_columns += width;
        return;
    }
    draw(line);
}

static void remove_range(struct line *line, size_t from, size_t to)
{
    memmove(line->text + from, line->text + to, line->length - to + 1);
    line->length -= to - from;
    line->cursor = from;
    draw(line);
}

static void move_to(struct line *line, size_t at)
{
    if (at != line->cursor) {
        line->cursor = at;
        draw(line);
    }
}

static void replace(struct line *line, const char *text)
{
    line->length = strnlen(text, LINE_BYTES_MAX - 1);
    memcpy(line->text, text, line->length);
    line->text[line->length] = '\0';
    line->cursor = line->length;
    line->left = 0;
    draw(line);
}

static void remove_word(struct line *line)
{
    size_t from = line->cursor;
    while (from > 0 && line->text[from - 1] == ' ') {
        from--;
    }
    while (from > 0 && line->text[from - 1] != ' ') {
        from--;
    }
    remove_range(line, from, line->cursor);
}

/* ---- history ---- */

const char *line_history(const struct line *line, uint32_t index)
{
    if (index >= line->history_count) {
        return nullptr;
    }
    return line->history[(line->history_next + LINE_HISTORY_MAX - line->history_count + index) % LINE_HISTORY_MAX];
}

static void history_add(struct line *line)
{
    const char *newest = line->history_count > 0 ? line_history(line, line->history_count - 1) : "";
    if (line->length == 0 || strcmp(newest, line->text) == 0) {
        return;
    }
    memcpy(line->history[line->history_next], line->text, line->length + 1);
    line->history_next = (line->history_next + 1) % LINE_HISTORY_MAX;
    if (line->history_count < LINE_HISTORY_MAX) {
        line->history_count++;
    }
}

static void history_go(struct line *line, uint32_t position)
{
    if (line->history_position == 0) {
        memcpy(line->draft, line->text, line->length + 1);
    }
    line->history_position = position;
    replace(line, position == 0 ? line->draft : line_history(line, line->history_count - position));
}

static void history_older(struct line *line)
{
    if (line->history_position < line->history_count) {
        history_go(line, line->history_position + 1);
    }
}

static void history_newer(struct line *line)
{
    if (line->history_position > 0) {
        history_go(line, line->history_position - 1);
    }
}

/* ---- completion ---- */

static bool has_prefix(const char *text, const char *prefix, size_t count) { return strncmp(text, prefix, count) == 0; }

static void list_candidates(struct line *line, const char *prefix, size_t count)
{
    line->cursor = line->length;
    draw(line);
    size_t column = 0;
    print(line, "\r\n");
    const char *word;
    for (size_t i = 0; (word = line->candidate(line->context, i)) != nullptr; i++) {
        if (!has_prefix(word, prefix, count)) {
            continue;
        }
        if (column + strlen(word) + 2 > LINE_COLUMNS) {
            print(line, "\r\n");
            column = 0;
        }
        print(line, word);
        print(line, "  ");
        column += strlen(word) + 2;
    }
    print(line, "\r\n");
    line->drawn_columns = 0;
    draw(line);
}

/* Completes the first word, or the second after "help". */
static void complete(struct line *line)
{
    size_t start = 0;
    if (line->length >= 5 && has_prefix(line->text, "help ", 5)) {
        start = 5;
    }
    size_t count = line->cursor - start;
    if (line->candidate == nullptr || line->cursor < start || line->cursor != line->length) {
        return;
    }
    const char *prefix = line->text + start;
    for (size_t i = 0; i < count; i++) {
        if (prefix[i] == ' ') {
            return;
        }
    }
    const char *word, *first = nullptr;
    size_t matches = 0, common = 0;
    for (size_t i = 0; (word = line->candidate(line->context, i)) != nullptr; i++) {
        if (!has_prefix(word, prefix, count)) {
            continue;
        }
        if (matches++ == 0) {
            first = word;
            common = strlen(word);
        }
        for (size_t j = count; j < common; j++) {
            if (word[j] != first[j]) {
                common = j;
            }
        }
    }
    if (matches == 0) {
        print(line, "\a");
    } else if (matches == 1) {
        insert(line, first + count, common - count);
        insert(line, " ", 1);
    } else if (common > count) {
        insert(line, first + count, common - count);
    } else {
        list_candidates(line, prefix, count);
    }
}

/* ---- keys ---- */

enum key_state : uint8_t { KEY_PLAIN, KEY_ESCAPE, KEY_CSI, KEY_SS3 };

static enum line_result finish(struct line *line)
{
    move_to(line, line->length);
    print(line, "\r\n");
    line->is_shown = false;
    history_add(line);
    return LINE_READY;
}

static enum line_result cancel(struct line *line)
{
    move_to(line, line->length);
    print(line, line->drawn_columns + 2 <= room_columns(line) ? "^C\r\n" : "\r\n");
    line->is_shown = false;
    line->length = 0;
    line->text[0] = '\0';
    return LINE_CANCELLED;
}

static void clear_screen(struct line *line)
{
    print(line, "\033[H\033[2J");
    line->drawn_columns = 0;
    draw(line);
}

static void delete_forward(struct line *line)
{
    if (line->cursor < line->length) {
        remove_range(line, line->cursor, next_point(line, line->cursor));
    }
}

static void delete_backward(struct line *line)
{
    if (line->cursor > 0) {
        remove_range(line, previous_point(line, line->cursor), line->cursor);
    }
}

/* Control characters: the letter's code minus 64 (ECMA-48, 5.2). */
enum control : uint8_t {
    CONTROL_A = 1,
    CONTROL_B = 2,
    CONTROL_C = 3,
    CONTROL_D = 4,
    CONTROL_E = 5,
    CONTROL_F = 6,
    CONTROL_H = 8,
    CONTROL_I = 9,
    CONTROL_J = 10,
    CONTROL_K = 11,
    CONTROL_L = 12,
    CONTROL_M = 13,
    CONTROL_N = 14,
    CONTROL_P = 16,
    CONTROL_U = 21,
    CONTROL_W = 23,
    CONTROL_ESCAPE = 27,
    CONTROL_DELETE = 127,
};

static enum line_result control_key(struct line *line, uint8_t key)
{
    switch (key) {
    case CONTROL_A: move_to(line, 0); break;
    case CONTROL_B: move_to(line, previous_point(line, line->cursor)); break;
    case CONTROL_C: return cancel(line);
    case CONTROL_D: delete_forward(line); break;
    case CONTROL_E: move_to(line, line->length); break;
    case CONTROL_F: move_to(line, next_point(line, line->cursor)); break;
    case CONTROL_H:
    case CONTROL_DELETE: delete_backward(line); break;
    case CONTROL_I: complete(line); break;
    case CONTROL_J:
    case CONTROL_M: return finish(line);
    case CONTROL_K: remove_range(line, line->cursor, line->length); break;
    case CONTROL_L: clear_screen(line); break;
    case CONTROL_N: history_newer(line); break;
    case CONTROL_P: history_older(line); break;
    case CONTROL_U: remove_range(line, 0, line->cursor); break;
    case CONTROL_W: remove_word(line); break;
    default: break;
    }
    return LINE_EDITING;
}

/* The last byte of a CSI or SS3 sequence (ECMA-48, 5.4; the numbers before '~' are the VT220's). */
static void escape_key(struct line *line, char final, uint32_t number)
{
    switch (final) {
    case 'A': history_older(line); break;
    case 'B': history_newer(line); break;
    case 'C': move_to(line, next_point(line, line->cursor)); break;
    case 'D': move_to(line, previous_point(line, line->cursor)); break;
    case 'H': move_to(line, 0); break;
    case 'F': move_to(line, line->length); break;
    case '~':
        if (number == 1 || number == 7) {
            move_to(line, 0);
        } else if (number == 4 || number == 8) {
            move_to(line, line->length);
        } else if (number == 3) {
            delete_forward(line);
        }
        break;
    default: break;
    }
}

/* True when the byte was part of an escape sequence. */
static bool feed_escape(struct line *line, uint8_t byte)
{
    switch (line->key_state) {
    case KEY_ESCAPE:
        line->key_number = 0;
        line->key_state = byte == '[' ? KEY_CSI : byte == 'O' ? KEY_SS3 : KEY_PLAIN;
        /* A lone ESC before a control character must not swallow it (Enter above all). */
        return byte >= 0x20;
    case KEY_SS3:
        line->key_state = KEY_PLAIN;
        escape_key(line, (char)byte, 0);
        return true;
    case KEY_CSI:
        if (byte >= '0' && byte <= '9') {
            line->key_number = line->key_number < 1000 ? line->key_number * 10 + (byte - '0') : 1000;
        } else if (byte >= 0x40 && byte <= 0x7E) {
            line->key_state = KEY_PLAIN;
            escape_key(line, (char)byte, line->key_number);
        } else if (byte == ';') {
            line->key_state = KEY_CSI; /* modifiers follow: the key alone decides, but keep its number */
        } else if (byte < 0x20 || byte >= 0x7F) {
            line->key_state = KEY_PLAIN; /* damaged sequence: the byte counts for itself */
            return false;
        }
        return true;
    default: return false;
    }
}

/* Shortest form, no surrogates, within Unicode, no C1 controls (RFC 3629, section 4). */
static bool is_valid_point(const char *bytes, size_t count)
{
    uint8_t first = (uint8_t)bytes[0], second = (uint8_t)bytes[1];
    switch (count) {
    case 2: return first >= 0xC2 && !(first == 0xC2 && second < 0xA0);
    case 3: return !(first == 0xE0 && second < 0xA0) && !(first == 0xED && second >= 0xA0);
    default: return !(first == 0xF0 && second < 0x90) && !(first == 0xF4 && second >= 0x90) && first <= 0xF4;
    }
}

static void feed_utf8(struct line *line, uint8_t byte)
{
    if (!is_continuation((char)byte)) {
        line->sequence_wanted = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
        line->sequence_length = 0;
    } else if (line->sequence_length == 0) {
        return; /* continuation of nothing */
    }
    line->sequence[line->sequence_length++] = (char)byte;
    if (line->sequence_length == line->sequence_wanted) {
        line->sequence_length = 0;
        if (is_valid_point(line->sequence, line->sequence_wanted)) {
            insert(line, line->sequence, line->sequence_wanted);
        }
    }
}

enum line_result line_feed(struct line *line, char character)
{
    uint8_t byte = (uint8_t)character;
    bool is_after_return = line->was_return;
    line->was_return = byte == CONTROL_M;
    if (feed_escape(line, byte)) {
        return LINE_EDITING;
    }
    if (byte >= 0x80) {
        feed_utf8(line, byte);
        return LINE_EDITING;
    }
    line->sequence_length = 0;
    if (byte >= 0x20 && byte != CONTROL_DELETE) {
        insert(line, &character, 1);
        return LINE_EDITING;
    }
    if (byte == CONTROL_ESCAPE) {
        line->key_state = KEY_ESCAPE;
        return LINE_EDITING;
    }
    if (byte == CONTROL_J && is_after_return) {
        return LINE_EDITING;
    }
    return control_key(line, byte);
}

/* ---- life ---- */

void line_init(struct line *line, const char *prompt, line_write_fn *write, line_candidate_fn *candidate, void *context)
{
    *line = (struct line){.prompt = prompt, .write = write, .candidate = candidate, .context = context};
}

void line_start(struct line *line)
{
    line->text[0] = '\0';
    line->length = line->cursor = line->left = 0;
    line->drawn_columns = 0;
    line->history_position = 0;
    line->key_state = KEY_PLAIN;
    line->is_shown = true;
    draw(line);
}

/*
 * The line editor: bytes from a terminal in, an edited line and bytes for the terminal out. Pure: it knows neither console nor
 * handles, so the host can test it. One thread, never blocks, allocates nothing.
 *
 * The line is drawn on one row, scrolled sideways when it is longer, with nothing but printing characters, CR and BS: that
 * works on any terminal, and on none. Escape sequences are understood, but sent only by Ctrl-L.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

constexpr size_t LINE_BYTES_MAX = 256;  /* with the final zero */
constexpr size_t LINE_HISTORY_MAX = 32; /* entries; the oldest goes first */
constexpr size_t LINE_COLUMNS = 79;     /* columns used: the 80th would make terminals wrap */

enum line_result : uint32_t {
    LINE_EDITING,   /* give it more */
    LINE_READY,     /* Enter: line->text is the line, terminated, until line_start() */
    LINE_CANCELLED, /* Ctrl-C: the line was thrown away */
};

typedef void line_write_fn(void *context, const char *bytes, size_t count);
/* The index-th word that may stand first on the line; nullptr past the last. */
typedef const char *line_candidate_fn(void *context, size_t index);

struct line {
    line_write_fn *write;
    line_candidate_fn *candidate; /* may be nullptr */
    void *context;
    const char *prompt; /* ASCII, shorter than LINE_COLUMNS / 2 */

    char text[LINE_BYTES_MAX]; /* always valid UTF-8 without control characters */
    size_t length, cursor;     /* bytes; the cursor is at the start of a code point */
    size_t left;               /* first byte drawn */
    size_t drawn_columns;      /* behind the prompt, by the last drawing */
    bool is_shown;

    uint8_t key_state;   /* enum key_state in line.c: where in an escape sequence we are */
    uint32_t key_number; /* first parameter of a CSI sequence */
    bool was_return;     /* the last byte was CR: an LF right after it belongs to it */
    char sequence[4];    /* a UTF-8 sequence under way */
    uint8_t sequence_length, sequence_wanted;

    char history[LINE_HISTORY_MAX][LINE_BYTES_MAX];
    uint32_t history_count, history_next; /* entries kept; where the next goes */
    uint32_t history_position;            /* 0 = the line being typed, 1 = the newest entry, ... */
    char draft[LINE_BYTES_MAX];           /* what was typed before history_position left 0 */
};

/* prompt, functions and context are kept, not copied. */
void line_init(struct line *line, const char *prompt, line_write_fn *write, line_candidate_fn *candidate, void *context);

/* Begins an empty line and draws the prompt. */
void line_start(struct line *line);

/* One byte from the terminal. After LINE_READY and LINE_CANCELLED call line_start() before the next. */
enum line_result line_feed(struct line *line, char byte);

/* Takes the line off the terminal so that something else can be printed, and puts it back. */
void line_hide(struct line *line);
void line_show(struct line *line);

/* The index-th history entry, 0 = oldest; nullptr past the newest. */
const char *line_history(const struct line *line, uint32_t index);

#include <httpd/site.h>
#include <tess/string.h>

static constexpr size_t LENGTH_STEP = 1024, LENGTH_SLACK = 768;

void site_init(struct site *site)
{
    for (uint32_t kind = 0; kind < DOCUMENT_KINDS; kind++) {
        for (uint32_t i = 0; i < SITE_DOCUMENTS; i++) {
            memset(site->documents[kind][i].data, ' ', sizeof site->documents[kind][i].data);
        }
    }
}

/* Keeps the last length while it fits and is not far too long; else the next step with some room to grow. */
static void fill_up(struct site *site, enum document_kind kind, struct text *text)
{
    size_t length = site->lengths[kind];
    if (length < text->length || length > text->length + 4 * LENGTH_STEP) {
        length = (text->length + LENGTH_SLACK + LENGTH_STEP - 1) / LENGTH_STEP * LENGTH_STEP;
    }
    length = length < text->size ? length : text->size;
    memset(text->data + text->length, ' ', length - text->length);
    text->length = site->lengths[kind] = length;
}

static struct document *newest(struct document *documents)
{
    struct document *best = &documents[0];
    for (uint32_t i = 1; i < SITE_DOCUMENTS; i++) {
        if (documents[i].made_ns > best->made_ns) {
            best = &documents[i];
        }
    }
    return best;
}

/* The unused one that is oldest, or null. */
static struct document *reusable(struct document *documents)
{
    struct document *best = nullptr;
    for (uint32_t i = 0; i < SITE_DOCUMENTS; i++) {
        if (documents[i].users == 0 && (best == nullptr || documents[i].made_ns < best->made_ns)) {
            best = &documents[i];
        }
    }
    return best;
}

static bool make(struct site *site, enum document_kind kind, struct document *document, uint64_t now_ns)
{
    struct text text = {.data = document->data, .size = sizeof document->data};
    site->read_facts(site->context, &site->facts);
    if (kind == DOCUMENT_HTML) {
        status_write_html(&text, &site->facts);
    } else {
        status_write_json(&text, &site->facts);
    }
    if (!text.is_full) {
        fill_up(site, kind, &text);
    }
    document->size = text.length;
    document->made_ns = text.is_full ? 0 : now_ns;
    return !text.is_full;
}

static struct document *document_get(struct site *site, enum document_kind kind, uint64_t now_ns)
{
    struct document *documents = site->documents[kind];
    struct document *document = newest(documents);
    if (document->made_ns == 0 || now_ns - document->made_ns >= SITE_FRESH_NS) {
        struct document *other = reusable(documents);
        if (other != nullptr) {
            if (!make(site, kind, other, now_ns)) {
                return nullptr;
            }
            document = other;
        }
    }
    document->users++;
    return document;
}

void site_release(struct document *document) { document->users--; }

static void respond_document(struct site *site, enum document_kind kind, uint64_t now_ns, struct http_response *response)
{
    struct document *document = document_get(site, kind, now_ns);
    if (document == nullptr) {
        response->status = 500;
        return;
    }
    *response = (struct http_response){
        .status = 200,
        .content_type = kind == DOCUMENT_HTML ? "text/html; charset=utf-8" : "application/json",
        .cache_control = "no-store",
        .body = document->data,
        .size = document->size,
        .document = document,
    };
}

void site_respond(struct site *site, const char *path, uint64_t now_ns, struct http_response *out_response)
{
    if (strcmp(path, "/") == 0 || strcmp(path, "/index.html") == 0) {
        respond_document(site, DOCUMENT_HTML, now_ns, out_response);
        return;
    }
    if (strcmp(path, "/status.json") == 0) {
        respond_document(site, DOCUMENT_JSON, now_ns, out_response);
        return;
    }
    const struct static_file *file = static_files_find(&site->files, path);
    if (file == nullptr) {
        out_response->status = 404;
        return;
    }
    *out_response = (struct http_response){
        .status = 200,
        .content_type = http_content_type(path),
        .etag = file->etag,
        .cache_control = "max-age=60",
        .body = file->data,
        .size = file->size,
    };
}

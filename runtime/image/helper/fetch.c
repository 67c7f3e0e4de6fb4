#include "runtime/image/helper/fetch.h"

#include <fcntl.h>
#include <string.h>

#include "cleanup.h"
#include "runtime/image/document.h"

/* --- documents -------------------------------------------------------------------------------- */

static int check_digest(const char *text, const struct blob *blob, const char *what,
                        struct error *err)
{
    struct sha256 hash;
    char hex[STORE_DIGEST_HEX + 1] = "";
    if (sha256_begin(&hash, err) < 0)
        return -1;
    int result = sha256_add(&hash, text, (size_t)blob->size, err);
    if (sha256_end(&hash, result == 0 ? hex : NULL, err) < 0 || result < 0)
        return -1;
    return strcmp(hex, blob->hex) == 0
               ? 0
               : error_set(err, EXIT_OURS, "%s: its digest is sha256:%s, not sha256:%s", what, hex,
                           blob->hex);
}

static int wait_for_document(struct fetch *fetch, struct blob *blob, char type[FETCHER_MEDIA_TYPE],
                             struct error *err)
{
    struct fetch_report report;
    do {
        if (fetcher_receive(fetch->fetcher, &report, err) < 0)
            return -1;
        if (!report.finished && *report.error.message && !fetch->quiet)
            (void)fprintf(stderr, "%s\n", report.error.message);
    } while (!report.finished);
    if (report.error.exit_code != 0) {
        *err = report.error;
        return -1;
    }
    if (!digest_is_hex(report.hex))
        return error_set(err, EXIT_OURS, "the process that fetches reports nonsense");
    memcpy(blob->hex, report.hex, sizeof blob->hex);
    blob->size = report.bytes;
    memcpy(type, report.media_type, sizeof report.media_type);
    memcpy(fetch->host, report.host, sizeof report.host);
    return 0;
}

static int receive_document(struct fetch *fetch, const struct fetch_document *wanted,
                            struct blob *blob, char type[FETCHER_MEDIA_TYPE], struct error *err)
{
    struct fetch_request request = { .manifest = wanted->manifest, .size = wanted->size };
    memcpy(request.hex, wanted->hex, sizeof request.hex);
    _cleanup_close_ int fd = blob_create(fetch->staging, blob, err);
    if (fd < 0 || fetcher_request(fetch->fetcher, &request, fd, err) < 0 ||
        wait_for_document(fetch, blob, type, err) < 0)
        return -1;
    if ((*wanted->hex && strcmp(wanted->hex, blob->hex) != 0) ||
        (wanted->size >= 0 && wanted->size != blob->size))
        return error_set(err, EXIT_OURS, "the process that fetches reports nonsense");
    return 0;
}

int fetch_refuse(const struct fetch *fetch, const char *cause, struct error *err)
{
    if (!*fetch->host) /* the store had all that was asked for */
        return error_set(err, EXIT_OURS, "%s; try another tag", cause);
    return error_set(err, EXIT_OURS,
                     "%s; %s sent it so: try another tag or another registry, or tell those who "
                     "run this one",
                     cause, fetch->host);
}

json_t *fetch_document(struct fetch *fetch, const struct fetch_document *wanted, struct blob *blob,
                       char type[FETCHER_MEDIA_TYPE], struct error *err)
{
    *type = '\0';
    if (wanted->size > DOCUMENT_MAX_BYTES) {
        (void)error_set(err, EXIT_OURS, "%s would have more than %d bytes", wanted->what,
                        DOCUMENT_MAX_BYTES);
        return NULL;
    }
    const bool may_be_here = *wanted->hex && !wanted->asked_for;
    int here = may_be_here ? blob_find(fetch->staging, wanted->hex, wanted->size, blob, err) : 0;
    if (here < 0 || (!here && receive_document(fetch, wanted, blob, type, err) < 0))
        return NULL;
    if (here) /* nobody is to blame for it */
        fetch->host[0] = '\0';
    _cleanup_free_ char *text = blob_read_text(fetch->staging, blob, wanted->what, err);
    if (!text || check_digest(text, blob, wanted->what, err) < 0)
        return NULL;
    struct error cause = { 0 };
    json_t *document = document_parse(text, (size_t)blob->size, wanted->what, &cause);
    if (!document)
        (void)fetch_refuse(fetch, cause.message, err);
    return document;
}

/* --- layers ----------------------------------------------------------------------------------- */

static int ask(void *context, struct layer_job *jobs, size_t count, struct error *err)
{
    struct fetch *fetch = context;
    for (size_t i = 0; i < count && fetch->outstanding < fetch->fetcher->parallel; i++) {
        struct layer_job *job = &jobs[i];
        struct fetch_request request = { .id = (uint32_t)i, .size = job->blob.size };
        if (job->state != LAYER_ABSENT || job->asked)
            continue;
        memcpy(request.hex, job->blob.hex, sizeof request.hex);
        _cleanup_close_ int fd = blob_create(fetch->staging, &job->blob, err);
        if (fd < 0 || fetcher_request(fetch->fetcher, &request, fd, err) < 0)
            return -1;
        job->asked = true;
        fetch->outstanding++;
    }
    return 0;
}

/* Its digest was computed by the fetcher; its diff id is computed where there is no network. */
static int finish(struct fetch *fetch, const struct fetch_report *report,
                  const struct progress *progress, struct layer_job *job, struct error *err)
{
    fetch->outstanding--;
    if (report->error.exit_code != 0)
        return error_set(err, EXIT_OURS, "layer sha256:%.12s: %s", job->diff_id,
                         report->error.message);
    if (strcmp(report->hex, job->blob.hex) != 0 || report->bytes != job->blob.size)
        return error_set(err, EXIT_OURS, "the process that fetches reports nonsense");
    job->state = job->keep_blob ? LAYER_DONE : LAYER_READY;
    progress_fetch(progress, report->id, job->diff_id, job->blob.size, job->blob.size);
    if (job->keep_blob)
        progress_done(progress, report->id, job->diff_id, job->blob.size);
    return 0;
}

static int take(void *context, const struct progress *progress, struct layer_job *jobs,
                size_t count, struct error *err)
{
    struct fetch *fetch = context;
    struct fetch_report report;
    if (fetcher_receive(fetch->fetcher, &report, err) < 0)
        return -1;
    struct layer_job *job = report.id < count ? &jobs[report.id] : NULL;
    if (!job || !job->asked || job->state != LAYER_ABSENT)
        return error_set(err, EXIT_OURS, "the process that fetches reports nonsense");
    if (report.finished)
        return finish(fetch, &report, progress, job, err);
    if (*report.error.message)
        progress_note(progress, report.id, job->diff_id, report.error.message);
    else if (report.bytes < job->blob.size)
        progress_fetch(progress, report.id, job->diff_id, report.bytes, job->blob.size);
    return 0;
}

struct layer_feed fetch_feed(struct fetch *fetch)
{
    return (struct layer_feed){
        .fd = fetch->fetcher->socket, .ask = ask, .take = take, .context = fetch
    };
}

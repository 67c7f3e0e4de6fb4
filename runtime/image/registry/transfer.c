#include "runtime/image/registry/transfer.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/descriptor.h"

enum { REPORT_BYTES = 1024 * 1024, HTTP_OK = 200, HTTP_PARTIAL = 206 };

int64_t transfer_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* --- headers ---------------------------------------------------------------------------------- */

static size_t receive_header(char *data, size_t size, size_t count, void *context)
{
    struct transfer *transfer = context;
    if (strncmp(data, "HTTP/", size * count < 5 ? size * count : 5) == 0)
        transfer->accepted = false; /* of a redirection, or of what it led to */
    return response_take_header(&transfer->response, data, size * count, &transfer->cause) < 0
               ? 0
               : size * count;
}

/* --- content ---------------------------------------------------------------------------------- */

int transfer_rewind(struct transfer *transfer, struct error *err)
{
    (void)sha256_end(&transfer->hash, NULL, NULL);
    transfer->received = transfer->reported = transfer->mark = 0;
    if (sha256_begin(&transfer->hash, err) < 0)
        return -1;
    if (lseek(transfer->fd, 0, SEEK_SET) < 0 || ftruncate(transfer->fd, 0) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot begin again in the image store");
    return 0;
}

static int64_t limit(const struct transfer *transfer)
{
    return transfer->request.size >= 0 ? transfer->request.size : DOCUMENT_MAX_BYTES;
}

/* announced: bytes are a header's, not counted. */
static int refuse_size(struct transfer *transfer, bool announced, int64_t bytes)
{
    if (transfer->request.size < 0)
        return error_set(&transfer->cause, EXIT_OURS,
                         "it %s more than %d bytes, the most a manifest may have",
                         announced ? "announces" : "sends", DOCUMENT_MAX_BYTES);
    return error_set(&transfer->cause, EXIT_OURS,
                     "it %s %" PRId64 " bytes, where the manifest promises %" PRId64,
                     announced ? "announces" : "sends at least", bytes, transfer->request.size);
}

/* The first bytes of a 200 or 206: from where, and how many are announced? */
static int accept_content(struct transfer *transfer, long status)
{
    curl_off_t length = -1;
    if (status == HTTP_OK && transfer->received > 0 &&
        transfer_rewind(transfer, &transfer->cause) < 0)
        return -1;
    if (status == HTTP_PARTIAL && transfer->response.range_start != transfer->received)
        return error_set(&transfer->cause, EXIT_OURS,
                         "it sends another part than the one asked for");
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (length > limit(transfer) - transfer->received ||
        (length >= 0 && transfer->request.size >= 0 &&
         transfer->received + length != transfer->request.size))
        return refuse_size(transfer, true, transfer->received + length);
    transfer->accepted = true;
    transfer->logins = 0; /* the token was good: another may expire */
    return 0;
}

static int keep_content(struct transfer *transfer, const char *data, size_t length)
{
    if ((int64_t)length > limit(transfer) - transfer->received)
        return refuse_size(transfer, false, transfer->received + (int64_t)length);
    if (sha256_add(&transfer->hash, data, length, &transfer->cause) < 0)
        return -1;
    if (io_write_all(transfer->fd, data, length) < 0) {
        int cause = errno;
        transfer->local = true;
        (void)error_set_errno(&transfer->cause, EXIT_OURS, cause,
                              "cannot write to the image store");
        return error_see_store(&transfer->cause, cause);
    }
    transfer->received += (int64_t)length;
    if (transfer->received - transfer->reported >= REPORT_BYTES) {
        transfer->reported = transfer->received;
        transfer->report(transfer);
    }
    return 0;
}

static int keep_explanation(struct transfer *transfer, const char *data, size_t length)
{
    return response_take_body(&transfer->response, data, length) < 0
               ? error_set(&transfer->cause, 0, "enough")
               : 0;
}

static size_t receive_body(char *data, size_t size, size_t count, void *context)
{
    struct transfer *transfer = context;
    size_t length = size * count;
    long status = 0;
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != HTTP_OK && status != HTTP_PARTIAL)
        return keep_explanation(transfer, data, length) < 0 ? 0 : length;
    if (!transfer->accepted && accept_content(transfer, status) < 0)
        return 0;
    return keep_content(transfer, data, length) < 0 ? 0 : length;
}

/* --- requests --------------------------------------------------------------------------------- */

static int add_accept(struct transfer *transfer, struct error *err)
{
    const char *const *const lists[] = { media_manifest_types, media_index_types };
    for (size_t i = 0; transfer->request.manifest && i < sizeof lists / sizeof *lists; i++)
        for (const char *const *type = lists[i]; *type; type++) {
            char line[200];
            (void)snprintf(line, sizeof line, "Accept: %s", *type);
            if (http_add_header(&transfer->headers, line, err) < 0)
                return -1;
        }
    return 0;
}

static char *make_url(const struct transfer *transfer)
{
    char *url = NULL;
    const struct remote *remote = transfer->remote;
    const struct endpoint *endpoint = &remote->endpoints[transfer->endpoint];
    const char *hex = transfer->request.hex;
    bool named = transfer->request.manifest && !*hex;
    if (asprintf(&url, "%s://%s/v2/%s/%s/%s%s", http_scheme(endpoint), endpoint->host,
                 remote->repository, transfer->request.manifest ? "manifests" : "blobs",
                 named ? "" : "sha256:", named ? remote->version : hex) < 0)
        return NULL;
    return url;
}

static void set_callbacks(struct transfer *transfer)
{
    char range[32];
    CURL *easy = transfer->easy;
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, receive_header);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, receive_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    if (transfer->request.manifest) /* small: a drip just above the stalling speed ends, too */
        (void)curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long)(4 * transfer->client->stall_seconds));
    if (transfer->received > 0) {
        /* Not CURLOPT_RESUME_FROM: it makes an error of an answer from the start. */
        (void)snprintf(range, sizeof range, "%" PRId64 "-", transfer->received);
        (void)curl_easy_setopt(easy, CURLOPT_RANGE, range);
    }
}

int transfer_repeat(struct transfer *transfer)
{
    struct error *err = &transfer->reason;
    const struct endpoint *endpoint = &transfer->remote->endpoints[transfer->endpoint];
    transfer->begun++;
    /* A tag may have moved meanwhile: the rest would be another manifest's. */
    if (transfer->request.manifest && transfer->received > 0 && transfer_rewind(transfer, err) < 0)
        return -1;
    transfer->accepted = false;
    response_begin(&transfer->response);
    transfer->cause = (struct error){ 0 };
    transfer->renewal = endpoint->renewal;
    curl_slist_free_all(transfer->headers);
    transfer->headers = NULL;
    _cleanup_free_ char *url = make_url(transfer);
    if (!url)
        return error_set(err, EXIT_OURS, "out of memory");
    if (http_prepare(transfer->client, endpoint, url, endpoint->authorization, transfer->easy,
                     &transfer->headers, err) < 0 ||
        add_accept(transfer, err) < 0)
        return -1;
    set_callbacks(transfer);
    return 0;
}

int transfer_begin(struct transfer *transfer)
{
    transfer->easy = curl_easy_init();
    if (!transfer->easy)
        return error_set(&transfer->reason, EXIT_OURS, "out of memory");
    if (transfer_rewind(transfer, &transfer->reason) < 0)
        return -1;
    return transfer_repeat(transfer);
}

void transfer_free(struct transfer *transfer)
{
    (void)sha256_end(&transfer->hash, NULL, NULL);
    curl_easy_cleanup(transfer->easy);
    curl_slist_free_all(transfer->headers);
    cleanup_close(&transfer->fd);
    free(transfer);
}

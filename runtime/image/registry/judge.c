/* What became of a request: content, a challenge, a passing trouble, or the end. */
#include <inttypes.h>
#include <string.h>

#include "runtime/image/document.h"
#include "runtime/image/registry/token.h"
#include "runtime/image/registry/transfer.h"
#include "runtime/image/registry/trouble.h"

enum {
    MAX_FAILURES = 5,     /* in a row, without ... */
    MAX_LOGINS = 2,       /* per host: the first, and one for a token that has expired */
    MAX_REQUESTS = 200,   /* in all, whatever progress there is */
    FIRST_PAUSE = 500,    /* milliseconds; doubled each time */
    MAX_RETRY_AFTER = 60, /* seconds that a registry may ask us to wait */
};
#define PROGRESS_BYTES (1LL << 20) /* ... so much being brought by one of them */

static struct endpoint *endpoint_of(const struct transfer *transfer)
{
    return &transfer->remote->endpoints[transfer->endpoint];
}

static const char *object_of(const struct transfer *transfer, char text[300])
{
    if (!transfer->request.manifest)
        (void)snprintf(text, 300, "blob sha256:%.12s", transfer->request.hex);
    else
        (void)snprintf(text, 300, "%s%s%s", transfer->remote->repository,
                       strchr(transfer->remote->version, ':') ? "@" : ":",
                       transfer->remote->version);
    return text;
}

/* --- what to do about it ---------------------------------------------------------------------- */

static enum transfer_outcome again(struct transfer *transfer, int64_t milliseconds)
{
    transfer->due = transfer_now() + milliseconds;
    return TRANSFER_AGAIN;
}

/* There is no hope with this host: the next one, or the end. */
static enum transfer_outcome give_up(struct transfer *transfer)
{
    char before[sizeof transfer->mirrors];
    if (transfer->endpoint + 1 == transfer->remote->count) {
        if (*transfer->mirrors) {
            size_t used = strlen(transfer->reason.message);
            (void)snprintf(transfer->reason.message + used, sizeof transfer->reason.message - used,
                           " (before that, %s)", transfer->mirrors);
        }
        return TRANSFER_FAILED;
    }
    (void)snprintf(before, sizeof before, "%s", transfer->mirrors);
    (void)snprintf(transfer->mirrors, sizeof transfer->mirrors, "%.200s%s%.300s", before,
                   *before ? "; " : "", transfer->reason.message);
    transfer->endpoint++;
    transfer->failures = transfer->logins = 0;
    return transfer_rewind(transfer, &transfer->reason) < 0 ? TRANSFER_FAILED : again(transfer, 0);
}

/* For what no registry does that works. */
static const char broken[] =
    "the registry, or something on the way to it, is broken: tell who runs it, or use a mirror";

static enum transfer_outcome fail(struct transfer *transfer, const char *cause, const char *remedy)
{
    (void)error_set(&transfer->reason, EXIT_OURS, "%s: %s%s%s", endpoint_of(transfer)->host, cause,
                    *remedy ? "; " : "", remedy);
    return give_up(transfer);
}

/* A trouble that may pass. seconds: as the host asks for; 0: it does not. */
static enum transfer_outcome retry(struct transfer *transfer, const char *cause, int64_t seconds,
                                   const char *remedy)
{
    char text[700];
    if (transfer->received - transfer->mark >= PROGRESS_BYTES) {
        transfer->mark = transfer->received;
        transfer->failures = 0;
    }
    if (++transfer->failures >= MAX_FAILURES || transfer->begun >= MAX_REQUESTS) {
        (void)snprintf(text, sizeof text, "%s, %u times", cause, transfer->failures);
        return fail(transfer, text, remedy);
    }
    if (seconds > MAX_RETRY_AFTER) {
        (void)snprintf(text, sizeof text, "%s and asks to wait %" PRId64 " seconds", cause,
                       seconds);
        return fail(transfer, text, remedy);
    }
    int64_t pause = seconds > 0 ? seconds * 1000 : (int64_t)FIRST_PAUSE << (transfer->failures - 1);
    (void)error_set(&transfer->reason, EXIT_OURS, "%s: %s; trying again in %.1f s",
                    endpoint_of(transfer)->host, cause, (double)pause / 1000);
    return again(transfer, pause);
}

/* --- answers ---------------------------------------------------------------------------------- */

static enum transfer_outcome refuse_digest(struct transfer *transfer, const char *hex,
                                           const char *expected, const char *who)
{
    char text[300];
    (void)snprintf(text, sizeof text, "what it sends has the digest sha256:%s, not sha256:%s as %s",
                   hex, expected, who);
    return fail(transfer, text, broken);
}

static enum transfer_outcome judge_content(struct transfer *transfer)
{
    char hex[STORE_DIGEST_HEX + 1];
    if (transfer->request.size >= 0 && transfer->received < transfer->request.size)
        return retry(transfer, "the connection ended early", 0,
                     "the registry cannot deliver what its manifest promises");
    if (sha256_end(&transfer->hash, hex, &transfer->reason) < 0)
        return TRANSFER_FAILED;
    if (*transfer->request.hex && strcmp(hex, transfer->request.hex) != 0)
        return refuse_digest(transfer, hex, transfer->request.hex, "the manifest or its name says");
    if (*transfer->response.digest && transfer->request.manifest &&
        strcmp(hex, transfer->response.digest) != 0)
        return refuse_digest(transfer, hex, transfer->response.digest, "it says itself");
    memcpy(transfer->request.hex, hex, sizeof hex);
    return TRANSFER_DONE;
}

static enum transfer_outcome refuse_login(struct transfer *transfer, const char *cause)
{
    const struct endpoint *endpoint = endpoint_of(transfer);
    const char *trouble = endpoint->credentials.trouble;
    char remedy[700];
    (void)snprintf(remedy, sizeof remedy, "check the name, or log in with `docker login %s`%s%s",
                   endpoint->name, trouble ? "; " : "", trouble ? trouble : "");
    return fail(transfer, cause, remedy);
}

/* 401. Only of the host itself: where a redirection led to, our secrets are not meant for. */
static enum transfer_outcome log_in(struct transfer *transfer, const char *explanation)
{
    char cause[800];
    struct error err = { 0 };
    struct challenge challenge;
    struct endpoint *endpoint = endpoint_of(transfer);
    long redirections = 0;
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_REDIRECT_COUNT, &redirections);
    if (transfer->renewal != endpoint->renewal) /* another transfer has logged in meanwhile */
        return again(transfer, 0);
    if (redirections > 0 || transfer->logins == MAX_LOGINS ||
        (transfer->logins > 0 && !endpoint->authorization)) {
        const char *user = endpoint->credentials.user;
        (void)snprintf(cause, sizeof cause, "it refuses access%s%s (401 Unauthorized%s)",
                       user ? " to " : "", user ? user : "", explanation);
        return refuse_login(transfer, cause);
    }
    transfer->logins++;
    challenge_parse(transfer->response.challenge, &challenge);
    if (token_obtain(transfer->client, endpoint, &challenge, transfer->remote->repository, "pull",
                     NULL, &err) == 0)
        return again(transfer, 0);
    (void)snprintf(cause, sizeof cause, "%.700s", err.message);
    return refuse_login(transfer, cause);
}

static enum transfer_outcome judge_status(struct transfer *transfer, long status)
{
    enum {
        UNAUTHORIZED = 401,
        FORBIDDEN = 403,
        NOT_FOUND = 404,
        TIMED_OUT = 408,
        BAD_RANGE = 416,
        TOO_MANY = 429,
        SERVER_ERROR = 500,
    };
    char explanation[400];
    char cause[800];
    char object[300];
    curl_off_t seconds = 0;
    http_explain(transfer->response.body, transfer->response.body_length, explanation,
                 sizeof explanation);
    (void)snprintf(cause, sizeof cause, "it answers %ld to a request for %s%s", status,
                   object_of(transfer, object), explanation);
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &seconds);
    if (status == UNAUTHORIZED)
        return log_in(transfer, explanation);
    if (status == NOT_FOUND) {
        (void)snprintf(cause, sizeof cause, "it does not have %s (404 Not Found%s)", object,
                       explanation);
        return fail(transfer, cause,
                    transfer->request.manifest
                        ? "check the name and the tag"
                        : "the registry has lost a part of the image: push it again");
    }
    if (status == FORBIDDEN)
        return refuse_login(transfer, cause);
    if (status == TOO_MANY)
        return retry(transfer, cause, seconds, "try later; logging in may raise the limit");
    if (status == BAD_RANGE && transfer->received > 0)
        return transfer_rewind(transfer, &transfer->reason) < 0 ? TRANSFER_FAILED
                                                                : retry(transfer, cause, 0, "");
    if (status >= SERVER_ERROR || status == TIMED_OUT)
        return retry(transfer, cause, seconds, "the registry has a trouble of its own: try later");
    return fail(transfer, cause, "check the name");
}

/* --- connections ------------------------------------------------------------------------------ */

static enum transfer_outcome fail_redirection(struct transfer *transfer, CURLcode code)
{
    char text[400];
    char printable[200];
    const char *url = NULL;
    long redirections = 0;
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_EFFECTIVE_URL, &url);
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_REDIRECT_COUNT, &redirections);
    if (redirections == 0)
        return fail(transfer, "it does not speak HTTP", "check the name and the port");
    if (code == CURLE_TOO_MANY_REDIRECTS)
        (void)snprintf(text, sizeof text, "it redirects more than %d times", HTTP_MAX_REDIRECTS);
    else
        (void)snprintf(text, sizeof text, "it redirects to %s, where nothing is fetched from",
                       document_printable(url ? url : "?", printable, sizeof printable));
    return fail(transfer, text, broken);
}

static enum transfer_outcome judge_connection(struct transfer *transfer, CURLcode code)
{
    struct trouble trouble;
    switch (code) {
    case CURLE_TOO_MANY_REDIRECTS:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_LOGIN_DENIED: /* a redirection with a user in its URL */
        return fail_redirection(transfer, code);
    case CURLE_OUT_OF_MEMORY:
        return fail(transfer, "out of memory", "");
    default:
        break;
    }
    if (!trouble_explain(transfer->easy, code, &trouble))
        return retry(transfer,
                     code == CURLE_OPERATION_TIMEDOUT ? "it sends nothing or nearly nothing"
                                                      : curl_easy_strerror(code),
                     0, "check the network and the name");
    /* What came already shows that it can be reached. */
    return transfer->received > 0 ? retry(transfer, trouble.cause, 0, trouble.remedy)
                                  : fail(transfer, trouble.cause, trouble.remedy);
}

enum transfer_outcome transfer_judge(struct transfer *transfer, CURLcode code)
{
    long status = 0;
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_UNSUPPORTED_PROTOCOL && status < 100)
        status = 0;
    if (transfer->local) {
        transfer->reason = transfer->cause;
        return TRANSFER_FAILED;
    }
    if (transfer->cause.exit_code != 0)
        return fail(transfer, transfer->cause.message, broken);
    bool silent = code == CURLE_COULDNT_CONNECT || code == CURLE_OPERATION_TIMEDOUT;
    if (!silent && http_learn_scheme(endpoint_of(transfer), status))
        return again(transfer, 0);
    bool complete = code == CURLE_OK || *transfer->cause.message; /* of an error: enough of it */
    if (complete && (status == 200 || status == 206))
        return judge_content(transfer);
    if (complete)
        return judge_status(transfer, status);
    return judge_connection(transfer, code);
}

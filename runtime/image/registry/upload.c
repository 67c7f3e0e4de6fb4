#include "runtime/image/registry/upload.h"

#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/image/document.h"
#include "runtime/image/registry/token.h"
#include "runtime/image/registry/trouble.h"

enum {
    MAX_TRIES = 5,
    MAX_LOGINS = 2,
    MAX_PAUSE = 60,           /* seconds */
    MAX_ANSWER = 1024 * 1024, /* bytes */
    HTTP_OK = 200,
    HTTP_CREATED = 201,
    HTTP_ACCEPTED = 202,
    HTTP_UNAUTHORIZED = 401,
    HTTP_FORBIDDEN = 403,
    HTTP_NOT_FOUND = 404,
    HTTP_TOO_MANY = 429,
    HTTP_SERVER_ERROR = 500,
};

/* One request, as it is tried again and again. */
struct call {
    const char *method;
    const char *url;
    const char *media_type; /* of the body; NULL: there is none */
    int fd;                 /* the body */
    int64_t size, sent;
    struct upload *upload;
};

static size_t receive_header(char *data, size_t size, size_t count, void *context)
{
    struct upload *upload = context;
    return response_take_header(&upload->response, data, size * count, &upload->cause) < 0
               ? 0
               : size * count;
}

/* More than is worth showing is read and dropped, as far as that has an end. */
static size_t receive_body(char *data, size_t size, size_t count, void *context)
{
    struct upload *upload = context;
    upload->answer_bytes += size * count;
    if (upload->answer_bytes > MAX_ANSWER) {
        (void)error_set(&upload->cause, EXIT_OURS, "it answers with more than %d bytes",
                        MAX_ANSWER);
        return 0;
    }
    (void)response_take_body(&upload->response, data, size * count);
    return size * count;
}

static size_t send_body(char *data, size_t size, size_t count, void *context)
{
    struct call *call = context;
    ssize_t length = pread(call->fd, data, size * count, call->sent);
    if (length < 0) {
        (void)error_set_errno(&call->upload->cause, EXIT_OURS, errno, "cannot read the store");
        return CURL_READFUNC_ABORT;
    }
    call->sent += length;
    if (call->upload->progress && call->sent < call->size)
        call->upload->progress(call->upload->context, call->sent);
    return (size_t)length;
}

/* An upload may be sent to another host than the registry; what is secret may not. */
static bool is_own_url(const struct upload *upload, const char *url)
{
    char own[400];
    int length = snprintf(own, sizeof own, "%s://%s/", http_scheme(upload->endpoint),
                          upload->endpoint->host);
    return strncasecmp(url, own, (size_t)length) == 0;
}

static int prepare(struct call *call, struct curl_slist **headers, struct error *err)
{
    struct upload *upload = call->upload;
    CURL *easy = upload->easy;
    const char *secret = is_own_url(upload, call->url) ? upload->endpoint->authorization : NULL;
    char line[200];
    response_begin(&upload->response);
    upload->answer_bytes = 0;
    upload->cause = (struct error){ 0 };
    call->sent = 0;
    if (http_prepare(&upload->client, upload->endpoint, call->url, secret, easy, headers, err) < 0)
        return -1;
    if (call->media_type) {
        (void)snprintf(line, sizeof line, "Content-Type: %s", call->media_type);
        if (http_add_header(headers, line, err) < 0)
            return -1;
        (void)curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_READFUNCTION, send_body);
        (void)curl_easy_setopt(easy, CURLOPT_READDATA, call);
        (void)curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)call->size);
    } else if (strcmp(call->method, "HEAD") == 0) {
        (void)curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else {
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "");
    }
    if (strcmp(call->method, "HEAD") != 0) {
        /* What is sent goes where it was asked to go; a redirection would repeat it elsewhere. */
        (void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
        (void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, call->method);
    }
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, *headers);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, receive_header);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, upload);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, receive_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, upload);
    return 0;
}

static int fail(const struct upload *upload, const char *cause, struct error *err)
{
    return error_set(err, EXIT_OURS, "%s: %s", upload->endpoint->host, cause);
}

/* One try. Returns the status, 0 for a failed connection with *err, or -1 with *err. */
static long try_once(struct call *call, struct error *err)
{
    long status = 0;
    struct curl_slist *headers = NULL;
    struct upload *upload = call->upload;
    CURLcode code = CURLE_OK;
    int prepared = prepare(call, &headers, err);
    if (prepared == 0)
        code = curl_easy_perform(upload->easy);
    curl_slist_free_all(headers);
    if (prepared < 0)
        return -1;
    if (upload->cause.exit_code != 0) {
        (void)fail(upload, upload->cause.message, err);
        return -1;
    }
    (void)curl_easy_getinfo(upload->easy, CURLINFO_RESPONSE_CODE, &status);
    /* A server that has answered need not read the rest. */
    if (code == CURLE_OK || (status >= HTTP_UNAUTHORIZED && code == CURLE_SEND_ERROR))
        return status;
    struct trouble trouble;
    if (trouble_explain(upload->easy, code, &trouble))
        (void)error_set(err, EXIT_OURS, "%s: %s; %s", upload->endpoint->host, trouble.cause,
                        trouble.remedy);
    else
        (void)error_set(err, EXIT_OURS, "%s: the connection failed (%s); check the network",
                        upload->endpoint->host, curl_easy_strerror(code));
    bool hopeless = code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_CONNECT ||
                    code == CURLE_PEER_FAILED_VERIFICATION;
    return hopeless ? -1 : 0;
}

static void pause_before_retry(const struct upload *upload, int failures)
{
    curl_off_t seconds = 0;
    (void)curl_easy_getinfo(upload->easy, CURLINFO_RETRY_AFTER, &seconds);
    if (seconds <= 0)
        seconds = 1LL << (failures - 1);
    http_pause(&upload->client, seconds < MAX_PAUSE ? seconds : MAX_PAUSE);
}

static int log_in(struct upload *upload, struct error *err)
{
    struct error cause = { 0 };
    struct challenge challenge;
    const char *trouble = upload->endpoint->credentials.trouble;
    challenge_parse(upload->response.challenge, &challenge);
    if (token_obtain(&upload->client, upload->endpoint, &challenge, upload->remote->repository,
                     "pull,push", upload->from, &cause) == 0)
        return 0;
    return error_set(err, EXIT_OURS, "%s: %s; log in with `docker login %s`%s%s",
                     upload->endpoint->host, cause.message, upload->endpoint->name,
                     trouble ? "; " : "", trouble ? trouble : "");
}

static bool is_passing(long status)
{
    return status == 0 || status == HTTP_TOO_MANY || status >= HTTP_SERVER_ERROR;
}

/* Tries until there is an answer that will not change. Returns the status, or -1 with *err. */
static long perform(struct call *call, struct error *err)
{
    int logins = 0;
    int failures = 0;
    for (;;) {
        long status = try_once(call, err);
        if (status < 0)
            return -1;
        if (status == HTTP_UNAUTHORIZED && logins++ < MAX_LOGINS) {
            if (log_in(call->upload, err) < 0)
                return -1;
            continue;
        }
        if (!is_passing(status) || ++failures == MAX_TRIES)
            return status == 0 ? -1 : status;
        pause_before_retry(call->upload, failures);
    }
}

static int refuse(const struct upload *upload, const char *what, long status, struct error *err)
{
    char explanation[400];
    http_explain(upload->response.body, upload->response.body_length, explanation,
                 sizeof explanation);
    bool denied = status == HTTP_UNAUTHORIZED || status == HTTP_FORBIDDEN;
    const struct endpoint *endpoint = upload->endpoint;
    return error_set(err, EXIT_OURS, "%s: it answers %ld to %s%s%s%s%s", endpoint->host, status,
                     what, explanation,
                     denied ? "; check the name, or log in with `docker login " : "",
                     denied ? endpoint->name : "", denied ? "`" : "");
}

static char *make_url(const struct upload *upload, const char *kind, const char *name)
{
    char *url = NULL;
    if (asprintf(&url, "%s://%s/v2/%s/%s%s", http_scheme(upload->endpoint), upload->endpoint->host,
                 upload->remote->repository, kind, name) < 0)
        return NULL;
    return url;
}

/* Where to send the blob: the location, which may be relative, with the digest added. */
static char *make_upload_url(const struct upload *upload, const char *base, const char *hex,
                             struct error *err)
{
    char *url = NULL;
    char digest[sizeof "digest=sha256:" + STORE_DIGEST_HEX];
    CURLU *parts = curl_url();
    (void)snprintf(digest, sizeof digest, "digest=sha256:%s", hex);
    bool done = parts && *upload->response.location &&
                curl_url_set(parts, CURLUPART_URL, base, 0) == CURLUE_OK &&
                curl_url_set(parts, CURLUPART_URL, upload->response.location, 0) == CURLUE_OK &&
                curl_url_set(parts, CURLUPART_QUERY, digest, CURLU_APPENDQUERY) == CURLUE_OK &&
                curl_url_get(parts, CURLUPART_URL, &url, 0) == CURLUE_OK;
    curl_url_cleanup(parts);
    if (done)
        return url;
    (void)fail(upload, "it does not say where to send a blob to", err);
    return NULL;
}

/* Is the blob there? 1: yes, 0: no, -1: *err. Also finds out what is spoken on loopback. */
static int find_blob(struct upload *upload, const char *hex, struct error *err)
{
    char name[sizeof "sha256:" + STORE_DIGEST_HEX];
    (void)snprintf(name, sizeof name, "sha256:%s", hex);
    for (;;) {
        struct error cause = { 0 };
        _cleanup_free_ char *url = make_url(upload, "blobs/", name);
        if (!url)
            return error_set(err, EXIT_OURS, "out of memory");
        struct call call = { .method = "HEAD", .url = url, .fd = -1, .upload = upload };
        if (upload->endpoint->scheme == ENDPOINT_EITHER &&
            http_learn_scheme(upload->endpoint, try_once(&call, &cause)))
            continue;
        long status = perform(&call, err);
        if (status < 0)
            return -1;
        if (status == HTTP_OK || status == HTTP_NOT_FOUND)
            return status == HTTP_OK;
        return refuse(upload, "the question for a blob", status, err);
    }
}

/* Begins an upload, or has the registry take the blob from another repository of its own. */
static long begin_upload(struct upload *upload, const char *hex, const char *from, char **url,
                         struct error *err)
{
    char query[600] = "";
    if (from)
        (void)snprintf(query, sizeof query, "?mount=sha256:%s&from=%s", hex, from);
    *url = make_url(upload, "blobs/uploads/", query);
    if (!*url)
        return error_set(err, EXIT_OURS, "out of memory");
    struct call call = { .method = "POST", .url = *url, .fd = -1, .upload = upload };
    upload->from = from;
    long status = perform(&call, err);
    upload->from = NULL;
    return status;
}

static int send_blob(struct upload *upload, const char *hex, int64_t size, int fd, const char *base,
                     struct error *err)
{
    char *url = make_upload_url(upload, base, hex, err);
    if (!url)
        return -1;
    struct call call = { .method = "PUT",
                         .url = url,
                         .media_type = "application/octet-stream",
                         .fd = fd,
                         .size = size,
                         .upload = upload };
    long status = perform(&call, err);
    curl_free(url);
    if (status < 0)
        return -1;
    return status == HTTP_CREATED ? 0 : refuse(upload, "a blob", status, err);
}

int upload_find(struct upload *upload, const char *hex, struct error *err)
{
    return find_blob(upload, hex, err);
}

int upload_blob(struct upload *upload, const char *hex, int64_t size, int fd, const char *from,
                struct error *err)
{
    _cleanup_free_ char *url = NULL;
    struct error refused = { 0 };
    long status = -1;
    int found = find_blob(upload, hex, err);
    if (found != 0)
        return found < 0 ? -1 : UPLOAD_THERE;
    if (from)
        status = begin_upload(upload, hex, from, &url, &refused);
    if (status == HTTP_CREATED)
        return UPLOAD_MOUNTED;
    if (status != HTTP_ACCEPTED) { /* there may be none, or nobody may read it */
        free(take_pointer(&url));
        status = begin_upload(upload, hex, NULL, &url, err);
    }
    if (status < 0)
        return -1;
    if (status != HTTP_ACCEPTED)
        return refuse(upload, "the beginning of an upload", status, err);
    return send_blob(upload, hex, size, fd, url, err) < 0 ? -1 : UPLOAD_SENT;
}

int upload_manifest(struct upload *upload, const char *hex, int64_t size, int fd,
                    const char *media_type, struct error *err)
{
    _cleanup_free_ char *url = make_url(upload, "manifests/", upload->remote->version);
    if (!url)
        return error_set(err, EXIT_OURS, "out of memory");
    struct call call = { .method = "PUT",
                         .url = url,
                         .media_type = media_type,
                         .fd = fd,
                         .size = size,
                         .upload = upload };
    long status = perform(&call, err);
    if (status < 0)
        return -1;
    if (status != HTTP_CREATED)
        return refuse(upload, "the manifest", status, err);
    if (*upload->response.digest && strcmp(upload->response.digest, hex) != 0)
        return fail(upload, "it says that the manifest has another digest than was sent", err);
    return 0;
}

int upload_begin(struct upload *upload, struct remote *remote, struct error *err)
{
    *upload = (struct upload){
        .client = { .owner = -1, .stall_seconds = remote->stall_seconds },
        .remote = remote,
        .endpoint = &remote->endpoints[remote->count - 1],
    };
    if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
        upload->easy = curl_easy_init();
    return upload->easy ? 0 : error_set(err, EXIT_OURS, "libcurl cannot be used");
}

void upload_end(struct upload *upload)
{
    curl_easy_cleanup(upload->easy);
}

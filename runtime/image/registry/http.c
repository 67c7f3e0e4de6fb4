#include "runtime/image/registry/http.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "runtime/image/document.h"

enum { CONNECT_SECONDS = 15, STALL_BYTES_PER_SECOND = 1024, RECEIVE_BUFFER = 128 * 1024 };

void http_pause(const struct http_client *client, int64_t seconds)
{
    struct pollfd owner = { .fd = client->owner, .events = POLLRDHUP };
    /* Not by way of main(): a resolver that waits for a dead server would be waited for. */
    if (poll(&owner, 1, (int)(seconds * 1000)) > 0 &&
        (owner.revents & (POLLHUP | POLLRDHUP | POLLERR)))
        _exit(0);
}

/* Called by libcurl about once a second, also while nothing arrives. */
static int watch_owner(void *context, curl_off_t total, curl_off_t now, curl_off_t upload_total,
                       curl_off_t upload_now)
{
    (void)total;
    (void)now;
    (void)upload_total;
    (void)upload_now;
    http_pause(context, 0);
    return 0;
}

const char *http_scheme(const struct endpoint *endpoint)
{
    return endpoint->scheme == ENDPOINT_HTTPS ? "https" : "http";
}

bool http_learn_scheme(struct endpoint *endpoint, long status)
{
    enum { BAD_REQUEST = 400 }; /* what a TLS server answers, if it answers */
    if (endpoint->scheme != ENDPOINT_EITHER)
        return false;
    bool answered = status > 0 && status != BAD_REQUEST;
    endpoint->scheme = answered ? ENDPOINT_HTTP : ENDPOINT_HTTPS;
    return !answered;
}

int http_add_header(struct curl_slist **headers, const char *line, struct error *err)
{
    struct curl_slist *longer = curl_slist_append(*headers, line);
    if (!longer)
        return error_set(err, EXIT_OURS, "out of memory");
    *headers = longer;
    return 0;
}

static int add_authorization(const char *authorization, struct curl_slist **headers,
                             struct error *err)
{
    char *line = NULL;
    if (!authorization)
        return 0;
    if (asprintf(&line, "Authorization: %s", authorization) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    int result = http_add_header(headers, line, err);
    free(line);
    return result;
}

/* libcurl keeps secrets to the host they were meant for: UNRESTRICTED_AUTH covers this header. */
static CURLcode set_safety(CURL *easy, const struct endpoint *endpoint)
{
    const char *protocols = endpoint->scheme == ENDPOINT_HTTPS ? "https" : "http,https";
    CURLcode code = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, protocols);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_MAXREDIRS, (long)HTTP_MAX_REDIRECTS);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_UNRESTRICTED_AUTH, 0L);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    if (code == CURLE_OK && endpoint->loopback)
        code = curl_easy_setopt(easy, CURLOPT_PROXY, "");
    return code;
}

static CURLcode set_tls(CURL *easy, const struct endpoint *endpoint)
{
    if (!endpoint->verify) {
        CURLcode code = curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        return code == CURLE_OK ? curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L) : code;
    }
    if (!endpoint->ca)
        return CURLE_OK;
    struct curl_blob blob = { endpoint->ca, strlen(endpoint->ca), CURL_BLOB_COPY };
    return curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
}

static CURLcode set_patience(CURL *easy, const struct http_client *client)
{
    CURLcode code = curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)STALL_BYTES_PER_SECOND);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)client->stall_seconds);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, watch_owner);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_XFERINFODATA, client);
    return code;
}

int http_prepare(const struct http_client *client, const struct endpoint *endpoint, const char *url,
                 const char *authorization, CURL *easy, struct curl_slist **headers,
                 struct error *err)
{
    *headers = NULL;
    curl_easy_reset(easy);
    CURLcode code = curl_easy_setopt(easy, CURLOPT_URL, url);
    if (code == CURLE_OK)
        code = set_safety(easy, endpoint);
    if (code == CURLE_OK)
        code = set_tls(easy, endpoint);
    if (code == CURLE_OK)
        code = set_patience(easy, client);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_USERAGENT, "hybrid/" HYBRID_VERSION);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BUFFER);
    if (code != CURLE_OK)
        return error_set(err, EXIT_OURS, "libcurl cannot do what is needed: %s",
                         curl_easy_strerror(code));
    return add_authorization(authorization, headers, err);
}

void http_explain(const char *body, size_t length, char *text, size_t size)
{
    char printable[2][160];
    *text = '\0';
    json_t *document = document_parse(body, length, "", NULL);
    const json_t *first = json_array_get(json_object_get(document, "errors"), 0);
    const char *code = json_string_value(json_object_get(first, "code"));
    const char *message = json_string_value(json_object_get(first, "message"));
    if (code || message)
        (void)snprintf(
            text, size, ": %s%s%s",
            document_printable(code ? code : "", printable[0], sizeof printable[0]),
            code && message ? ": " : "",
            document_printable(message ? message : "", printable[1], sizeof printable[1]));
    json_decref(document);
}

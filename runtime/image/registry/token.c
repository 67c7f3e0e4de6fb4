#include "runtime/image/registry/token.h"

#include <openssl/evp.h>
#include <string.h>

#include "cleanup.h"
#include "runtime/image/document.h"
#include "runtime/image/registry/trouble.h"

enum { MAX_ANSWER = 256 * 1024, MAX_TRIES = 4 };

struct answer {
    char *text;
    size_t length;
};

static size_t collect(char *data, size_t size, size_t count, void *context)
{
    struct answer *answer = context;
    size_t length = size * count;
    if (length > MAX_ANSWER - answer->length)
        return 0; /* libcurl ends the transfer with CURLE_WRITE_ERROR */
    char *longer = realloc(answer->text, answer->length + length + 1);
    if (!longer)
        return 0;
    memcpy(longer + answer->length, data, length);
    answer->text = longer;
    answer->length += length;
    longer[answer->length] = '\0';
    return length;
}

/* "Basic " and base64 of user:password. */
static char *make_basic(const struct credentials *credentials)
{
    static const char scheme[] = "Basic ";
    _cleanup_free_ char *plain = NULL;
    int length = asprintf(&plain, "%s:%s", credentials->user, credentials->password);
    char *text = length < 0 ? NULL : malloc(sizeof scheme + 4 * ((size_t)length + 2) / 3 + 4);
    if (!text)
        return NULL;
    memcpy(text, scheme, sizeof scheme);
    (void)EVP_EncodeBlock((unsigned char *)text + strlen(scheme), (const unsigned char *)plain,
                          length);
    return text;
}

char *token_parse(const char *text, size_t length, struct error *err)
{
    static const char what[] = "the answer of the authorization service";
    const char *token;
    const char *access_token;
    _cleanup_json_ json_t *answer = document_parse(text, length, what, err);
    if (!answer || document_get_string(answer, "token", what, &token, err) < 0 ||
        document_get_string(answer, "access_token", what, &access_token, err) < 0)
        return NULL;
    token = token && *token ? token : access_token;
    if (!token || !*token) {
        (void)error_set(err, EXIT_OURS, "%s holds no token", what);
        return NULL;
    }
    for (const char *at = token; *at; at++) /* it becomes part of a header line */
        if (*at <= ' ' || *at >= 0x7f) {
            (void)error_set(err, EXIT_OURS, "%s: the token holds a character that none may hold",
                            what);
            return NULL;
        }
    char *copy = strdup(token);
    if (!copy)
        (void)error_set(err, EXIT_OURS, "out of memory");
    return copy;
}

/* name=value for a query or a form. */
static int add_field(CURL *easy, char **fields, const char *name, const char *value,
                     struct error *err)
{
    char *longer = NULL;
    char *escaped = curl_easy_escape(easy, value, 0);
    int length = !escaped ? -1
                          : asprintf(&longer, "%s%s%s=%s", *fields ? *fields : "",
                                     *fields ? "&" : "", name, escaped);
    curl_free(escaped);
    if (length < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    free(*fields);
    *fields = longer;
    return 0;
}

/* A form has all in one field (RFC 6749, section 3.3), a query a field for each. */
static int add_scopes(CURL *easy, char **fields, char *scopes, bool form, struct error *err)
{
    char *next = form ? NULL : strchr(scopes, ' ');
    if (next)
        *next++ = '\0';
    if (add_field(easy, fields, "scope", scopes, err) < 0)
        return -1;
    return next ? add_field(easy, fields, "scope", next, err) : 0;
}

static int make_fields(CURL *easy, const struct endpoint *endpoint,
                       const struct challenge *challenge, const char *repository,
                       const char *actions, const char *also, char **fields, struct error *err)
{
    const struct credentials *credentials = &endpoint->credentials;
    _cleanup_free_ char *scope = NULL;
    /* Not the scope it names: what is needed is known, and a lie would ask for more. */
    if (asprintf(&scope, "repository:%s:%s%s%s%s", repository, actions, also ? " repository:" : "",
                 also ? also : "", also ? ":pull" : "") < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    if ((*challenge->service && add_field(easy, fields, "service", challenge->service, err) < 0) ||
        add_scopes(easy, fields, scope, credentials->identity_token != NULL, err) < 0)
        return -1;
    if (!credentials->identity_token)
        return credentials->user ? add_field(easy, fields, "account", credentials->user, err) : 0;
    return add_field(easy, fields, "grant_type", "refresh_token", err) < 0 ||
                   add_field(easy, fields, "client_id", "hybrid", err) < 0 ||
                   add_field(easy, fields, "refresh_token", credentials->identity_token, err) < 0
               ? -1
               : 0;
}

/* The realm must be a URL of the same safety as the registry: a secret goes there. */
static int check_realm(const struct endpoint *endpoint, const char *realm, struct error *err)
{
    char printable[200];
    bool plain = strncmp(realm, "http://", strlen("http://")) == 0;
    bool secure = strncmp(realm, "https://", strlen("https://")) == 0;
    document_printable(realm, printable, sizeof printable);
    if (plain && endpoint->scheme == ENDPOINT_HTTPS)
        return error_set(
            err, EXIT_OURS,
            "it sends to %s for a token: nothing is told to plain HTTP by way of HTTPS", printable);
    return plain || secure ? 0
                           : error_set(err, EXIT_OURS, "it sends to \"%s\" for a token", printable);
}

struct token_request {
    char *url;
    char *form; /* NULL: a GET */
    char *authorization;
};

static int make_request(CURL *easy, const struct endpoint *endpoint,
                        const struct challenge *challenge, const char *repository,
                        const char *actions, const char *also, struct token_request *request,
                        struct error *err)
{
    const struct credentials *credentials = &endpoint->credentials;
    _cleanup_free_ char *fields = NULL;
    if (check_realm(endpoint, challenge->realm, err) < 0 ||
        make_fields(easy, endpoint, challenge, repository, actions, also, &fields, err) < 0)
        return -1;
    if (credentials->identity_token) {
        request->form = take_pointer(&fields);
        request->url = strdup(challenge->realm);
    } else if (asprintf(&request->url, "%s%s%s", challenge->realm,
                        strchr(challenge->realm, '?') ? "&" : "?", fields) < 0) {
        request->url = NULL;
    }
    if (credentials->user && !credentials->identity_token)
        request->authorization = make_basic(credentials);
    return request->url ? 0 : error_set(err, EXIT_OURS, "out of memory");
}

static void free_request(struct token_request *request)
{
    free(request->url);
    free(request->form);
    free(request->authorization);
}

/* One try. Returns the status, 0 for a failed connection with *err, or -1 with *err. */
static long ask(const struct http_client *client, const struct endpoint *endpoint,
                const struct token_request *request, CURL *easy, struct answer *answer,
                struct error *err)
{
    long status = 0;
    struct curl_slist *headers;
    answer->length = 0;
    if (http_prepare(client, endpoint, request->url, request->authorization, easy, &headers, err) <
        0)
        return -1;
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, collect);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, answer);
    (void)curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long)(2 * client->stall_seconds));
    if (request->form) { /* which holds a secret that no redirection may carry on */
        (void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->form);
    }
    CURLcode code = curl_easy_perform(easy);
    curl_slist_free_all(headers);
    if (code != CURLE_OK) {
        char printable[200];
        struct trouble trouble = { .remedy = NULL };
        bool explained = trouble_explain(easy, code, &trouble);
        (void)error_set(err, EXIT_OURS, "its authorization service %s cannot be used: %s%s%s",
                        document_printable(request->url, printable, sizeof printable),
                        explained                   ? trouble.cause
                        : code == CURLE_WRITE_ERROR ? "its answer is too large"
                                                    : curl_easy_strerror(code),
                        explained ? "; " : "", explained ? trouble.remedy : "");
        return code == CURLE_WRITE_ERROR ? -1 : 0;
    }
    (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

static bool is_passing(long status)
{
    return status == 0 || status == 429 || status >= 500;
}

/* As long as the service asks for, within reason; the other transfers wait as well. */
static void pause_before_retry(const struct http_client *client, CURL *easy, int try)
{
    enum { MAX_SECONDS = 30 };
    curl_off_t seconds = 0;
    (void)curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &seconds);
    if (seconds <= 0)
        seconds = 1LL << try;
    http_pause(client, seconds < MAX_SECONDS ? seconds : MAX_SECONDS);
}

static int fetch(const struct http_client *client, struct endpoint *endpoint,
                 const struct token_request *request, CURL *easy, struct answer *answer,
                 struct error *err)
{
    char cause[400];
    char printable[200];
    long status = ask(client, endpoint, request, easy, answer, err);
    for (int try = 0; is_passing(status) && try + 1 < MAX_TRIES; try++) {
        pause_before_retry(client, easy, try);
        status = ask(client, endpoint, request, easy, answer, err);
    }
    if (status <= 0)
        return -1;
    if (status == 200) {
        _cleanup_free_ char *token =
            token_parse(answer->text ? answer->text : "", answer->length, err);
        free(endpoint->authorization);
        endpoint->authorization = NULL;
        if (token && asprintf(&endpoint->authorization, "Bearer %s", token) < 0)
            return error_set(err, EXIT_OURS, "out of memory");
        return token ? 0 : -1;
    }
    http_explain(answer->text ? answer->text : "", answer->length, cause, sizeof cause);
    return error_set(err, EXIT_OURS, "its authorization service %.*s answers %ld%s",
                     (int)strcspn(request->url, "?"),
                     document_printable(request->url, printable, sizeof printable), status, cause);
}

static int obtain_bearer(const struct http_client *client, struct endpoint *endpoint,
                         const struct challenge *challenge, const char *repository,
                         const char *actions, const char *also, struct error *err)
{
    struct token_request request = { 0 };
    struct answer answer = { 0 };
    CURL *easy = curl_easy_init();
    if (!easy)
        return error_set(err, EXIT_OURS, "out of memory");
    int result = make_request(easy, endpoint, challenge, repository, actions, also, &request, err);
    if (result == 0 && request.url)
        result = fetch(client, endpoint, &request, easy, &answer, err);
    free(answer.text);
    free_request(&request);
    curl_easy_cleanup(easy);
    return result;
}

int token_obtain(const struct http_client *client, struct endpoint *endpoint,
                 const struct challenge *challenge, const char *repository, const char *actions,
                 const char *also, struct error *err)
{
    int result = 0;
    if (challenge->scheme == CHALLENGE_BEARER) {
        result = obtain_bearer(client, endpoint, challenge, repository, actions, also, err);
    } else if (challenge->scheme == CHALLENGE_BASIC && endpoint->credentials.user) {
        free(endpoint->authorization);
        endpoint->authorization = make_basic(&endpoint->credentials);
        if (!endpoint->authorization)
            result = error_set(err, EXIT_OURS, "out of memory");
    } else {
        return error_set(err, EXIT_OURS, "%s",
                         challenge->scheme == CHALLENGE_BASIC
                             ? "it asks for a user and a password"
                             : "it asks for an authentication that hybrid does not know");
    }
    endpoint->renewal++;
    return result;
}

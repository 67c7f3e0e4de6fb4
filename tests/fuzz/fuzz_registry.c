/* link: helper image plan */
/* What registries and their authorization services answer, and credential helpers. */
#include "input.h"

#include "runtime/image/document.h"
#include "runtime/image/registry/credentials.h"
#include "runtime/image/registry/response.h"
#include "runtime/image/registry/token.h"

#include <assert.h>
#include <stdlib.h>

static void check_printable(const char *text)
{
    for (; *text; text++)
        assert(*text >= ' ' && *text < 0x7f);
}

/* Lines end as libcurl hands them over: with their newline, and no NUL behind it. */
static void read_headers(const char *text, size_t length, struct response *response)
{
    struct error err = { 0 };
    response_begin(response);
    while (length > 0) {
        const char *end = memchr(text, '\n', length);
        size_t line = end ? (size_t)(end - text) + 1 : length;
        char *copy = malloc(line);
        assert(copy);
        memcpy(copy, text, line);
        int result = response_take_header(response, copy, line, &err);
        free(copy);
        if (result < 0)
            return;
        text += line;
        length -= line;
    }
    assert(strlen(response->challenge) < sizeof response->challenge);
    assert(!*response->digest || digest_is_hex(response->digest));
    assert(!strpbrk(response->location, "\r\n"));
}

static void read_credentials(const char *text, size_t length)
{
    struct error err = { 0 };
    struct credentials credentials = { 0 };
    if (credentials_parse_helper(text, length, &credentials, &err) < 0)
        assert(err.message[0] != '\0');
    credentials_free(&credentials);
    json_t *document = document_parse(text, length, "it", &err);
    credentials = (struct credentials){ 0 };
    if (document && credentials_parse_entry(document, &credentials, &err) < 0)
        assert(err.message[0] != '\0');
    credentials_free(&credentials);
    json_decref(document);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct response *response = malloc(sizeof *response);
    struct challenge challenge;
    struct error err = { 0 };
    char cause[400];
    assert(response);
    read_headers((const char *)data, size, response);
    challenge_parse(response->challenge, &challenge);
    assert(strlen(challenge.realm) < sizeof challenge.realm);
    (void)response_take_body(response, (const char *)data, size);
    http_explain(response->body, response->body_length, cause, sizeof cause);
    check_printable(cause);
    char *token = token_parse((const char *)data, size, &err);
    if (token)
        check_printable(token);
    free(token);
    read_credentials((const char *)data, size);
    free(response);
    return 0;
}

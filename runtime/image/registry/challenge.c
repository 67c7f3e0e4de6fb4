#include "runtime/image/registry/challenge.h"

#include <string.h>
#include <strings.h>

static const char token_characters[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                                       "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

static const char *skip(const char *at, const char *characters)
{
    return at + strspn(at, characters);
}

/* A token into text. Returns what follows it, or NULL if there is none, or it is too long. */
static const char *read_token(const char *at, char text[CHALLENGE_TEXT])
{
    size_t length = strspn(at, token_characters);
    if (length == 0 || length >= CHALLENGE_TEXT)
        return NULL;
    memcpy(text, at, length);
    text[length] = '\0';
    return at + length;
}

/* A quoted string into text, the same way; `at` is behind the opening quote. */
static const char *read_quoted(const char *at, char text[CHALLENGE_TEXT])
{
    size_t used = 0;
    for (; *at && *at != '"'; at++) {
        if (*at == '\\' && at[1])
            at++;
        if (used + 1 >= CHALLENGE_TEXT)
            return NULL;
        text[used++] = *at;
    }
    text[used] = '\0';
    return *at == '"' ? at + 1 : NULL;
}

/* name=value, if that comes next and not another scheme. NULL: neither. */
static const char *read_parameter(const char *at, char name[CHALLENGE_TEXT],
                                  char value[CHALLENGE_TEXT])
{
    at = read_token(at, name);
    if (!at)
        return NULL;
    at = skip(at, " \t");
    if (*at != '=')
        return NULL;
    at = skip(at + 1, " \t");
    return *at == '"' ? read_quoted(at + 1, value) : read_token(at, value);
}

static void keep_parameter(struct challenge *challenge, const char *name, const char *value)
{
    const struct {
        const char *name;
        char *target;
    } known[] = { { "realm", challenge->realm },
                  { "service", challenge->service },
                  { "scope", challenge->scope } };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcasecmp(name, known[i].name) == 0)
            strcpy(known[i].target, value); /* NOLINT: both have CHALLENGE_TEXT bytes */
}

static enum challenge_scheme find_scheme(const char *name)
{
    if (strcasecmp(name, "Bearer") == 0)
        return CHALLENGE_BEARER;
    return strcasecmp(name, "Basic") == 0 ? CHALLENGE_BASIC : CHALLENGE_NONE;
}

/* One scheme and its parameters. Returns what follows, or NULL when the rest is malformed. */
static const char *read_challenge(const char *at, struct challenge *challenge)
{
    char name[CHALLENGE_TEXT];
    char value[CHALLENGE_TEXT];
    *challenge = (struct challenge){ .scheme = CHALLENGE_NONE };
    at = read_token(at, name);
    if (!at)
        return NULL;
    challenge->scheme = find_scheme(name);
    for (;;) {
        at = skip(at, " \t,");
        const char *next = *at ? read_parameter(at, name, value) : NULL;
        if (!next)
            return at;
        keep_parameter(challenge, name, value);
        at = next;
    }
}

void challenge_parse(const char *value, struct challenge *challenge)
{
    *challenge = (struct challenge){ .scheme = CHALLENGE_NONE };
    const char *at = skip(value, " \t,");
    while (*at) {
        struct challenge next;
        const char *rest = read_challenge(at, &next);
        if (!rest || rest == at)
            return;
        if (next.scheme > challenge->scheme && (next.scheme != CHALLENGE_BEARER || *next.realm))
            *challenge = next;
        at = rest;
    }
}

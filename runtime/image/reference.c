/*
 * Image references as Docker reads them (the grammar of github.com/distribution/reference):
 * [domain[:port]/]path[:tag][@digest].
 */
#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "document.h"
#include "index.h"
#include "store.h"

enum { MAX_TAG = 128 };

static bool is_lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_word(char c)
{
    return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z') || c == '_';
}

/* path-component: [a-z0-9]+ (?: (?: \. | _ | __ | -+ ) [a-z0-9]+ )* */
static bool component_is_valid(const char *text, size_t length)
{
    size_t i = 0;
    while (i < length) {
        size_t start = i;
        while (i < length && is_lower_or_digit(text[i]))
            i++;
        if (i == start)
            return false;
        if (i == length)
            return true;
        char separator = text[i];
        size_t count = 0;
        while (i < length && text[i] == separator) {
            i++;
            count++;
        }
        size_t most = separator == '.' ? 1 : separator == '_' ? 2 : separator == '-' ? length : 0;
        if (count > most)
            return false;
    }
    return false; /* empty, or a separator at the end */
}

static bool path_is_valid(const char *path)
{
    for (;;) {
        size_t length = strcspn(path, "/");
        if (!component_is_valid(path, length))
            return false;
        if (!path[length])
            return true;
        path += length + 1;
    }
}

/* domain: dot-separated [a-zA-Z0-9-] labels, with an optional port */
static bool domain_is_valid(const char *text, size_t length)
{
    size_t i = 0;
    size_t label = 0;
    for (; i < length && text[i] != ':'; i++) {
        if (text[i] == '.' ? label == 0 : !(is_word(text[i]) || text[i] == '-') || text[i] == '_')
            return false;
        label = text[i] == '.' ? 0 : label + 1;
    }
    if (label == 0)
        return false;
    if (i == length)
        return true;
    size_t digits = 0;
    for (i++; i < length && text[i] >= '0' && text[i] <= '9'; i++)
        digits++;
    return i == length && digits > 0 && digits <= 5;
}

static bool tag_is_valid(const char *tag)
{
    size_t length = strlen(tag);
    if (length == 0 || length > MAX_TAG || !is_word(tag[0]))
        return false;
    for (size_t i = 1; i < length; i++)
        if (!is_word(tag[i]) && tag[i] != '.' && tag[i] != '-')
            return false;
    return true;
}

/* The first component is a domain if it looks like one; otherwise the whole is a path. */
static size_t domain_length(const char *name)
{
    size_t length = strcspn(name, "/");
    if (!name[length])
        return 0;
    bool marked = memchr(name, '.', length) || memchr(name, ':', length) ||
                  (length == strlen("localhost") && strncmp(name, "localhost", length) == 0);
    for (size_t i = 0; i < length && !marked; i++)
        marked = name[i] >= 'A' && name[i] <= 'Z';
    return marked ? length : 0;
}

static char *invalid(const char *text, const char *reason, struct error *err)
{
    char printable[300];
    error_set(err, EXIT_OURS, "invalid image reference \"%s\": %s",
              document_printable(text, printable, sizeof printable), reason);
    return NULL;
}

/* Cuts ":tag" and "@digest" off name, in place. */
static const char *split_suffixes(char *name, char **tag, char **digest)
{
    *tag = NULL;
    *digest = strchr(name, '@');
    if (*digest)
        *(*digest)++ = '\0';
    char *slash = strrchr(name, '/');
    char *colon = strrchr(slash ? slash : name, ':');
    if (colon) {
        *colon = '\0';
        *tag = colon + 1;
    }
    return name;
}

static const char *find_fault(const char *name, size_t domain, const char *tag, const char *digest)
{
    const char *path = domain > 0 ? name + domain + 1 : name;
    if (!*name)
        return "the name is empty";
    if (domain > 0 && !domain_is_valid(name, domain))
        return "the registry's host name is malformed";
    for (const char *at = path; *at; at++)
        if (*at >= 'A' && *at <= 'Z')
            return "upper-case letters are not allowed in the name; write it in lower case";
    if (!path_is_valid(path))
        return "a name consists of lower-case letters and digits, separated by one of . _ __ - /";
    if (domain == 0 && digest_is_hex(name))
        return "64 hex digits are an image id, not a name";
    if (tag && !tag_is_valid(tag))
        return "a tag consists of up to 128 letters, digits, and _ . - (not first)";
    if (digest && !digest_hex(digest))
        return "a digest is sha256: and 64 lower-case hex digits";
    return NULL;
}

/* Docker's own registry: no domain, or one of its names. */
static bool is_docker(const char *name, size_t domain)
{
    static const char *const names[] = { "docker.io", "index.docker.io", "registry-1.docker.io" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i]) == domain && strncmp(name, names[i], domain) == 0)
            return true;
    return domain == 0;
}

char *reference_normalize(const char *text, struct error *err)
{
    _cleanup_free_ char *copy = strdup(text);
    char *result = NULL;
    if (!copy)
        return invalid(text, "out of memory", err);
    char *tag;
    char *digest;
    const char *name = split_suffixes(copy, &tag, &digest);
    size_t domain = domain_length(name);
    const char *fault = find_fault(name, domain, tag, digest);
    if (fault)
        return invalid(text, fault, err);

    const char *path = domain > 0 ? name + domain + 1 : name;
    bool docker = is_docker(name, domain);
    const char *library = docker && !strchr(path, '/') ? "library/" : "";
    int length = asprintf(&result, "%.*s/%s%s%s%s", docker ? 9 : (int)domain,
                          docker ? "docker.io" : name, library, path, digest ? "@" : ":",
                          digest ? digest
                          : tag  ? tag
                                 : "latest");
    if (length < 0)
        return invalid(text, "out of memory", err);
    if (length > INDEX_MAX_REFERENCE) {
        free(result);
        return invalid(text, "it is longer than 250 bytes", err);
    }
    return result;
}

/* As short as reference_normalize still makes the same of it. */
const char *reference_familiar(const char *reference)
{
    static const char docker[] = "docker.io/";
    static const char library[] = "library/";
    if (strncmp(reference, docker, strlen(docker)) != 0)
        return reference;
    const char *path = reference + strlen(docker);
    const char *name = path + strlen(library);
    if (strncmp(path, library, strlen(library)) == 0 && !strchr(name, '/'))
        /* 64 hex digits alone are an image's id. */
        return strspn(name, "0123456789abcdef") == 64 && strcspn(name, ":@") == 64 ? path : name;
    return domain_length(path) == 0 ? path : reference;
}

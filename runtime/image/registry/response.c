#include "runtime/image/registry/response.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void forget(struct response *response)
{
    response->challenge[0] = '\0';
    response->digest[0] = '\0';
    response->location[0] = '\0';
    response->range_start = -1;
    response->body_length = 0;
}

void response_begin(struct response *response)
{
    forget(response);
    response->header_bytes = 0;
}

/* The value of the header line if it has this name, without surrounding space; else NULL. */
static char *header_value(char *line, const char *name)
{
    size_t length = strlen(name);
    if (strncasecmp(line, name, length) != 0 || line[length] != ':')
        return NULL;
    char *value = line + length + 1;
    value += strspn(value, " \t");
    size_t end = strlen(value);
    while (end > 0 && strchr(" \t\r\n", value[end - 1]))
        value[--end] = '\0';
    for (char *at = value; *at; at++) /* RFC 9110, section 5.5: CR within a value */
        if ((unsigned char)*at < ' ')
            *at = ' ';
    return value;
}

/* "bytes 100-199/200" -> 100 (RFC 9110, section 14.4). -1: it says something else. */
static int64_t read_range_start(const char *value)
{
    static const char unit[] = "bytes ";
    const char *digits = value + sizeof unit - 1;
    if (strncmp(value, unit, sizeof unit - 1) != 0 || *digits < '0' || *digits > '9')
        return -1;
    char *end;
    errno = 0;
    long long start = strtoll(digits, &end, 10);
    return errno || *end != '-' ? -1 : start;
}

static void keep_header(struct response *response, char *line)
{
    char *value;
    if ((value = header_value(line, "WWW-Authenticate"))) {
        size_t used = strlen(response->challenge);
        (void)snprintf(response->challenge + used, sizeof response->challenge - used, "%s%s",
                       used ? ", " : "", value);
    } else if ((value = header_value(line, "Docker-Content-Digest"))) {
        const char *hex = digest_hex(value);
        (void)snprintf(response->digest, sizeof response->digest, "%s", hex ? hex : "");
    } else if ((value = header_value(line, "Location"))) {
        (void)snprintf(response->location, sizeof response->location, "%s", value);
    } else if ((value = header_value(line, "Content-Range"))) {
        response->range_start = read_range_start(value);
    }
}

int response_take_header(struct response *response, const char *data, size_t length,
                         struct error *err)
{
    char line[RESPONSE_MAX_LOCATION];
    response->header_bytes += length;
    if (response->header_bytes > HTTP_MAX_HEADERS)
        return error_set(err, EXIT_OURS, "it sends more than %d bytes of headers",
                         HTTP_MAX_HEADERS);
    (void)snprintf(line, sizeof line, "%.*s", (int)length, data);
    if (strncmp(line, "HTTP/", strlen("HTTP/")) == 0)
        forget(response);
    else
        keep_header(response, line);
    return 0;
}

int response_take_body(struct response *response, const char *data, size_t length)
{
    if (length > sizeof response->body - response->body_length)
        return -1;
    memcpy(response->body + response->body_length, data, length);
    response->body_length += length;
    return 0;
}

#include "log_file.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "io.h"

/* In quotes, with escapes: what JSON and logfmt have in common. malloc'd. */
static char *quote(const char *text)
{
    json_t *string = json_string(text);
    if (!string) /* bytes that are no UTF-8 */
        string = json_string("the message is not valid UTF-8; standard error has it");
    char *quoted = json_dumps(string, JSON_ENCODE_ANY);
    json_decref(string);
    return quoted;
}

void log_file_write(const struct log_file *log, const char *level, const char *message)
{
    if (log->fd < 0)
        return;
    char when[32];
    time_t now = time(NULL);
    struct tm utc;
    if (!gmtime_r(&now, &utc) || strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        return;
    _cleanup_free_ char *quoted = quote(message);
    _cleanup_free_ char *line = NULL;
    if (!quoted || asprintf(&line,
                            log->json ? "{\"level\":\"%s\",\"msg\":%s,\"time\":\"%s\"}\n"
                                      : "level=%s msg=%s time=\"%s\"\n",
                            level, quoted, when) < 0)
        return;
    (void)io_write_all(log->fd, line, strlen(line)); /* one write: lines of others do not mix */
}

#include "listen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What systemd passes by default is bounded too (LimitNOFILE= of a service); as --preserve-fds. */
enum { MAX_LISTEN_FDS = 1024 };

/* The number in a variable; 0: it is not set, -1: it is no number from 1 on. */
static long read_variable(const char *name)
{
    const char *text = getenv(name);
    if (!text)
        return 0;
    char *end = NULL;
    errno = 0;
    long number = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && number > 0 ? number : -1;
}

int listen_fds_count(int *count, struct error *err)
{
    *count = 0;
    if (read_variable("LISTEN_PID") != getpid())
        return 0;
    long number = read_variable("LISTEN_FDS");
    if (number < 0 || number > MAX_LISTEN_FDS)
        return error_set(err, EXIT_OURS,
                         "the environment's LISTEN_FDS, %.64s, is no number of descriptors from 1 "
                         "to %d; unset it, or LISTEN_PID",
                         getenv("LISTEN_FDS"), MAX_LISTEN_FDS);
    *count = (int)number;
    return 0;
}

/* Whether the entry of the environment sets the variable. */
static bool is_of(const json_t *entry, const char *name)
{
    const char *text = json_string_value(entry);
    size_t length = strlen(name);
    return text && strncmp(text, name, length) == 0 && text[length] == '=';
}

int listen_fds_announce(json_t *process, int count, struct error *err)
{
    json_t *given = json_object_get(process, "env"), *entry;
    json_t *env = json_array();
    size_t index;
    int result = 0;
    if (!json_is_object(process) || (given && !json_is_array(given))) { /* the parser says so */
        json_decref(env);
        return 0;
    }
    json_array_foreach(given, index, entry)
    {
        if (!is_of(entry, "LISTEN_FDS") && !is_of(entry, "LISTEN_PID"))
            result |= json_array_append(env, entry);
    }
    result |= json_array_append_new(env, json_sprintf("LISTEN_FDS=%d", count));
    result |= json_array_append_new(env, json_string("LISTEN_PID=1"));
    return (result | json_object_set_new(process, "env", env)) == 0
               ? 0
               : error_set(err, EXIT_OURS, "out of memory");
}

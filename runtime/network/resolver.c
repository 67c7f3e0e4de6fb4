/* Name servers of a namespace. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "network.h"

enum { MAX_RESOLVER = 16 * 1024 };

static const char NAMED_NAMESPACES[] = "/run/netns/";
static const char OLD_NAMED_NAMESPACES[] = "/var/run/netns/";

/* NAME of /run/netns/NAME, or NULL. */
static const char *name_of(const char *path)
{
    static const char *const places[] = { NAMED_NAMESPACES, OLD_NAMED_NAMESPACES };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        size_t length = strlen(places[i]);
        const char *name = path + length;
        if (strncmp(path, places[i], length) == 0 && *name && !strchr(name, '/') && *name != '.')
            return name;
    }
    return NULL;
}

/* Whether the line names a server that only the host itself can reach. */
static bool is_hosts_own(const char *line)
{
    static const char WORD[] = "nameserver";
    line += strspn(line, " \t");
    if (strncmp(line, WORD, sizeof WORD - 1) != 0)
        return false;
    line += sizeof WORD - 1;
    line += strspn(line, " \t");
    return strncmp(line, "127.", 4) == 0 || strncmp(line, "::1", 3) == 0;
}

/* The file without those lines, at most MAX_RESOLVER bytes of it. Returns whether it was there. */
static bool copy_file(const char *path, bool all, FILE *out)
{
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    _cleanup_free_ char *line = NULL;
    size_t room = 0, copied = 0;
    ssize_t length;
    if (!file)
        return false;
    while ((length = getline(&line, &room, file)) > 0 &&
           (copied += (size_t)length) <= MAX_RESOLVER) {
        if (all || !is_hosts_own(line))
            (void)fwrite(line, 1, (size_t)length, out);
    }
    return true;
}

char *network_read_resolver(const char *path, struct error *err)
{
    char *text = NULL, own[4096];
    size_t length = 0;
    const char *name = name_of(path);
    FILE *out = open_memstream(&text, &length);
    if (out) {
        (void)snprintf(own, sizeof own, "/etc/netns/%s/resolv.conf", name ? name : "");
        if (!name || !copy_file(own, true, out))
            (void)copy_file("/etc/resolv.conf", false, out);
        if (fclose(out) == 0)
            return text;
    }
    free(text);
    (void)error_set(err, EXIT_OURS, "out of memory");
    return NULL;
}

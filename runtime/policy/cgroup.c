/* Where the caller lives, in the words of proc(5). */
#include <string.h>

#include "policy.h"

/* The path in "5:cpu,cpuacct:/user.slice"; NULL: no such line. */
static const char *path_of(char *line)
{
    char *controllers = strchr(line, ':');
    char *path = controllers ? strchr(controllers + 1, ':') : NULL;
    return path ? path + 1 : NULL;
}

void policy_cgroup_parse(const char *text, char *cgroup, size_t size)
{
    char line[4200];
    bool chosen = false;
    (void)snprintf(cgroup, size, "/");
    while (*text) {
        size_t length = strcspn(text, "\n");
        (void)snprintf(line, sizeof line, "%.*s", (int)(length < 4199 ? length : 4199), text);
        text += length + (text[length] ? 1 : 0);
        const char *path = path_of(line);
        if (!path || strcmp(path, "/") == 0)
            continue;
        bool v2 = strncmp(line, "0::", 3) == 0;
        if (v2 || !chosen)
            (void)snprintf(cgroup, size, "%s", path);
        chosen = true;
        if (v2)
            return;
    }
}

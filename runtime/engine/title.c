#include "title.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "cleanup.h"

/* Where the kernel reads the command line: fields 48 and 49 of /proc/PID/stat (proc(5)). */
static int find_arguments(uintptr_t *begin, uintptr_t *end)
{
    char line[1024];
    enum { AFTER_NAME = 45 }; /* fields between the name and the first of these */
    _cleanup_fclose_ FILE *file = fopen("/proc/self/stat", "re");
    const char *at = file && fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    for (int i = 0; at && i <= AFTER_NAME; i++)
        at = strchr(at + 1, ' ');
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers */
    return at && sscanf(at, " %" SCNuPTR " %" SCNuPTR, begin, end) == 2 && *begin > 0 &&
                   *begin < *end
               ? 0
               : -1;
}

void title_set(const char *name, const char *operand)
{
    uintptr_t begin, end;
    (void)prctl(PR_SET_NAME, name);
    if (find_arguments(&begin, &end) < 0)
        return;
    char *arguments = (char *)begin; /* NOLINT(performance-no-int-to-ptr): the kernel's numbers */
    size_t size = end - begin, length = strnlen(name, size - 1);
    memset(arguments, 0, size);
    memcpy(arguments, name, length);
    if (length + 1 < size)
        (void)snprintf(arguments + length + 1, size - length - 1, "%s", operand);
}

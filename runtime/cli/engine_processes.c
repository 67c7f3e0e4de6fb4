/* hybrid ps ID: the processes of one container, by their numbers on the host. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "engine.h"
#include "io.h"
#include "runtime/cgroup/cgroup.h"

enum { COMMAND_SIZE = 256 };

/* The command line, or its name in brackets as ps(1) has it. */
static void read_command(pid_t pid, char text[COMMAND_SIZE])
{
    char path[32];
    (void)snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    _cleanup_close_ int line = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = line < 0 ? -1 : io_read_all(line, text, COMMAND_SIZE - 1);
    while (length > 0 && text[length - 1] == '\0')
        length--;
    for (ssize_t i = 0; i < length; i++)
        if (text[i] == '\0')
            text[i] = ' ';
    text[length > 0 ? length : 0] = '\0';
}

static int list_processes(const struct state *state, pid_t **pids, size_t *count, struct error *err)
{
    *pids = NULL;
    *count = 0;
    if (state->status == STATE_STOPPED)
        return error_set(err, EXIT_OURS, "%s: container not running", state->id);
    if (state->cgroup && *state->cgroup) {
        struct cgroup *cgroup = cgroup_open(state->cgroup, err);
        int result = cgroup ? cgroup_list_processes(cgroup, pids, count, err) : -1;
        cgroup_close(cgroup);
        return result;
    }
    return error_set(err, EXIT_OURS, "%s has no cgroup by which its processes are known",
                     state->id);
}

static void fill_row(const void *things, size_t number, char **cells)
{
    const pid_t *pids = things;
    char command[COMMAND_SIZE];
    read_command(pids[number], command);
    if (asprintf(&cells[0], "%d", (int)pids[number]) < 0)
        cells[0] = NULL;
    cells[1] = strdup(command);
}

static json_t *describe(const void *things, size_t number)
{
    return json_integer(((const pid_t *)things)[number]);
}

int engine_print_processes(const struct cli *cli, const struct state *state, const char *format,
                           struct error *err)
{
    _cleanup_free_ pid_t *pids = NULL;
    size_t count;
    if (strcmp(state->isolation, "container") != 0)
        return error_set(err, EXIT_OURS,
                         "%s is a VM: its processes are its own kernel's; hybrid exec %s ps lists "
                         "them",
                         state->id, state->id);
    if (list_processes(state, &pids, &count, err) < 0)
        return -1;
    static const char *const heading[] = { "PID", "COMMAND" };
    const struct cli_listing listing = {
        .things = pids,
        .count = count,
        .heading = heading,
        .columns = sizeof heading / sizeof *heading,
        .fill_row = fill_row,
        .describe = describe,
    };
    return cli_print_listing(cli->out, &listing, format, false, err);
}

/* hybrid logs: what a workload wrote. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>

#include "cleanup.h"
#include "runtime/launch/workload.h"
#include "runtime/monitor/control.h"
#include "runtime/monitor/log.h"
#include "verbs.h"

struct settings {
    const char *tail;
    bool follow, timestamps;
};

static const struct settings defaults = { .tail = "all" };

static const struct cli_option options[] = {
    { .name = "follow",
      .letter = 'f',
      .kind = CLI_FLAG,
      .help = "Go on until the workload ends",
      .offset = offsetof(struct settings, follow) },
    { .name = "tail",
      .letter = 'n',
      .kind = CLI_TEXT,
      .argument = "LINES",
      .help = "Begin with the last lines only (default: all)",
      .offset = offsetof(struct settings, tail) },
    { .name = "timestamps",
      .letter = 't',
      .kind = CLI_FLAG,
      .help = "Put the time before each line",
      .offset = offsetof(struct settings, timestamps) },
    { .name = "since",
      .kind = CLI_REFUSED,
      .help = "not supported yet; --timestamps and a filter do it" },
    { .name = "until",
      .kind = CLI_REFUSED,
      .help = "not supported yet; --timestamps and a filter do it" },
    { 0 },
};

static int parse_tail(const char *text, int64_t *tail, struct error *err)
{
    *tail = -1;
    if (strcmp(text, "all") == 0)
        return 0;
    char *end;
    errno = 0;
    long long lines = strtoll(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno == ERANGE)
        return error_set(err, EXIT_OURS, "--tail: \"%.80s\" is neither a number of lines nor all",
                         text);
    *tail = lines;
    return 0;
}

/* Is the output still wanted? A reader that has gone ends --follow. */
static bool is_wanted(const struct log_view *view)
{
    return fflush(view->out) == 0 && fflush(view->error) == 0;
}

/* Waits for changes of the log until the monitor is gone; what came last is printed then too. */
static int follow(const struct cli *cli, const char *name, const char *data_dir,
                  const struct log_view *view, struct log_reader *reader, struct error *err)
{
    _cleanup_close_ int changes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (changes < 0 ||
        inotify_add_watch(changes, data_dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot watch %s", data_dir);
    struct error ignored;
    _cleanup_close_ int monitor = workload_connect(&cli->runtime, name, &ignored);
    bool running = monitor >= 0 && control_send_simple(monitor, CONTROL_WAIT, 0) == 0;
    do {
        struct pollfd fds[] = { { .fd = changes, .events = POLLIN },
                                { .fd = monitor, .events = POLLIN },
                                { .fd = fileno(view->out), .events = 0 } };
        if (log_follow(view, reader, err) < 0)
            return -1;
        if (!is_wanted(view))
            return 0;
        if (!running)
            break;
        if (poll(fds, 3, -1) < 0 && errno != EINTR)
            return error_set_errno(err, EXIT_OURS, errno, "cannot wait for the log");
        char events[4096];
        while (read(changes, events, sizeof events) > 0)
            ;
        running = !fds[1].revents && !(fds[2].revents & POLLERR);
    } while (true);
    return 0;
}

static int run_logs(const struct cli *cli, const void *settings, char **operands, size_t count,
                    struct error *err)
{
    (void)count;
    const struct settings *chosen = settings;
    struct log_view view = { .timestamps = chosen->timestamps, .out = cli->out, .error = stderr };
    _cleanup_state_ struct state state = { 0 };
    struct paths paths = { 0 };
    struct log_reader reader = { 0 };
    if (parse_tail(chosen->tail, &view.tail, err) < 0 ||
        workload_read(&cli->runtime, operands[0], &state, err) < 0)
        return -1;
    int result = paths_make(&cli->runtime, state.id, &paths, err);
    if (result == 0)
        result = log_print(paths.data_dir, &view, &reader, err);
    if (result == 0 && is_wanted(&view) && chosen->follow)
        result = follow(cli, state.id, paths.data_dir, &view, &reader, err);
    log_reader_close(&reader);
    paths_free(&paths);
    return result;
}

const struct verb verb_logs = {
    .name = "logs",
    .group = CLI_GROUP_WORKLOADS,
    .synopsis = "[OPTIONS] NAME",
    .summary = "Print what a workload wrote, standard output and standard error apart",
    .description =
        "Byte for byte as it was written. The log is a file of at most 64 MiB, " LOG_NAME
        " in the directory of\nthe workload below --data, and the one before it, " LOG_OLD_NAME
        "; what is older is dropped. A run with\n--rm in the foreground keeps none.",
    .examples = "  hybrid logs -f web\n"
                "  hybrid logs --tail 20 -t web 2>/dev/null",
    .options = options,
    .settings_size = sizeof(struct settings),
    .defaults = &defaults,
    .min_operands = 1,
    .max_operands = 1,
    .run = run_logs,
};

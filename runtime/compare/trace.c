#include "trace.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "directory.h"

static int write_file(const struct trace *trace, const char *name, const char *text)
{
    _cleanup_close_ int fd = openat(trace->instance, name, O_WRONLY | O_CLOEXEC);
    return fd < 0 || write(fd, text, strlen(text)) < 0 ? -1 : 0;
}

static void trace_switch(const struct trace *trace, const char *on)
{
    (void)write_file(trace, "tracing_on", on);
}

/* A mount that no directory shows: gone with its descriptor. */
static int open_tracefs(struct error *err)
{
    _cleanup_close_ int context = (int)syscall(SYS_fsopen, "tracefs", FSOPEN_CLOEXEC);
    if (context < 0 || syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return error_set_errno(err, 0, errno, "tracefs cannot be had here");
    int mount = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
    if (mount < 0)
        return error_set_errno(err, 0, errno, "tracefs cannot be mounted");
    return mount;
}

#define INSTANCE_PREFIX "hybrid-compare-"

/* What a run that was killed has left: an instance whose process is gone. */
static void remove_stale_instances(int instances)
{
    _cleanup_closedir_ DIR *directory = directory_open(instances, ".");
    for (const struct dirent *entry; directory && (entry = directory_next(directory));) {
        if (strncmp(entry->d_name, INSTANCE_PREFIX, strlen(INSTANCE_PREFIX)) != 0)
            continue;
        pid_t pid = (pid_t)strtol(entry->d_name + strlen(INSTANCE_PREFIX), NULL, 10);
        if (pid > 0 && kill(pid, 0) < 0 && errno == ESRCH)
            (void)unlinkat(instances, entry->d_name, AT_REMOVEDIR);
    }
}

static int make_instance(struct trace *trace, struct error *err)
{
    _cleanup_close_ int mount = open_tracefs(err);
    if (mount < 0)
        return -1;
    trace->instances = openat(mount, "instances", O_PATH | O_DIRECTORY | O_CLOEXEC);
    (void)snprintf(trace->name, sizeof trace->name, INSTANCE_PREFIX "%d", (int)getpid());
    remove_stale_instances(trace->instances);
    if (trace->instances < 0 || mkdirat(trace->instances, trace->name, 0700) < 0)
        return error_set_errno(err, 0, errno, "cannot make an instance of tracefs");
    trace->instance = openat(trace->instances, trace->name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (trace->instance < 0)
        return error_set_errno(err, 0, errno, "cannot open an instance of tracefs");
    return 0;
}

/* Kernels differ in what of the function tracer they let root have: the rest is measured without.
 */
static void set_up_functions(struct trace *trace, const char *name, const char *text)
{
    if (trace->no_functions != 0 || write_file(trace, name, text) == 0)
        return;
    trace->no_functions = errno;
    trace->refused = name;
}

/* The kernel tracks the children of a process only for who asks before they are there. */
static int follow(struct trace *trace, pid_t pid, struct error *err)
{
    enum { ALL_KIB = 64 << 10, MOST_KIB = 16 << 10, LEAST_KIB = 1 << 10 };
    char number[16], size[16];
    long each = ALL_KIB / sysconf(_SC_NPROCESSORS_CONF); /* every processor has a buffer */
    each = each > MOST_KIB ? MOST_KIB : each < LEAST_KIB ? LEAST_KIB : each;
    (void)snprintf(number, sizeof number, "%d", (int)pid);
    (void)snprintf(size, sizeof size, "%ld", each);
    trace_switch(trace, "0");
    (void)write_file(trace, "buffer_size_kb", size);
    if (write_file(trace, "options/event-fork", "1") < 0 ||
        write_file(trace, "set_event_pid", number) < 0 ||
        write_file(trace, "events/raw_syscalls/sys_enter/enable", "1") < 0)
        return error_set_errno(err, 0, errno, "cannot trace system calls");
    trace->exits = write_file(trace, "events/kvm/kvm_exit/enable", "1") == 0;
    /* The tracer itself comes last, in trace_start: it slows the whole kernel down. */
    set_up_functions(trace, "options/function-fork", "1");
    set_up_functions(trace, "set_ftrace_pid", number);
    return 0;
}

int trace_open(struct trace *trace, pid_t pid, struct error *err)
{
    *trace = (struct trace){ .instance = -1, .instances = -1 };
    if (make_instance(trace, err) == 0 && follow(trace, pid, err) == 0)
        return 0;
    trace_close(trace);
    return -1;
}

void trace_start(struct trace *trace)
{
    set_up_functions(trace, "current_tracer", "function");
    trace_switch(trace, "1");
}

void trace_stop(const struct trace *trace)
{
    trace_switch(trace, "0"); /* a change of the tracer would empty the buffer */
}

static void count_up(json_t *counts, const char *name)
{
    const json_t *old = json_object_get(counts, name);
    (void)json_object_set_new(counts, name, json_integer(json_integer_value(old) + 1));
}

/* The word after `prefix`, ended there; NULL: none. */
static char *word_after(char *text, const char *prefix)
{
    char *at = strstr(text, prefix);
    if (!at)
        return NULL;
    at += strlen(prefix);
    at[strcspn(at, " \t\n(")] = '\0';
    return *at ? at : NULL;
}

/* "  comm-123     [000] d..1.  12.345678: rest": the name may hold anything but " [". */
static char *split_line(char *line, pid_t *pid)
{
    char *processor = strstr(line, " [");
    if (line[0] == '#' || !processor)
        return NULL;
    char *digits = processor;
    while (digits > line && digits[-1] == ' ')
        digits--;
    while (digits > line && isdigit((unsigned char)digits[-1]))
        digits--;
    *pid = (pid_t)strtol(digits, NULL, 10);
    char *rest = strstr(processor, ": ");
    return rest ? rest + 2 : NULL;
}

static bool is_ours(pid_t pid, const pid_t *ours, size_t count)
{
    bool found = count == 0;
    for (size_t i = 0; i < count; i++)
        found = found || ours[i] == pid;
    return found;
}

void trace_read_line(char *line, const pid_t *ours, size_t count, struct trace_counts *counts)
{
    pid_t pid = 0;
    char *rest = split_line(line, &pid), *word;
    if (!rest)
        return;
    if (strncmp(rest, "sys_enter: ", strlen("sys_enter: ")) == 0) {
        word = word_after(rest, "NR ");
        if (word)
            count_up(counts->calls, word);
        if (word && is_ours(pid, ours, count))
            count_up(counts->our_calls, word);
    } else if (strncmp(rest, "kvm_exit: ", strlen("kvm_exit: ")) == 0) {
        word = word_after(rest, "reason ");
        if (word)
            count_up(counts->exits, word);
    } else if (strstr(rest, " <-")) {
        rest[strcspn(rest, " ")] = '\0';
        count_up(counts->functions, rest);
    }
}

int trace_counts_make(struct trace_counts *counts)
{
    *counts = (struct trace_counts){ .calls = json_object(),
                                     .our_calls = json_object(),
                                     .functions = json_object(),
                                     .exits = json_object() };
    if (counts->calls && counts->our_calls && counts->functions && counts->exits)
        return 0;
    trace_counts_free(counts);
    return -1;
}

void trace_counts_free(struct trace_counts *counts)
{
    json_decref(counts->calls);
    json_decref(counts->our_calls);
    json_decref(counts->functions);
    json_decref(counts->exits);
    *counts = (struct trace_counts){ 0 };
}

static FILE *open_text(const struct trace *trace, const char *name)
{
    int fd = openat(trace->instance, name, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? NULL : fdopen(fd, "re");
}

/* "overrun: N" of each processor. */
static long long count_lost(const struct trace *trace)
{
    long long lost = 0, overrun;
    for (long cpu = 0; cpu < sysconf(_SC_NPROCESSORS_CONF); cpu++) {
        char name[64], line[256];
        (void)snprintf(name, sizeof name, "per_cpu/cpu%ld/stats", cpu);
        _cleanup_fclose_ FILE *file = open_text(trace, name);
        while (file && fgets(line, sizeof line, file))
            /* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers */
            if (sscanf(line, "overrun: %lld", &overrun) == 1)
                lost += overrun;
    }
    return lost;
}

int trace_read(const struct trace *trace, const pid_t *ours, size_t count,
               struct trace_counts *counts, struct error *err)
{
    _cleanup_free_ char *line = NULL;
    size_t room = 0;
    if (trace_counts_make(counts) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    _cleanup_fclose_ FILE *file = open_text(trace, "trace");
    if (!file) {
        trace_counts_free(counts);
        return error_set_errno(err, 0, errno, "cannot read the trace");
    }
    while (getline(&line, &room, file) >= 0)
        trace_read_line(line, ours, count, counts);
    counts->lost = count_lost(trace);
    return 0;
}

void trace_close(struct trace *trace)
{
    if (trace->instance >= 0) {
        /* An instance whose tracer still runs cannot be removed. */
        (void)write_file(trace, "current_tracer", "nop");
        (void)write_file(trace, "events/enable", "0");
    }
    cleanup_close(&trace->instance);
    if (trace->instances >= 0)
        (void)unlinkat(trace->instances, trace->name, AT_REMOVEDIR);
    cleanup_close(&trace->instances);
    *trace = (struct trace){ .instance = -1, .instances = -1 };
}

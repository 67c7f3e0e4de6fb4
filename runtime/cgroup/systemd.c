/* Scopes as systemd makes, changes and forgets them: by systemd-run and systemctl (scope.h). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "hierarchy.h"
#include "runtime/program/program.h"
#include "scope.h"

enum {
    ANSWER_SECONDS = 100, /* systemd itself gives up a job after 90 */
    NOT_LOADED = 5,       /* systemctl's exit status for a unit that there is none of */
};

static const char *const environment[] = {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin",
    "LC_ALL=C", "SYSTEMD_COLORS=0", NULL
};

bool cgroup_scope_host_has_systemd(void)
{
    return access("/run/systemd/system", F_OK) == 0;
}

static const char *find_tool(const char *const *places, struct error *err)
{
    for (size_t i = 0; places[i]; i++)
        if (access(places[i], X_OK) == 0)
            return places[i];
    (void)error_set(err, EXIT_OURS,
                    "%s is not there, by which systemd is asked for cgroups; install it (in Debian "
                    "package systemd), or let the engine use cgroupfs",
                    places[0]);
    return NULL;
}

static const char *const systemctl_places[] = { "/usr/bin/systemctl", "/bin/systemctl",
                                                "/run/current-system/sw/bin/systemctl", NULL };
static const char *const systemd_run_places[] = { "/usr/bin/systemd-run", "/bin/systemd-run",
                                                  "/run/current-system/sw/bin/systemd-run", NULL };

static bool has_tools(struct error *err)
{
    return find_tool(systemd_run_places, err) && find_tool(systemctl_places, err);
}

bool cgroup_scope_has_tools(void)
{
    struct error missing;
    return has_tools(&missing);
}

int cgroup_scope_check_host(struct error *err)
{
    if (cgroup_scope_host_has_systemd())
        return has_tools(err) ? 0 : -1;
    (void)error_set(err, EXIT_OURS,
                    "systemd is to make the cgroup (--systemd-cgroup), but it does not run here: "
                    "there is no /run/systemd/system; let the engine use cgroupfs (podman "
                    "--cgroup-manager=cgroupfs; dockerd --exec-opt native.cgroupdriver=cgroupfs; "
                    "containerd SystemdCgroup = false)");
    return error_see_doctor(err, "cgroup");
}

static int systemctl(struct scope_words *words, int *exit_status, struct error *err)
{
    const struct program program = { .what = "systemd's",
                                     .path = find_tool(systemctl_places, err),
                                     .argv = (const char *const *)words->words,
                                     .env = environment,
                                     .timeout = ANSWER_SECONDS };
    if (words->failed)
        return error_set(err, EXIT_OURS, "out of memory");
    return program.path ? program_run(&program, "", exit_status, err) : -1;
}

/* One verb on one unit. */
static int call_systemctl(const char *verb, const char *unit, int *exit_status, struct error *err)
{
    struct scope_words words = { 0 };
    scope_words_add(&words, "systemctl");
    scope_words_add(&words, "--quiet");
    scope_words_add(&words, "%s", verb);
    scope_words_add(&words, "--");
    scope_words_add(&words, "%s", unit);
    int result = systemctl(&words, exit_status, err);
    scope_words_free(&words);
    return result;
}

static bool host_is_v1(void)
{
    char options[CGROUP_OPTIONS_SIZE];
    bool found = false;
    int root;
    for (size_t n = 0; !found && (root = hierarchy_open_v1(n, options)) != -2; n++) {
        found = root >= 0 && hierarchy_has(options, "memory");
        cleanup_close(&root);
    }
    return found;
}

/*
 * Delegate: what is below is ours, and systemd gives it every controller. Without its default
 * dependencies, it is not stopped before what made it. TasksMax: systemd's own default is a share
 * of the machine's processes; here nothing is limited that no limit was given for. What the
 * configuration's properties say comes after that, and before its limits.
 */
static void add_properties(struct scope_words *words, const struct cgroup_scope *scope,
                           const struct plan_resources *resources)
{
    static const char *const always[] = {
        "Delegate=yes",         "DefaultDependencies=no", "TasksMax=infinity", "CPUAccounting=yes",
        "MemoryAccounting=yes", "TasksAccounting=yes",    "IOAccounting=yes",
    };
    struct scope_words properties = { 0 };
    bool v1 = host_is_v1();
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        scope_words_add(&properties, "%s", always[i]);
    for (char **property = scope->properties; property && *property; property++)
        scope_words_add(&properties, "%s", *property);
    scope_words_add_limits(&properties, resources, v1);
    if (v1)
        scope_words_add_devices(&properties, resources);
    for (size_t i = 0; i < properties.count; i++)
        scope_words_add(words, "--property=%s", properties.words[i]);
    words->failed = words->failed || properties.failed;
    scope_words_free(&properties);
}

/*
 * The command line that makes the scope and stays in it: systemd-run waits until it is in there,
 * and then becomes cat. --collect: a scope that failed is forgotten like one that ended.
 */
static void make_command(struct scope_words *words, const struct cgroup_scope *scope,
                         const struct plan_resources *resources)
{
    scope_words_add(words, "systemd-run");
    scope_words_add(words, "--scope");
    scope_words_add(words, "--quiet");
    scope_words_add(words, "--collect");
    scope_words_add(words, "--unit=%s", scope->unit);
    scope_words_add(words, "--slice=%s", scope->slice);
    scope_words_add(words, "--description=%s", scope->description);
    add_properties(words, scope, resources);
    scope_words_add(words, "--");
    scope_words_add(words, "cat");
}

void scope_leave(struct cgroup *cgroup)
{
    cleanup_close(&cgroup->seat_fd);
    cgroup->seat_fd = -1;
    if (cgroup->seat_pid <= 0)
        return;
    (void)kill(cgroup->seat_pid, SIGKILL);
    while (waitpid(cgroup->seat_pid, NULL, 0) < 0 && errno == EINTR)
        ;
    cgroup->seat_pid = 0;
}

/* Whether the process is in the scope's cgroup, by what the kernel says (proc(5)). */
static int check_place(const struct cgroup *cgroup, struct error *err)
{
    char path[64], line[PATH_MAX + 64], last[PATH_MAX + 64] = "";
    (void)snprintf(path, sizeof path, "/proc/%d/cgroup", (int)cgroup->seat_pid);
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        const char *colon = strchr(line, ':');
        colon = colon ? strchr(colon + 1, ':') : NULL;
        if (colon && colon[1] == '/' && strcmp(colon + 2, cgroup->name) == 0)
            return 0;
        if (colon && (strncmp(line, "0::", 3) == 0 || strstr(line, ":name=systemd:")))
            (void)snprintf(last, sizeof last, "%s", colon + 1);
    }
    return error_set(err, EXIT_OURS,
                     "systemd has made the scope in the cgroup %.200s, not in /%.200s: it and "
                     "hybrid see different roots of /sys/fs/cgroup; let the engine use cgroupfs",
                     last, cgroup->name);
}

/* Waits until cat, which is systemd-run first, gives back what it was given. */
static int await_seat(struct cgroup *cgroup, const struct program *program, int answers, int output,
                      struct error *err)
{
    struct pollfd answer = { .fd = answers, .events = POLLIN };
    struct error ignored;
    char byte = 0;
    int ready, status = 0;
    do
        ready = write(cgroup->seat_fd, "x", 1) == 1 ? poll(&answer, 1, ANSWER_SECONDS * 1000) : 1;
    while (ready < 0 && errno == EINTR);
    if (ready > 0 && read(answers, &byte, 1) == 1 && byte == 'x') {
        if (check_place(cgroup, err) == 0)
            return 0;
        scope_leave(cgroup);
        (void)scope_stop(scope_unit_of(cgroup->name), &ignored);
        return -1;
    }
    if (ready == 0)
        return error_set(err, EXIT_OURS, "systemd has not made the scope within %d seconds",
                         ANSWER_SECONDS);
    while (waitpid(cgroup->seat_pid, &status, 0) < 0 && errno == EINTR)
        ;
    cgroup->seat_pid = 0;
    return program_explain(program, status, output, err);
}

static int seat(struct cgroup *cgroup, const struct program *program, struct error *err)
{
    int in[2], out[2];
    _cleanup_close_ int output = program_memory_file("", err);
    if (output < 0)
        return -1;
    if (pipe2(in, O_CLOEXEC) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pipe");
    _cleanup_close_ int theirs = in[0];
    cgroup->seat_fd = in[1];
    if (pipe2(out, O_CLOEXEC) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pipe");
    _cleanup_close_ int answers = out[0];
    cgroup->seat_pid = program_start(program, (const int[]){ theirs, out[1], output }, true, err);
    (void)close(out[1]);
    cleanup_close(&theirs);
    theirs = -1;
    int result = cgroup->seat_pid < 0 ? -1 : await_seat(cgroup, program, answers, output, err);
    if (result < 0)
        scope_leave(cgroup);
    return result;
}

/* A unit that has failed and was not forgotten keeps its name from others. */
static bool forget_failed(const char *unit)
{
    struct error ignored;
    return call_systemctl("is-failed", unit, NULL, &ignored) == 0 &&
           call_systemctl("reset-failed", unit, NULL, &ignored) == 0;
}

static int explain(const struct cgroup_scope *scope, const struct error *why, struct error *err)
{
    bool taken = strstr(why->message, "already loaded") || strstr(why->message, "already exists");
    int length = (int)strlen(why->message); /* systemd ends its sentences */
    length -= length > 0 && why->message[length - 1] == '.';
    return error_set(err, EXIT_OURS, "cannot have systemd make %s in %s: %.*s%s", scope->unit,
                     scope->slice, length, why->message,
                     taken ? "; another container has that unit: choose another name in "
                             "linux.cgroupsPath"
                           : "");
}

int scope_start(struct cgroup *cgroup, const struct cgroup_scope *scope,
                const struct plan_resources *resources, struct error *err)
{
    struct scope_words words = { 0 };
    struct error why = { 0 };
    make_command(&words, scope, resources);
    const struct program program = { .what = "systemd's",
                                     .path = find_tool(systemd_run_places, err),
                                     .argv = (const char *const *)words.words,
                                     .env = environment };
    int result = -1;
    if (words.failed)
        (void)error_set(err, EXIT_OURS, "out of memory");
    else if (program.path) {
        result = seat(cgroup, &program, &why);
        if (result < 0 && forget_failed(scope->unit))
            result = seat(cgroup, &program, &why);
        if (result < 0)
            (void)explain(scope, &why, err);
    }
    scope_words_free(&words);
    return result;
}

int scope_set_limits(const char *unit, const struct plan_resources *resources, struct error *err)
{
    struct scope_words words = { 0 }, limits = { 0 };
    scope_words_add_limits(&limits, resources, host_is_v1());
    scope_words_add(&words, "systemctl");
    scope_words_add(&words, "--runtime");
    scope_words_add(&words, "set-property");
    scope_words_add(&words, "--");
    scope_words_add(&words, "%s", unit);
    for (size_t i = 0; i < limits.count; i++)
        scope_words_add(&words, "%s", limits.words[i]);
    words.failed = words.failed || limits.failed;
    int result = limits.count == 0 && !words.failed ? 0 : systemctl(&words, NULL, err);
    scope_words_free(&words);
    scope_words_free(&limits);
    return result;
}

/* The slice that systemd says the unit is in. Returns 0, or -1: there is no such unit. */
static int ask_slice(const char *unit, char text[SCOPE_UNIT_SIZE])
{
    const char *const argv[] = { "systemctl", "show", "--property=Slice", "--value", "--",
                                 unit,        NULL };
    const struct program program = { .what = "systemd's",
                                     .path = find_tool(systemctl_places, NULL),
                                     .argv = argv,
                                     .env = environment,
                                     .timeout = ANSWER_SECONDS };
    struct error ignored;
    _cleanup_close_ int output = program.path ? program_memory_file("", &ignored) : -1;
    const int streams[3] = { output, output, output };
    pid_t pid = output < 0 ? -1 : program_start(&program, streams, false, &ignored);
    if (pid < 0 || program_await(&program, pid, &ignored) != 0)
        return -1;
    ssize_t length = pread(output, text, SCOPE_UNIT_SIZE, 0);
    if (length < 2 || text[length - 1] != '\n') /* without such a unit: an empty line */
        return -1;
    text[length - 1] = '\0';
    return 0;
}

bool scope_is_at(const char *path)
{
    char slice[SCOPE_UNIT_SIZE];
    const char *unit = scope_unit_of(path);
    return scope_is_unit_name(unit, ".scope") && cgroup_scope_host_has_systemd() &&
           ask_slice(unit, slice) == 0 && scope_path_is(path, slice);
}

int scope_stop(const char *unit, struct error *err)
{
    int exit_status = -1;
    if (call_systemctl("stop", unit, &exit_status, err) == 0 || exit_status == NOT_LOADED) {
        (void)forget_failed(unit);
        return 0;
    }
    return -1;
}

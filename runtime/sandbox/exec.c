/* The last step: find the command and execute it. */
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "context.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const char *environment_get(const char *const *environment, const char *name)
{
    size_t length = strlen(name);
    for (; environment && *environment; environment++)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

/* The plan's environment, and HOME where it has none. The caller frees the array and *home. */
static const char **make_environment(const struct sandbox *sandbox, const struct plan_exec *exec,
                                     char **home)
{
    static const char *const empty[] = { NULL };
    const char *const *given = exec->env ? exec->env : empty;
    size_t count = 0;
    while (given[count])
        count++;
    const char **environment = calloc(count + 2, sizeof *environment);
    if (!environment)
        return NULL;
    memcpy(environment, given, count * sizeof *environment);
    const char *value = sandbox->identity.home;
    if (value && !environment_get(given, "HOME") && asprintf(home, "HOME=%s", value) >= 0)
        environment[count] = *home;
    return environment;
}

/* The errors that mean "look further" on the way along PATH, as in execvp(3). */
static bool is_absent(int cause)
{
    return cause == ENOENT || cause == ENOTDIR || cause == ENAMETOOLONG || cause == ESTALE;
}

/* Tries each directory of PATH. Returns the errno to report: EACCES where one was refused. */
static int search_and_execute(const char *search, const char *const *argv,
                              const char *const *environment)
{
    char candidate[PATH_MAX];
    bool refused = false;
    for (const char *at = search;; at++) {
        size_t length = strcspn(at, ":");
        int n = snprintf(candidate, sizeof candidate, "%.*s%s%s", (int)length, at,
                         length ? "/" : "", argv[0]);
        if (n > 0 && (size_t)n < sizeof candidate) {
            (void)execve(candidate, (char *const *)argv, (char *const *)environment);
            if (errno == EACCES)
                refused = true;
            else if (!is_absent(errno))
                return errno;
        }
        at += length;
        if (*at == '\0')
            return refused ? EACCES : ENOENT;
    }
}

static int explain(const char *command, const char *search, int cause, struct error *err)
{
    bool by_path = strchr(command, '/') != NULL;
    if (is_absent(cause) && !by_path)
        return error_set(err, EXIT_NOT_FOUND, "cannot execute \"%s\": not found in PATH (%s)",
                         command, search);
    if (is_absent(cause))
        return error_set_errno(err, EXIT_NOT_FOUND, cause,
                               "cannot execute \"%s\" (or the interpreter or loader it names)",
                               command);
    const char *hint = cause == ENOEXEC  ? " (another architecture, or a script without #! line?)"
                       : cause == EACCES ? " (is it a file with permission to execute?)"
                                         : "";
    return error_set(err, EXIT_NOT_EXECUTABLE, "cannot execute \"%s\": %s%s", command,
                     cause == ENOEXEC ? "exec format error" : strerror(cause), hint);
}

/* Only execve(2) is called here where a filter might be loaded already. */
int command_execute(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    const struct plan_exec *exec = &step->exec;
    if (!exec->argv || !exec->argv[0])
        return error_set(err, EXIT_OURS, "the plan has no command");
    _cleanup_free_ char *home = NULL;
    _cleanup_free_ const char **environment = make_environment(sandbox, exec, &home);
    if (!environment)
        return error_set(err, EXIT_OURS, "out of memory");
    const char *command = exec->argv[0];
    const char *search = environment_get(exec->env, "PATH");
    if (!search)
        search = DEFAULT_PATH;
    if (sandbox->plan->init && init_start(sandbox, err) < 0)
        return -1;
    int cause = ENOENT;
    if (strchr(command, '/')) {
        (void)execve(command, (char *const *)exec->argv, (char *const *)environment);
        cause = errno;
    } else if (*command) {
        cause = search_and_execute(search, exec->argv, environment);
    }
    return explain(command, search, cause, err);
}

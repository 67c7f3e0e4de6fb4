/* The last step: find the command and execute it. */
#include <fcntl.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "context.h"

static const char *environment_get(const char *const *environment, const char *name)
{
    size_t length = strlen(name);
    for (; environment && *environment; environment++)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

const char **exec_environment(const struct sandbox *sandbox, const struct plan_exec *exec,
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

/* What is done with a file that may be the command: on success either ends the search, by not
 * returning or by returning 0; -1 with errno. */
typedef int use_file(const char *path, const char *const *argv, const char *const *environment);

static int execute_file(const char *path, const char *const *argv, const char *const *environment)
{
    return execve(path, (char *const *)argv, (char *const *)environment);
}

static int check_file(const char *path, const char *const *argv, const char *const *environment)
{
    (void)argv, (void)environment;
    struct stat status;
    if (stat(path, &status) < 0 || faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0)
        return -1;
    if (S_ISREG(status.st_mode))
        return 0;
    errno = EACCES;
    return -1;
}

/* Tries each directory of PATH. Returns the errno to report: EACCES where one was refused. */
static int search_and_use(const char *search, use_file *use, const char *const *argv,
                          const char *const *environment)
{
    char candidate[PATH_MAX];
    bool refused = false;
    for (const char *at = search;; at++) {
        size_t length = strcspn(at, ":");
        int n = snprintf(candidate, sizeof candidate, "%.*s%s%s", (int)length, at,
                         length ? "/" : "", argv[0]);
        if (n > 0 && (size_t)n < sizeof candidate) {
            if (use(candidate, argv, environment) == 0)
                return 0;
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

/* Engines tell 126 from 127 by these words, as Go writes them. */
static const char *text_of(int cause)
{
    return cause == EACCES    ? "permission denied"
           : cause == ENOENT  ? "no such file or directory"
           : cause == ENOEXEC ? "exec format error"
                              : strerror(cause);
}

static int explain(const char *command, const char *search, int cause, struct error *err)
{
    bool by_path = strchr(command, '/') != NULL;
    if (is_absent(cause) && !by_path)
        return error_set(err, EXIT_NOT_FOUND,
                         "cannot execute \"%s\": executable file not found in PATH (%s)", command,
                         search);
    if (is_absent(cause))
        return error_set(err, EXIT_NOT_FOUND,
                         "cannot execute \"%s\" (or the interpreter or loader it names): %s",
                         command, text_of(cause));
    const char *hint = cause == ENOEXEC  ? " (another architecture, or a script without #! line?)"
                       : cause == EACCES ? " (is it a file with permission to execute?)"
                                         : "";
    return error_set(err, EXIT_NOT_EXECUTABLE, "cannot execute \"%s\": %s%s", command,
                     text_of(cause), hint);
}

static const char *search_path(const struct plan_exec *exec)
{
    const char *search = environment_get(exec->env, "PATH");
    return search ? search : DEFAULT_PATH;
}

/* Returns 0, or the errno to report. */
static int find_and_use(const struct plan_exec *exec, use_file *use, const char *const *environment)
{
    const char *command = exec->argv[0];
    if (strchr(command, '/'))
        return use(command, exec->argv, environment) == 0 ? 0 : errno;
    return *command ? search_and_use(search_path(exec), use, exec->argv, environment) : ENOENT;
}

int command_check(struct sandbox *sandbox, struct error *err)
{
    return sandbox_check_command(sandbox->plan, err);
}

int sandbox_check_command(const struct plan *plan, struct error *err)
{
    const struct plan_step *last = plan->step_count ? &plan->steps[plan->step_count - 1] : NULL;
    if (!last || last->kind != PLAN_EXEC || !last->exec.argv || !last->exec.argv[0])
        return 0; /* told when it is to be executed */
    int cause = find_and_use(&last->exec, check_file, NULL);
    return cause == 0 ? 0 : explain(last->exec.argv[0], search_path(&last->exec), cause, err);
}

/* Only execve(2) is called here where a filter might be loaded already. */
int command_execute(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    const struct plan_exec *exec = &step->exec;
    if (!exec->argv || !exec->argv[0])
        return error_set(err, EXIT_OURS, "the plan has no command");
    _cleanup_free_ char *home = NULL;
    _cleanup_free_ const char **environment = exec_environment(sandbox, exec, &home);
    if (!environment)
        return error_set(err, EXIT_OURS, "out of memory");
    if (sandbox->plan->init && init_start(sandbox, err) < 0)
        return -1;
    int cause = find_and_use(exec, execute_file, environment);
    return explain(exec->argv[0], search_path(exec), cause, err);
}

#include "runtime/image/registry/credential_helper.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/image/document.h"

enum { MAX_ANSWER = 64 * 1024 };

static bool name_is_valid(const char *name)
{
    return *name && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "0123456789-_.") == strlen(name);
}

__attribute__((noreturn)) static void exec_helper(const char *program, int input_fd, int output_fd)
{
    (void)signal(SIGPIPE, SIG_DFL);
    if (dup2(input_fd, STDIN_FILENO) >= 0 && dup2(output_fd, STDOUT_FILENO) >= 0)
        (void)execlp(program, program, "get", (char *)NULL);
    _exit(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

/* Starts the helper. Returns its pid, with the ends of its pipes, or -1 with *err. */
static pid_t start(const char *program, int *to_helper, int *from_helper, struct error *err)
{
    int input[2];
    int output[2];
    if (pipe2(input, O_CLOEXEC) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pipe");
    _cleanup_close_ int input_reader = input[0];
    _cleanup_close_ int input_writer = input[1];
    if (pipe2(output, O_CLOEXEC) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pipe");
    _cleanup_close_ int output_reader = output[0];
    _cleanup_close_ int output_writer = output[1];
    pid_t child = fork();
    if (child < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot fork");
    if (child == 0)
        exec_helper(program, input_reader, output_writer);
    *to_helper = take_fd(&input_writer);
    *from_helper = take_fd(&output_reader);
    return child;
}

/* What it says on standard output, whether it succeeds or not. Returns its wait status, or -1. */
static int converse(const char *program, const char *key, char *answer, ssize_t *length,
                    struct error *err)
{
    int to_helper = -1;
    int from_helper = -1;
    int status;
    pid_t child = start(program, &to_helper, &from_helper, err);
    if (child < 0)
        return -1;
    (void)io_write_all(to_helper, key, strlen(key)); /* one that does not read it says so below */
    (void)close(to_helper);
    *length = io_read_all(from_helper, answer, MAX_ANSWER);
    (void)close(from_helper);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return error_set_errno(err, EXIT_OURS, errno, "cannot wait for it");
    answer[*length > 0 ? *length : 0] = '\0';
    return status;
}

int credential_helper_get(const char *name, const char *key, struct credentials *credentials,
                          struct error *err)
{
    char program[100];
    char printable[300];
    ssize_t length;
    if (!name_is_valid(name) ||
        snprintf(program, sizeof program, "docker-credential-%s", name) >= (int)sizeof program)
        return error_set(err, EXIT_OURS, "this is not the name of a credential helper");
    _cleanup_free_ char *answer = malloc(MAX_ANSWER + 1);
    if (!answer)
        return error_set(err, EXIT_OURS, "out of memory");
    int status = converse(program, key, answer, &length, err);
    if (status < 0)
        return -1;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return credentials_parse_helper(answer, length > 0 ? (size_t)length : 0, credentials, err);
    if (strstr(answer, "credentials not found"))
        return 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NOT_FOUND)
        return error_set(err, EXIT_OURS, "it is not installed");
    answer[strcspn(answer, "\n")] = '\0';
    return error_set(err, EXIT_OURS, "it failed: %s",
                     document_printable(answer, printable, sizeof printable));
}

/*
 * Starts a virtiofsd as the VM back end does, with its code, and tells how that ended:
 *
 *     serve PLACE SHARE...
 *
 * PLACE: an empty directory; SHARE: directories and files, "ro:" before those that are read-only.
 * Its standard input is a socket, by which it sends the connection to the virtiofsd. Prints "pid N"
 * when it runs and "exit N" or "signal N" at its end. The virtiofsd dies with this one.
 */
#include "io.h"
#include "runtime/vm/shares.h"

#include <stdlib.h>
#include <sys/wait.h>

enum { MOST_SHARES = 8 };

int main(int argument_count, char **arguments)
{
    struct share entries[MOST_SHARES] = { { 0 } };
    struct shares shares = { .entries = entries };
    struct share_server server;
    struct error err;
    int connection;
    if (argument_count < 3 || argument_count > 2 + MOST_SHARES)
        return 2;
    for (int i = 2; i < argument_count; i++) {
        bool read_only = strncmp(arguments[i], "ro:", 3) == 0;
        entries[shares.count++] =
            (struct share){ .path = arguments[i] + (read_only ? 3 : 0), .read_only = read_only };
    }
    if (share_server_start(&server, &shares, arguments[1], NULL, &connection, &err) < 0) {
        (void)fprintf(stderr, "%s\n", err.message);
        return err.exit_code;
    }
    (void)printf("pid %d\n", (int)server.process.pid);
    (void)fflush(stdout);
    if (io_send_fds(STDIN_FILENO, "", 1, &connection, 1) < 0)
        return 1;
    (void)close(connection);
    int status = spawn_wait(&server.process);
    if (WIFEXITED(status))
        (void)printf("exit %d\n", WEXITSTATUS(status));
    else
        (void)printf("signal %d\n", WTERMSIG(status));
    return 0;
}

/*
 * The terminal: a pty of the workload's own devpts. Its slave is opened through the master
 * (TIOCGPTPEER), never by a name in /dev/pts that the image could have exchanged (CVE-2025-52565).
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "context.h"
#include "path.h"

/* The multiplexer of the devpts mounted on /dev/pts: looked up within that file system, nowhere
 * else. */
static int open_master(int root_fd, struct error *err)
{
    _cleanup_close_ int devpts = path_open_real(root_fd, "/dev/pts", O_PATH | O_DIRECTORY);
    struct statfs status;
    if (devpts < 0 || fstatfs(devpts, &status) < 0)
        return sandbox_fail(err, "cannot open /dev/pts for a terminal");
    if (status.f_type != DEVPTS_SUPER_MAGIC)
        return error_set(err, EXIT_OURS,
                         "cannot make a terminal: /dev/pts is not a mounted devpts");
    int master = path_open_beneath(devpts, "ptmx", O_RDWR | O_NOCTTY);
    return master < 0 ? sandbox_fail(err, "cannot open a new terminal in /dev/pts") : master;
}

/* Opens a new pty: terminal_fd and terminal_peer_fd. */
int terminal_make(struct sandbox *sandbox, struct error *err)
{
    if (sandbox->terminal_fd >= 0)
        return 0;
    const struct sandbox_request *request = sandbox->request;
    _cleanup_close_ int master = open_master(sandbox->root_fd, err);
    if (master < 0)
        return -1;
    int unlock = 0;
    if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
        return sandbox_fail(err, "cannot unlock a new terminal");
    struct winsize size = {
        .ws_row = request->rows ? request->rows : sandbox->plan->terminal_rows,
        .ws_col = request->columns ? request->columns : sandbox->plan->terminal_columns,
    };
    if ((size.ws_row || size.ws_col) && ioctl(master, TIOCSWINSZ, &size) < 0)
        return sandbox_fail(err, "cannot set the size of the terminal");
    sandbox->terminal_peer_fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (sandbox->terminal_peer_fd < 0)
        return sandbox_fail(err, "cannot open the workload's side of a new terminal");
    sandbox->terminal_fd = take_fd(&master);
    return 0;
}

/* PLAN_CONSOLE: the terminal, shown at /dev/console too. */
int console_make(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    (void)step;
    if (terminal_make(sandbox, err) < 0)
        return -1;
    _cleanup_close_ int bind = open_tree(sandbox->terminal_peer_fd, "",
                                         OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (bind < 0)
        return sandbox_fail(err, "cannot bind the terminal");
    _cleanup_close_ int target = path_make_file(sandbox->root_fd, "/dev/console", err);
    if (target < 0)
        return -1;
    if (path_attach(bind, target) < 0)
        return sandbox_fail(err, "cannot bind the terminal to /dev/console");
    return 0;
}

/* Makes the terminal the controlling one of this session, and stdin, stdout and stderr. */
int terminal_take(struct sandbox *sandbox, struct error *err)
{
    if (ioctl(sandbox->terminal_peer_fd, TIOCSCTTY, 0) < 0)
        return sandbox_fail(err, "cannot take the terminal");
    for (int fd = 0; fd < 3; fd++)
        if (dup2(sandbox->terminal_peer_fd, fd) < 0)
            return sandbox_fail(err, "cannot use the terminal as descriptor %d", fd);
    return 0;
}

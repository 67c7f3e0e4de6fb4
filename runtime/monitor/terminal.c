#include "terminal.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

int terminal_open(struct terminal *terminal, int fd, struct error *err)
{
    *terminal = (struct terminal){ .fd = fd };
    if (tcgetattr(fd, &terminal->saved) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read the modes of the terminal");
    return 0;
}

static void set_modes(const struct terminal *terminal, const struct termios *modes)
{
    /* Interrupted by a stop and continue in the background: try again. */
    while (tcsetattr(terminal->fd, TCSANOW, modes) < 0 && errno == EINTR)
        ;
}

void terminal_make_raw(struct terminal *terminal)
{
    if (terminal->fd < 0 || terminal->raw)
        return;
    struct termios modes = terminal->saved;
    cfmakeraw(&modes);
    set_modes(terminal, &modes);
    terminal->raw = true;
}

void terminal_restore(struct terminal *terminal)
{
    if (!terminal->raw)
        return;
    set_modes(terminal, &terminal->saved);
    terminal->raw = false;
}

void terminal_size(uint16_t *rows, uint16_t *columns)
{
    *rows = *columns = 0;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        struct winsize size;
        if (ioctl(fd, TIOCGWINSZ, &size) < 0)
            continue;
        *rows = size.ws_row;
        *columns = size.ws_col;
        return;
    }
}

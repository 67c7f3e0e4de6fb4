#include "log.h"

#include "cleanup.h"

#include <fcntl.h>
#include <stdarg.h>

void log_error(const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    /* Opened anew each time: errors are rare, and before /dev is mounted there is none. */
    _cleanup_close_ int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        (void)dprintf(fd, "<3>hybrid-init: %s\n", text);
    else
        (void)dprintf(STDERR_FILENO, "hybrid-init: %s\n", text);
}

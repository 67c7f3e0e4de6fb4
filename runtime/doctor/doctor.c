/* What the checks share. */
#include "doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void finding_set(struct finding *finding, enum finding_status status, const char *remedy,
                 const char *format, ...)
{
    va_list arguments;
    finding->status = status;
    (void)snprintf(finding->remedy, sizeof finding->remedy, "%s", remedy ? remedy : "");
    va_start(arguments, format);
    (void)vsnprintf(finding->text, sizeof finding->text, format, arguments);
    va_end(arguments);
}

const char *doctor_plain(struct error *err)
{
    char *pointer = strstr(err->message, "; `hybrid doctor` (row ");
    if (pointer)
        *pointer = '\0';
    return err->message;
}

bool doctor_has_program(const char *name)
{
    static const char *const directories[] = { "/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                               "/usr/bin",        "/sbin",          "/bin" };
    char path[256];
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", directories[i], name);
        if (access(path, X_OK) == 0)
            return true;
    }
    return false;
}

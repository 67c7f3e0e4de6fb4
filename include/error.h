/* The one error type: made where the cause is known, carried up, printed once by main(). */
#ifndef HYBRID_ERROR_H
#define HYBRID_ERROR_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Exit codes of our own, as docker(1), podman(1) and env(1) use them. */
enum {
    EXIT_OURS = 125,           /* hybrid itself failed */
    EXIT_NOT_EXECUTABLE = 126, /* the command was found but cannot be executed */
    EXIT_NOT_FOUND = 127,      /* the command does not exist */
    EXIT_SIGNAL_BASE = 128,    /* plus the signal that ended the command */
};

/*
 * A failure with its exit code. The message names the object, the cause and, where there is one,
 * the remedy: "cannot open /dev/kvm: Permission denied; add the user to group kvm".
 * It has no trailing newline and no program name.
 */
struct error {
    int exit_code; /* 0: no error */
    char message[2048];
};

/* For the two below. */
__attribute__((format(printf, 3, 0))) static inline void
error_set_list(struct error *err, int exit_code, const char *format, va_list arguments)
{
    err->exit_code = exit_code;
    (void)vsnprintf(err->message, sizeof err->message, format, arguments);
}

/* Fills *err and returns -1, so that callers write `return error_set(err, EXIT_OURS, "...")`. */
__attribute__((format(printf, 3, 4))) static inline int error_set(struct error *err, int exit_code,
                                                                  const char *format, ...)
{
    if (!err)
        return -1;
    va_list arguments;
    va_start(arguments, format);
    error_set_list(err, exit_code, format, arguments);
    va_end(arguments);
    return -1;
}

/* As error_set, with ": " and the text of errnum appended, and the remedy where it is always the
 * same. errnum: an errno value, positive. */
__attribute__((format(printf, 4, 5))) static inline int
error_set_errno(struct error *err, int exit_code, int errnum, const char *format, ...)
{
    if (!err)
        return -1;
    va_list arguments;
    va_start(arguments, format);
    error_set_list(err, exit_code, format, arguments);
    va_end(arguments);
    size_t used = strlen(err->message);
    (void)snprintf(err->message + used, sizeof err->message - used, ": %s%s", strerror(errnum),
                   errnum == EMFILE ? "; raise the limit with ulimit -n" : "");
    return -1;
}

/* Appends where the cause is told whole, if it is the machine's: a row of `hybrid doctor`. Returns
 * -1. */
static inline int error_see_doctor(struct error *err, const char *row)
{
    if (!err)
        return -1;
    size_t used = strlen(err->message);
    (void)snprintf(err->message + used, sizeof err->message - used,
                   "; `hybrid doctor` (row %s) tells what works here", row);
    return -1;
}

/* The same for what was written to the image store, where the errno value says that its place is at
 * fault. */
static inline int error_see_store(struct error *err, int cause)
{
    bool of_place = cause == ENOSPC || cause == EDQUOT || cause == EROFS || cause == EIO;
    return of_place ? error_see_doctor(err, "store") : -1;
}

#endif

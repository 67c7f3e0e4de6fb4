#include <ctype.h>
#include <signal.h>
#include <strings.h>

#include "compose.h"

static const struct {
    const char *name;
    int number;
} signals[] = {
    { "HUP", SIGHUP },       { "INT", SIGINT },     { "QUIT", SIGQUIT }, { "ILL", SIGILL },
    { "TRAP", SIGTRAP },     { "ABRT", SIGABRT },   { "IOT", SIGIOT },   { "BUS", SIGBUS },
    { "FPE", SIGFPE },       { "KILL", SIGKILL },   { "USR1", SIGUSR1 }, { "SEGV", SIGSEGV },
    { "USR2", SIGUSR2 },     { "PIPE", SIGPIPE },   { "ALRM", SIGALRM }, { "TERM", SIGTERM },
    { "STKFLT", SIGSTKFLT }, { "CHLD", SIGCHLD },   { "CLD", SIGCHLD },  { "CONT", SIGCONT },
    { "STOP", SIGSTOP },     { "TSTP", SIGTSTP },   { "TTIN", SIGTTIN }, { "TTOU", SIGTTOU },
    { "URG", SIGURG },       { "XCPU", SIGXCPU },   { "XFSZ", SIGXFSZ }, { "VTALRM", SIGVTALRM },
    { "PROF", SIGPROF },     { "WINCH", SIGWINCH }, { "IO", SIGIO },     { "POLL", SIGPOLL },
    { "PWR", SIGPWR },       { "SYS", SIGSYS },
};

enum {
    SIGNAL_COUNT = sizeof signals / sizeof *signals,
    /* The C library's SIGRTMIN: the kernel's is 32, glibc keeps the first two for itself. */
    REALTIME_MIN = 34,
    REALTIME_MAX = 64,
};

/* A decimal number of at most two digits, up to the end of text; -1 if it is none. */
static int small_number(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 2 || text[digits])
        return -1;
    return digits == 1 ? text[0] - '0' : (text[0] - '0') * 10 + (text[1] - '0');
}

static int realtime_from_name(const char *name)
{
    bool from_min = strncasecmp(name, "RTMIN", 5) == 0;
    if (!from_min && strncasecmp(name, "RTMAX", 5) != 0)
        return -1;
    const char *rest = name + 5;
    int offset = 0;
    if (*rest) {
        offset = *rest == (from_min ? '+' : '-') ? small_number(rest + 1) : -1;
        if (offset < 0)
            return -1;
    }
    int number = from_min ? REALTIME_MIN + offset : REALTIME_MAX - offset;
    return number >= REALTIME_MIN && number <= REALTIME_MAX ? number : -1;
}

int signal_from_name(const char *name)
{
    if (isdigit((unsigned char)*name)) {
        int number = small_number(name);
        return number >= 1 && number <= REALTIME_MAX ? number : -1;
    }
    if (strncasecmp(name, "SIG", 3) == 0)
        name += 3;
    for (int i = 0; i < SIGNAL_COUNT; i++)
        if (strcasecmp(name, signals[i].name) == 0)
            return signals[i].number;
    return realtime_from_name(name);
}

const char *signal_nearest(const char *name)
{
    const char *names[SIGNAL_COUNT + 1] = { NULL };
    if (strncasecmp(name, "SIG", 3) == 0)
        name += 3;
    for (int i = 0; i < SIGNAL_COUNT; i++)
        names[i] = signals[i].name;
    return nearest_name(name, names);
}

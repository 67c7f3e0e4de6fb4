/* The words of the command line, and what the parts share. */
#include "probe.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int hello(char **arguments)
{
    (void)arguments;
    return puts("hello") < 0;
}

static int nothing(char **arguments)
{
    (void)arguments;
    return 0;
}

static int idle(char **arguments)
{
    (void)arguments;
    (void)puts("ready");
    (void)fflush(stdout);
    while (pause() < 0)
        continue;
    return 0;
}

static const struct word {
    const char *name;
    int (*run)(char **arguments);
} words[] = {
    { "hello", hello },       { "nothing", nothing },     { "idle", idle },
    { "facts", probe_facts }, { "reach", probe_reach },   { "cost", probe_cost },
    { "load", probe_load },   { "victim", probe_victim }, { "aggressor", probe_aggressor },
    { "crash", probe_crash },
};

/* SIGCHLD is blocked from the start: none is missed. */
static void block_child_signal(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, set, NULL);
}

int probe_in_child(int (*run)(void *context), void *context)
{
    int status = -1;
    sigset_t set;
    (void)fflush(stdout);
    block_child_signal(&set);
    const int64_t until = probe_now() + 1000000000;
    pid_t child = fork();
    if (child < 0)
        return -1;
    if (child == 0)
        _exit(run(context));
    for (int64_t left; (left = until - probe_now()) > 0;) {
        struct timespec wait = { .tv_nsec = left % 1000000000 };
        if (waitpid(child, &status, WNOHANG) == child)
            return status;
        (void)sigtimedwait(&set, NULL, &wait);
    }
    (void)kill(child, SIGKILL);
    (void)waitpid(child, &status, 0);
    return status;
}

void probe_print_string(const char *text)
{
    (void)putchar('"');
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\')
            (void)printf("\\%c", byte);
        else if (byte < ' ' || byte > '~')
            (void)putchar('?');
        else
            (void)putchar(byte);
    }
    (void)putchar('"');
}

/* As PID 1 of its namespace it would ignore a signal that it does not handle. */
static void end(int signal)
{
    _exit(128 + signal);
}

int main(int count, char **arguments)
{
    (void)signal(SIGTERM, end);
    (void)signal(SIGINT, end);
    (void)signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; count > 1 && i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i].name, arguments[1]) == 0) {
            int status = words[i].run(arguments + 2);
            return fflush(stdout) != 0 ? 1 : status;
        }
    }
    (void)fputs("hybrid-probe: run by `hybrid compare`, inside of a workload\n", stderr);
    return 2;
}

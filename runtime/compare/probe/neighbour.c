/* Victim, aggressors and the crash: what one workload does to another. */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    MAX_SAMPLES = 4000,
    PAUSE = 500 * 1000, /* nanoseconds between two samples: a victim that is mostly idle */
    FAULTS = 4,
    PAGE_SIZE = 4096,
    AGGRESSOR_MEMORY = 48 << 20,
};

/* A little of what a service does for a request: memory, a path, a wake-up of its own timer. */
static void serve_request(void)
{
    struct stat status;
    volatile char *pages = mmap(NULL, (size_t)FAULTS * PAGE_SIZE, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; (void *)pages != MAP_FAILED && i < FAULTS; i++)
        pages[i * PAGE_SIZE] = 1;
    if ((void *)pages != MAP_FAILED)
        (void)munmap((void *)pages, (size_t)FAULTS * PAGE_SIZE);
    (void)stat("/.hybrid/probe", &status);
}

/* From when a request was due to when it was served: waiting for a processor counts. */
int probe_victim(char **arguments)
{
    static int64_t samples[MAX_SAMPLES];
    long milliseconds = arguments[0] ? strtol(arguments[0], NULL, 10) : 500;
    int count = 0;
    int64_t due = probe_now(), until = due + milliseconds * 1000000;
    while (due < until && count < MAX_SAMPLES) {
        due += PAUSE;
        struct timespec at = { .tv_sec = due / 1000000000, .tv_nsec = due % 1000000000 };
        (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
        serve_request();
        int64_t now = probe_now();
        samples[count++] = now - due;
        if (now > due)
            due = now; /* those that were missed meanwhile are not counted twice */
    }
    (void)fputs("{\"kind\":\"victim\",\"samples\":[", stdout);
    for (int i = 0; i < count; i++)
        (void)printf("%s%lld", i ? "," : "", (long long)samples[i]);
    (void)puts("]}");
    return 0;
}

static void press_cpu(void)
{
    static volatile uint64_t sum;
    for (int i = 0; i < 1000000; i++)
        sum += (uint64_t)i * sum;
}

static void press_memory(void)
{
    volatile char *memory =
        mmap(NULL, AGGRESSOR_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if ((void *)memory == MAP_FAILED)
        return;
    for (size_t i = 0; i < AGGRESSOR_MEMORY; i += PAGE_SIZE)
        memory[i] = 1;
    (void)munmap((void *)memory, AGGRESSOR_MEMORY);
}

/* Names that do not exist leave entries behind, too. */
static void press_dentries(void)
{
    static unsigned number;
    struct stat status;
    for (int i = 0; i < 1000; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "/.none-%d-%u", (int)getpid(), number++);
        (void)stat(name, &status);
    }
}

static void press_fsync(void)
{
    static const char block[PAGE_SIZE] = "hybrid";
    char name[64];
    (void)snprintf(name, sizeof name, "/.fsync-%d", (int)getpid());
    int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    for (int i = 0; fd >= 0 && i < 64; i++) {
        if (pwrite(fd, block, sizeof block, (off_t)i * PAGE_SIZE) < 0 || fsync(fd) < 0)
            break;
    }
    (void)unlink(name);
    if (fd >= 0)
        (void)close(fd);
}

static void press_forks(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    if (child > 0)
        (void)waitpid(child, NULL, 0);
}

static const struct aggressor {
    const char *name;
    void (*press)(void);
} aggressors[] = {
    { "cpu", press_cpu },     { "memory", press_memory }, { "dentries", press_dentries },
    { "fsync", press_fsync }, { "forks", press_forks },
};

__attribute__((noreturn)) static void press(const struct aggressor *aggressor)
{
    for (;;)
        aggressor->press();
}

/* One process a processor, until it is ended. */
int probe_aggressor(char **arguments)
{
    const struct aggressor *chosen = NULL;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    for (size_t i = 0; arguments[0] && i < sizeof aggressors / sizeof *aggressors; i++)
        if (strcmp(aggressors[i].name, arguments[0]) == 0)
            chosen = &aggressors[i];
    if (!chosen)
        return 2;
    for (long i = 1; i < processors; i++)
        if (fork() == 0)
            press(chosen);
    (void)puts("ready");
    (void)fflush(stdout);
    press(chosen);
}

static int read_line(const char *path, char *line, size_t size)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    int result = fgets(line, (int)size, file) ? 0 : -1;
    (void)fclose(file);
    line[strcspn(line, "\n")] = '\0';
    return result;
}

static int write_number(const char *path, const char *number)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : write(fd, number, strlen(number));
    if (fd >= 0)
        (void)close(fd);
    return n < 0 ? -1 : 0;
}

/*
 * Makes this kernel panic, if it is a guest's: its release says hybrid, and it is another boot than
 * that of the host, which the caller names. A kernel without sysrq panics when memory runs out and
 * vm.panic_on_oom is 2. Needs CAP_SYS_ADMIN, for a /proc without read-only parts.
 */
int probe_crash(char **arguments)
{
    char boot_id[64] = "", release[128] = "";
    const char *host = arguments[0];
    if (!host || strlen(host) != 36 ||
        read_line("/proc/sys/kernel/random/boot_id", boot_id, sizeof boot_id) < 0 ||
        read_line("/proc/sys/kernel/osrelease", release, sizeof release) < 0 ||
        strcmp(boot_id, host) == 0 || !strstr(release, "-hybrid")) {
        (void)fputs("hybrid-probe: this is not a kernel that may be crashed\n", stderr);
        return 3;
    }
    if (mkdir("/.hybrid-proc", 0700) < 0 || mount("proc", "/.hybrid-proc", "proc", 0, NULL) < 0 ||
        write_number("/.hybrid-proc/sys/vm/panic_on_oom", "2") < 0) {
        perror("hybrid-probe: cannot set vm.panic_on_oom");
        return 4;
    }
    (void)puts("crashing");
    (void)fflush(stdout);
    for (;;) {
        volatile char *memory = malloc(1 << 20);
        for (size_t i = 0; memory && i < 1 << 20; i += PAGE_SIZE)
            memory[i] = 1;
    }
}

/*
 * hybrid-names: asks the name server in a workload's network namespace what the guest of a VM asks
 * (include/names.h). One process a VM that needs it, jailed as hybrid-vmm is (vmm/jail.h), but that
 * it stays in that namespace, where it can speak to that one address and port and to nobody else.
 */
#include "io.h"
#include "vmm/jail.h"
#include "vmm/names/rules.h"
#include "vmm/names/service.h"
#include "vmm/seccomp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    FIRST_FD = 3,
    PAGE = 4096,
    MAX_FDS = FIRST_FD + NAMES_SLOTS + 8, /* streams, the guest, a socket a question; jail's own */
};

static const char HELP[] =
    "Usage: hybrid-names --stream-fd=N --network-fd=N --address=ADDRESS --uid=N --gid=N\n"
    "  --stream-fd=N      connection to the guest\n"
    "  --network-fd=N     network namespace of the name server\n"
    "  --address=ADDRESS  of the name server, in 127.0.0.0/8\n"
    "  --uid=N --gid=N    ids of its own, not 0, taken in the jail\n"
    "  --system-calls     print the system calls that it makes in the jail\n"
    "  --help, --version\n";

enum option_number { STREAM = 1, NETWORK, ADDRESS, USER, GROUP, SYSTEM_CALLS, SHOW_HELP, VERSION };

static const struct option OPTIONS[] = {
    { "stream-fd", required_argument, NULL, STREAM },
    { "network-fd", required_argument, NULL, NETWORK },
    { "address", required_argument, NULL, ADDRESS },
    { "uid", required_argument, NULL, USER },
    { "gid", required_argument, NULL, GROUP },
    { "system-calls", no_argument, NULL, SYSTEM_CALLS },
    { "help", no_argument, NULL, SHOW_HELP },
    { "version", no_argument, NULL, VERSION },
    { 0 },
};

struct arguments {
    long numbers[GROUP + 1]; /* by option_number; 0: not given */
    struct sockaddr_in server;
    enum option_number shown; /* SYSTEM_CALLS, SHOW_HELP or VERSION; 0: none */
};

/* Decimal digits only. Returns 0, or -1. */
static int parse_number(const char *text, long least, long *number)
{
    char *end;
    errno = 0;
    *number = strtol(text, &end, 10);
    return *text < '0' || *text > '9' || *end || errno || *number < least || *number >= UINT_MAX
               ? -1
               : 0;
}

static int parse_option(struct arguments *arguments, int option, const char *text,
                        struct error *err)
{
    bool is_descriptor = option == STREAM || option == NETWORK;
    if (option >= SYSTEM_CALLS && option <= VERSION) {
        arguments->shown = (enum option_number)option;
        return 0;
    }
    if (option == ADDRESS &&
        (inet_pton(AF_INET, text, &arguments->server.sin_addr) != 1 ||
         ntohl(arguments->server.sin_addr.s_addr) >> IN_CLASSA_NSHIFT != IN_LOOPBACKNET))
        return error_set(err, EXIT_OURS, "--address=%s: not an address of 127.0.0.0/8", text);
    if (option == ADDRESS)
        return 0;
    if (option < STREAM || option > GROUP)
        return error_set(err, EXIT_OURS, "unknown option; see --help");
    if (parse_number(text, is_descriptor ? FIRST_FD : 1, &arguments->numbers[option]) < 0)
        return error_set(err, EXIT_OURS, "--%s=%s: not a number from %d on",
                         OPTIONS[option - 1].name, text, is_descriptor ? FIRST_FD : 1);
    return 0;
}

static int parse(struct arguments *arguments, int count, char **values, struct error *err)
{
    *arguments =
        (struct arguments){ .server = { .sin_family = AF_INET, .sin_port = htons(NAMES_PORT) } };
    opterr = 0;
    for (int option; (option = getopt_long(count, values, "", OPTIONS, NULL)) != -1;)
        if (parse_option(arguments, option, optarg, err) < 0)
            return -1;
    if (arguments->shown)
        return 0;
    if (optind < count || !arguments->numbers[STREAM] || !arguments->numbers[NETWORK] ||
        !arguments->numbers[USER] || !arguments->numbers[GROUP] ||
        arguments->server.sin_addr.s_addr == 0)
        return error_set(err, EXIT_OURS, "every option is needed, and nothing else; see --help");
    return 0;
}

/* The address, where the filter expects it; it does not change any more. NULL with *err. */
static const struct sockaddr_in *keep_server(const struct sockaddr_in *server, struct error *err)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): the filter has numbers */
    void *wanted = (void *)(uintptr_t)NAMES_SERVER_PAGE;
    void *page = mmap(wanted, PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (page != wanted) {
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot keep the name server's address");
        return NULL;
    }
    memcpy(page, server, sizeof *server);
    if (mprotect(page, PAGE, PROT_READ) < 0) {
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot keep the name server's address");
        return NULL;
    }
    return page;
}

static int limit_descriptors(struct error *err)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read the limit of descriptors");
    files.rlim_max = files.rlim_max < MAX_FDS ? files.rlim_max : MAX_FDS;
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot limit the number of descriptors");
    return 0;
}

/* Gives up all but the connection and the network namespace. */
static int lock_up(const struct arguments *arguments, struct error *err)
{
    const struct jail_network network = { .kept = true, .connect_port = NAMES_PORT };
    struct jail_extras extras;
    int stream = (int)arguments->numbers[STREAM];
    if (setns((int)arguments->numbers[NETWORK], CLONE_NEWNET) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot enter the network namespace");
    if (jail_isolate(&network, err) < 0 || limit_descriptors(err) < 0 ||
        jail_enter(&stream, 1, (uid_t)arguments->numbers[USER], (gid_t)arguments->numbers[GROUP],
                   &network, &extras, err) < 0)
        return -1;
    return seccomp_enter(SECCOMP_STARTUP, err);
}

static int serve(const struct arguments *arguments, struct error *err)
{
    static struct service service; /* no heap: its size is known */
    const struct sockaddr_in *server = keep_server(&arguments->server, err);
    if (!server || lock_up(arguments, err) < 0)
        return -1;
    service_init(&service, (int)arguments->numbers[STREAM], server);
    return service_run(&service, err);
}

static void show(enum option_number what)
{
    if (what == SYSTEM_CALLS)
        seccomp_print(stdout);
    else if (what == SHOW_HELP)
        (void)fputs(HELP, stdout);
    else
        (void)printf("hybrid-names version %s\n", HYBRID_VERSION);
    (void)fflush(stdout);
}

/* Not by dprintf(3), whose calls the filter does not allow. */
static void tell(const struct error *err)
{
    char text[sizeof err->message + 32];
    int length = snprintf(text, sizeof text, "hybrid-names: %s\n", err->message);
    (void)io_write_all(STDERR_FILENO, text, (size_t)length);
}

int main(int argument_count, char **values)
{
    struct arguments arguments;
    struct error err;
    (void)signal(SIGPIPE, SIG_IGN);
    if (parse(&arguments, argument_count, values, &err) == 0) {
        if (arguments.shown) {
            show(arguments.shown);
            return 0;
        }
        if (serve(&arguments, &err) == 0)
            _exit(0);
    }
    tell(&err);
    _exit(err.exit_code);
}

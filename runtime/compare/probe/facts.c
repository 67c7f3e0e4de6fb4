/* What the code can see and open: names of the kernel, devices, files it may write, capabilities,
 * and the first steps of known kernel exploits. A line of JSON each. */
#include "probe.h"

#include "runtime/compare/cpuinfo.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_DEPTH = 8, MAX_SHOWN = 12 };

static void print_file(const char *name, const char *path)
{
    char text[512] = "";
    FILE *file = fopen(path, "re");
    if (!file || !fgets(text, sizeof text, file))
        text[0] = '\0';
    if (file)
        (void)fclose(file);
    text[strcspn(text, "\n")] = '\0';
    (void)printf("{\"name\":\"%s\",\"text\":", name);
    probe_print_string(text);
    (void)puts("}");
}

static void print_cpuinfo(void)
{
    (void)printf("{\"name\":\"cpuinfo\",\"text\":\"%016llx\"}\n",
                 (unsigned long long)cpuinfo_hash());
}

static void print_capabilities(void)
{
    char line[256];
    unsigned long long effective = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "CapEff:", 7) == 0)
            effective = strtoull(line + 7, NULL, 16);
    if (file)
        (void)fclose(file);
    (void)printf("{\"name\":\"capabilities\",\"count\":%d,\"text\":\"%llx\"}\n",
                 __builtin_popcountll(effective), effective);
}

/* A count, and the first names of what was counted. */
struct tally {
    int count;
    char shown[MAX_SHOWN][128];
};

static void add(struct tally *tally, const char *path)
{
    if (tally->count < MAX_SHOWN)
        (void)snprintf(tally->shown[tally->count], sizeof *tally->shown, "%.127s", path);
    tally->count++;
}

static void print_tally(const char *name, const struct tally *tally)
{
    (void)printf("{\"name\":\"%s\",\"count\":%d,\"first\":[", name, tally->count);
    for (int i = 0; i < tally->count && i < MAX_SHOWN; i++) {
        (void)fputs(i ? "," : "", stdout);
        probe_print_string(tally->shown[i]);
    }
    (void)puts("]}");
}

typedef void visitor(struct tally *tally, const char *path, const struct stat *status);

/* Everything below a directory on any file system, but for other processes in /proc. */
static void walk(const char *directory, int depth, visitor *visit, struct tally *tally)
{
    DIR *entries = depth < MAX_DEPTH ? opendir(directory) : NULL;
    for (const struct dirent *entry; entries && (entry = readdir(entries));) {
        char path[1024];
        struct stat status;
        bool process = strcmp(directory, "/proc") == 0 &&
                       (entry->d_name[0] <= '9' || strstr(entry->d_name, "self"));
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || process)
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        if (lstat(path, &status) < 0)
            continue;
        visit(tally, path, &status);
        if (S_ISDIR(status.st_mode))
            walk(path, depth + 1, visit, tally);
    }
    if (entries)
        (void)closedir(entries);
}

/* Opening for writing changes nothing. Root may open also what has no method to write it. */
static void visit_writable(struct tally *tally, const char *path, const struct stat *status)
{
    bool written = S_ISREG(status->st_mode) && (status->st_mode & (S_IWUSR | S_IWGRP | S_IWOTH));
    int fd = written ? open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    (void)close(fd);
    add(tally, path);
}

static void visit_device(struct tally *tally, const char *path, const struct stat *status)
{
    if (S_ISCHR(status->st_mode) || S_ISBLK(status->st_mode))
        add(tally, path);
}

/* Each ends with 0 if the door is open, else with the errno that closes it. */
static int answer(long result)
{
    return result < 0 ? errno : 0;
}

static int try_packet(void *context)
{
    (void)context;
    return answer(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
}

static int try_userns(void *context)
{
    (void)context;
    return answer(unshare(CLONE_NEWUSER));
}

static int try_io_uring(void *context)
{
    struct io_uring_params parameters = { 0 };
    (void)context;
    return answer(syscall(SYS_io_uring_setup, 1, &parameters));
}

static int try_bpf(void *context)
{
    union bpf_attr map = {
        .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1
    };
    (void)context;
    return answer(syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map));
}

static int try_keyctl(void *context)
{
    enum { KEYRING_PROCESS = -2 };
    (void)context;
    return answer(syscall(SYS_add_key, "user", "hybrid-probe", "x", 1UL, KEYRING_PROCESS));
}

/* As exploits go about it: a user namespace first, where one can be had. */
static int try_nf_tables(void *context)
{
    struct {
        struct nlmsghdr head;
        struct nfgenmsg body;
    } request = {
        .head = { .nlmsg_len = sizeof request,
                  .nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN,
                  .nlmsg_flags = NLM_F_REQUEST },
    };
    union {
        struct nlmsghdr head;
        char bytes[4096];
    } reply;
    (void)context;
    (void)unshare(CLONE_NEWUSER | CLONE_NEWNET);
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (fd < 0 || send(fd, &request, sizeof request, 0) < 0)
        return errno;
    if (recv(fd, &reply, sizeof reply, 0) < (ssize_t)sizeof reply.head)
        return EIO;
    const struct nlmsgerr *error = NLMSG_DATA(&reply.head);
    return reply.head.nlmsg_type == NLMSG_ERROR ? -error->error : 0;
}

static const struct door {
    const char *name;
    int (*try)(void *context);
} doors[] = {
    { "af_packet", try_packet }, { "userns", try_userns }, { "io_uring", try_io_uring },
    { "bpf", try_bpf },          { "keyctl", try_keyctl }, { "nf_tables", try_nf_tables },
};

static void print_door(const struct door *door)
{
    int status = probe_in_child(door->try, NULL);
    bool exited = status >= 0 && WIFEXITED(status);
    const char *why = !exited ? "ended by a signal" : strerror(WEXITSTATUS(status));
    bool open = exited && WEXITSTATUS(status) == 0;
    (void)printf("{\"name\":\"door.%s\",\"open\":%s,\"text\":", door->name,
                 open ? "true" : "false");
    probe_print_string(open ? "open" : why);
    (void)puts("}");
}

int probe_facts(char **arguments)
{
    struct tally devices = { 0 }, proc = { 0 }, sys = { 0 };
    (void)arguments;
    print_file("boot_id", "/proc/sys/kernel/random/boot_id");
    print_file("release", "/proc/sys/kernel/osrelease");
    print_file("loadavg", "/proc/loadavg");
    print_file("uptime", "/proc/uptime");
    print_cpuinfo();
    print_capabilities();
    walk("/dev", 0, visit_device, &devices);
    walk("/proc", 0, visit_writable, &proc);
    walk("/sys", 0, visit_writable, &sys);
    print_tally("devices", &devices);
    print_tally("writable_proc", &proc);
    print_tally("writable_sys", &sys);
    for (size_t i = 0; i < sizeof doors / sizeof *doors; i++)
        print_door(&doors[i]);
    return 0;
}

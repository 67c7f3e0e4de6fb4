#include "inspect_security.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "directory.h"
#include "io.h"
#include "runtime/image/document.h"
#include "runtime/plan/compose.h"
#include "runtime/state/state.h"

/*
 * What cannot be read is null, never an empty list: that would be a claim. Names are the workload's
 * to choose, and can be anything.
 */

enum { FILE_SIZE = 1 << 20 }; /* of what is read from one file of /proc; mountinfo is the longest */

/* A file of the process, as a string to free; NULL if it cannot be read, or not as a whole. */
static char *read_file(int process, const char *name)
{
    _cleanup_close_ int fd = openat(process, name, O_RDONLY | O_CLOEXEC);
    _cleanup_free_ char *text = fd < 0 ? NULL : malloc(FILE_SIZE);
    ssize_t n = text ? io_read_all(fd, text, FILE_SIZE - 1) : -1;
    if (n < 0 || n == FILE_SIZE - 1)
        return NULL;
    text[n] = '\0';
    return take_pointer(&text);
}

/* A text of the process. */
static json_t *printable(const char *text)
{
    char shown[PATH_MAX * 2];
    return json_string(document_printable(text, shown, sizeof shown));
}

/* What follows "key:" and blanks on its line of a status file, as a new string; NULL: no such line.
 */
static char *status_text(const char *status, const char *key)
{
    size_t length = strlen(key);
    for (const char *line = status; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, length) != 0 || line[length] != ':')
            continue;
        const char *value = line + length + 1;
        value += strspn(value, " \t");
        return strndup(value, strcspn(value, "\n"));
    }
    return NULL;
}

/* The numbers of a line: user ids, process numbers. */
static json_t *status_numbers(const char *status, const char *key)
{
    _cleanup_free_ char *text = status_text(status, key);
    json_t *numbers = text ? json_array() : json_null();
    char *at = text;
    while (at && *at) {
        char *end;
        long long number = strtoll(at, &end, 10);
        if (end == at)
            break;
        (void)json_array_append_new(numbers, json_integer(number));
        at = end;
    }
    return numbers;
}

static json_t *status_number(const char *status, const char *key)
{
    _cleanup_free_ char *text = status_text(status, key);
    return text ? json_integer(strtoll(text, NULL, 10)) : json_null();
}

static json_t *status_word(const char *status, const char *key)
{
    _cleanup_free_ char *text = status_text(status, key);
    return text ? printable(text) : json_null();
}

/* Names of the set; numbers that hybrid has no name for as "37". */
static json_t *capability_set(const char *status, const char *key)
{
    _cleanup_free_ char *text = status_text(status, key);
    uint64_t set = text ? strtoull(text, NULL, 16) : 0;
    json_t *names = text ? json_array() : json_null();
    for (int i = 0; i < 64; i++) {
        char number[8];
        if (!(set >> i & 1))
            continue;
        (void)snprintf(number, sizeof number, "%d", i);
        const char *name = capability_name(i);
        (void)json_array_append_new(names, json_string(name ? name : number));
    }
    return names;
}

static json_t *describe_capabilities(const char *status)
{
    static const char *const SETS[][2] = {
        { "bounding", "CapBnd" },    { "effective", "CapEff" }, { "permitted", "CapPrm" },
        { "inheritable", "CapInh" }, { "ambient", "CapAmb" },
    };
    json_t *sets = json_object();
    for (size_t i = 0; i < sizeof SETS / sizeof SETS[0]; i++)
        (void)json_object_set_new(sets, SETS[i][0], capability_set(status, SETS[i][1]));
    return sets;
}

static const char *seccomp_mode(const char *status)
{
    static const char *const MODES[] = { "none", "strict", "filter" };
    _cleanup_free_ char *text = status_text(status, "Seccomp");
    size_t mode = text ? strtoul(text, NULL, 10) : 0;
    return mode < sizeof MODES / sizeof MODES[0] ? MODES[mode] : "unknown";
}

/* Each thread with what can differ between threads. */
static json_t *describe_threads(int process)
{
    _cleanup_closedir_ DIR *tasks = directory_open(process, "task");
    json_t *threads = tasks ? json_array() : json_null();
    const struct dirent *entry;
    while (tasks && (entry = directory_next(tasks))) {
        char path[300];
        (void)snprintf(path, sizeof path, "task/%s/status", entry->d_name);
        _cleanup_free_ char *status = read_file(process, path);
        if (status)
            (void)json_array_append_new(
                threads, json_pack("{s:o, s:s, s:o, s:o, s:o}", "name", status_word(status, "Name"),
                                   "seccomp", seccomp_mode(status), "seccompFilters",
                                   status_number(status, "Seccomp_filters"), "noNewPrivs",
                                   status_number(status, "NoNewPrivs"), "effective",
                                   capability_set(status, "CapEff")));
    }
    return threads;
}

/* Which namespaces are the process's own, and which it shares with this program. */
static json_t *describe_namespaces(int process)
{
    static const char *const NAMES[] = {
        "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"
    };
    json_t *namespaces = json_object();
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        char path[32], own[64], link[64];
        (void)snprintf(path, sizeof path, "ns/%s", NAMES[i]);
        (void)snprintf(own, sizeof own, "/proc/self/ns/%s", NAMES[i]);
        ssize_t n = readlinkat(process, path, link, sizeof link - 1);
        char ours[64];
        ssize_t m = readlink(own, ours, sizeof ours - 1);
        if (n <= 0)
            continue;
        link[n] = '\0';
        bool shared = m == n && memcmp(link, ours, (size_t)n) == 0;
        (void)json_object_set_new(namespaces, NAMES[i],
                                  json_pack("{s:s, s:b}", "id", link, "shared", shared));
    }
    return namespaces;
}

/* Space-separated fields of a line, in place. Returns their number. */
static size_t split(char *line, char **fields, size_t most)
{
    size_t count = 0;
    char *rest = line, *field;
    while (count < most && (field = strsep(&rest, " ")))
        fields[count++] = field;
    return count;
}

/* proc(5): number parent device root TARGET OPTIONS [propagation...] - TYPE source options */
static json_t *describe_mount(char *line)
{
    enum { TARGET = 4, OPTIONS = 5, MOST = 32 };
    char *fields[MOST];
    size_t count = split(line, fields, MOST), dash = OPTIONS + 1;
    while (dash < count && strcmp(fields[dash], "-") != 0)
        dash++;
    if (dash + 1 >= count)
        return NULL;
    json_t *propagation = json_array();
    for (size_t i = OPTIONS + 1; i < dash; i++)
        (void)json_array_append_new(propagation, printable(fields[i]));
    return json_pack("{s:o, s:o, s:o, s:o}", "target", printable(fields[TARGET]), "type",
                     printable(fields[dash + 1]), "options", printable(fields[OPTIONS]),
                     "propagation", propagation);
}

static json_t *describe_mounts(int process)
{
    _cleanup_free_ char *text = read_file(process, "mountinfo");
    json_t *mounts = text ? json_array() : json_null();
    char *rest = text, *line;
    while (rest && (line = strsep(&rest, "\n"))) {
        json_t *mount = describe_mount(line);
        if (mount)
            (void)json_array_append_new(mounts, mount);
    }
    return mounts;
}

static const char *access_of(int process, const char *number)
{
    static const char *const MODES[] = { "read", "write", "read-write", "none" };
    char path[300];
    (void)snprintf(path, sizeof path, "fdinfo/%s", number);
    _cleanup_free_ char *info = read_file(process, path);
    _cleanup_free_ char *flags = info ? status_text(info, "flags") : NULL;
    return flags ? MODES[strtoul(flags, NULL, 8) & O_ACCMODE] : "unknown";
}

static json_t *describe_descriptors(int process)
{
    _cleanup_closedir_ DIR *entries = directory_open(process, "fd");
    json_t *descriptors = entries ? json_array() : json_null();
    const struct dirent *entry;
    while (entries && (entry = directory_next(entries))) {
        char target[PATH_MAX];
        ssize_t n = readlinkat(dirfd(entries), entry->d_name, target, sizeof target - 1);
        if (n < 0)
            continue;
        target[n] = '\0';
        (void)json_array_append_new(descriptors, json_pack("{s:i, s:o, s:s}", "fd",
                                                           (int)strtol(entry->d_name, NULL, 10),
                                                           "target", printable(target), "access",
                                                           access_of(process, entry->d_name)));
    }
    return descriptors;
}

/* "Max open files   1024   4096   files": the name ends where two blanks are. */
static json_t *describe_limits(int process)
{
    _cleanup_free_ char *text = read_file(process, "limits");
    json_t *limits = text ? json_object() : json_null();
    char *rest = text, *line;
    while (rest && (line = strsep(&rest, "\n"))) {
        char *end = strstr(line, "  "), soft[32], hard[32];
        if (strncmp(line, "Max ", 4) != 0 || !end || sscanf(end, "%31s %31s", soft, hard) != 2)
            continue;
        *end = '\0';
        (void)json_object_set_new(limits, line + 4,
                                  json_pack("{s:s, s:s}", "soft", soft, "hard", hard));
    }
    return limits;
}

/* A file of one line: the security module's label, the OOM score. */
static json_t *describe_line(int process, const char *name)
{
    _cleanup_free_ char *text = read_file(process, name);
    if (!text)
        return json_null();
    text[strcspn(text, "\n")] = '\0';
    return printable(text);
}

/* Whether others of the same user may look into it: the kernel gives its files to root if not. */
static json_t *describe_dumpable(int process, const char *status)
{
    struct stat owner;
    json_t *ids = status_numbers(status, "Uid");
    json_int_t effective = json_integer_value(json_array_get(ids, 1));
    json_decref(ids);
    if (effective == 0 || fstatat(process, "environ", &owner, 0) < 0)
        return json_null(); /* root's files belong to root in any case */
    return json_boolean(owner.st_uid == (uid_t)effective);
}

json_t *inspect_security(pid_t pid, uint64_t start, struct error *err)
{
    char path[32];
    (void)snprintf(path, sizeof path, "/proc/%d", (int)pid);
    /* Held open: from here on every file is this process's, or gone with it. */
    _cleanup_close_ int process = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_free_ char *status = process < 0 ? NULL : read_file(process, "status");
    if (!status || state_process_start(pid) != start) {
        (void)error_set(err, EXIT_OURS, "process %d has ended", (int)pid);
        return NULL;
    }
    json_t *value = json_pack(
        "{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
        "s:o, s:o}",
        "pid", (int)pid, "name", status_word(status, "Name"), "namespacePids",
        status_numbers(status, "NSpid"), "uid", status_numbers(status, "Uid"), "gid",
        status_numbers(status, "Gid"), "groups", status_numbers(status, "Groups"), "uidMap",
        describe_line(process, "uid_map"), "capabilities", describe_capabilities(status),
        "noNewPrivs", status_number(status, "NoNewPrivs"), "dumpable",
        describe_dumpable(process, status), "threads", describe_threads(process), "namespaces",
        describe_namespaces(process), "mounts", describe_mounts(process), "descriptors",
        describe_descriptors(process), "limits", describe_limits(process), "oomScoreAdjustment",
        describe_line(process, "oom_score_adj"), "label", describe_line(process, "attr/current"),
        "speculationStoreBypass", status_word(status, "Speculation_Store_Bypass"), "cgroup",
        describe_line(process, "cgroup"));
    if (!value)
        (void)error_set(err, EXIT_OURS, "out of memory");
    return value;
}

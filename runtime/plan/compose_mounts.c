/* The mounts of `hybrid run`: Docker's, in Docker's order, then those asked for, then three files
 * of /etc. */
#include "compose_parts.h"

#include <sys/mount.h>

#include "mount_options.h"

enum { MAX_OPTIONS = 10, MAX_TEXT = 4096 };

static const struct {
    const char *target, *type, *source;
    const char *options[MAX_OPTIONS];
} defaults[] = {
    { "/proc", "proc", "proc", { "nosuid", "noexec", "nodev" } },
    { "/dev", "tmpfs", "tmpfs", { "nosuid", "strictatime", "mode=755", "size=65536k" } },
    { "/dev/pts",
      "devpts",
      "devpts",
      { "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5" } },
    { "/sys", "sysfs", "sysfs", { "nosuid", "noexec", "nodev", "ro" } },
    { "/sys/fs/cgroup", "cgroup", "cgroup", { "ro", "nosuid", "noexec", "nodev" } },
    { "/dev/mqueue", "mqueue", "mqueue", { "nosuid", "noexec", "nodev" } },
    { "/dev/shm", "tmpfs", "shm", { "nosuid", "noexec", "nodev", "mode=1777", "size=65536k" } },
};

/* What a tmpfs on it would take away from the sandbox, with all below it. */
static const char *const kept_trees[] = { "/proc", "/sys", NULL };
static const char *const kept_paths[] = { "/", "/dev", "/dev/pts", NULL };

static json_t *new_mount(const char *target, const char *type, const char *source)
{
    return json_pack("{s:s, s:s, s:s, s:[]}", "destination", target, "type", type, "source", source,
                     "options");
}

static int add_defaults(json_t *mounts, const json_t *asked, struct error *err)
{
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) {
        if (compose_has_target(asked, defaults[i].target))
            continue;
        json_t *mount = new_mount(defaults[i].target, defaults[i].type, defaults[i].source);
        json_t *list = json_object_get(mount, "options");
        for (size_t n = 0; n < MAX_OPTIONS && defaults[i].options[n]; n++)
            (void)json_array_append_new(list, json_string(defaults[i].options[n]));
        if (compose_append(mounts, mount, err) < 0)
            return -1;
    }
    return 0;
}

/* --- --tmpfs PATH[:OPTION,...] ------------------------------------------------------------------
 */

/* Options of the file system itself (tmpfs(5)), and the characters that their values consist of. */
static const struct {
    const char *name;
    const char *characters;
    const char *form;
} tmpfs_options[] = {
    { "size", "0123456789kKmMgG%", "size=64m or size=50%" },
    { "mode", "01234567", "mode=1777" },
    { "uid", "0123456789", "uid=1000" },
    { "gid", "0123456789", "gid=1000" },
    { "nr_inodes", "0123456789kKmMgG", "nr_inodes=10k" },
    { "nr_blocks", "0123456789kKmMgG", "nr_blocks=10k" },
};

enum { TMPFS_OPTION_COUNT = sizeof tmpfs_options / sizeof *tmpfs_options };

static int check_tmpfs_value(const char *name, const char *argument, const char *option,
                             size_t known, struct error *err)
{
    const char *value = option + strlen(tmpfs_options[known].name) + 1;
    bool digit = *value >= '0' && *value <= '9';
    if (digit && value[strspn(value, tmpfs_options[known].characters)] == '\0')
        return 0;
    return error_set(err, EXIT_OURS, "%s%.200s: %.80s is not valid; write it like %s", name,
                     argument, option, tmpfs_options[known].form);
}

static int check_tmpfs_option(const char *name, const char *argument, const char *option,
                              struct error *err)
{
    size_t length = strcspn(option, "=");
    for (size_t i = 0; option[length] && i < TMPFS_OPTION_COUNT; i++)
        if (strlen(tmpfs_options[i].name) == length &&
            strncmp(tmpfs_options[i].name, option, length) == 0)
            return check_tmpfs_value(name, argument, option, i, err);
    struct plan_mount mount = { .target = "" };
    bool known = mount_option_apply(option, &mount);
    if (known && !mount.propagation && !mount.recursive_set && !mount.recursive_clear &&
        !mount.idmap && !(mount.flags & (MS_BIND | MS_REMOUNT)))
        return 0;
    if (known)
        return error_set(err, EXIT_OURS,
                         "%s%.200s: %s has no meaning for a new file system; remove it", name,
                         argument, option);
    const char *near = mount_option_nearest(option);
    return error_set(err, EXIT_OURS, "%s%.200s: %.80s is not an option of tmpfs; %s %s", name,
                     argument, option, near ? "did you mean" : "one of them is",
                     near ? near : "size=64m");
}

/* Whether the path names its directory in one way only: what must stay is known by its name. */
static bool is_plain_path(const char *path)
{
    const char *at = path;
    while (*at == '/') {
        size_t length = strcspn(++at, "/");
        if ((length == 0 && (*at || at > path + 1)) || (length == 1 && at[0] == '.') ||
            (length == 2 && at[0] == '.' && at[1] == '.'))
            return false;
        at += length;
    }
    return *path == '/';
}

int compose_check_target(const char *option, const char *argument, char *path, struct error *err)
{
    size_t length = strlen(path);
    if (length > 1 && path[length - 1] == '/')
        path[length - 1] = '\0';
    if (!is_plain_path(path))
        return error_set(err, EXIT_OURS,
                         "%s%.200s: the path must be absolute and without \".\", \"..\" or \"//\"",
                         option, argument);
    for (size_t i = 0; kept_trees[i]; i++) {
        length = strlen(kept_trees[i]);
        if (strncmp(path, kept_trees[i], length) == 0 && (!path[length] || path[length] == '/'))
            return error_set(err, EXIT_OURS,
                             "%s%.200s: %s is the kernel's and must stay "
                             "visible; choose another path",
                             option, argument, kept_trees[i]);
    }
    for (size_t i = 0; kept_paths[i]; i++)
        if (strcmp(path, kept_paths[i]) == 0)
            return error_set(err, EXIT_OURS,
                             "%s%.200s: would hide files that every workload "
                             "needs; choose a path below it",
                             option, argument);
    return 0;
}

int compose_tmpfs(json_t *mounts, const char *option, const char *argument, struct error *err)
{
    static const char *const first[] = { "rw", "noexec", "nosuid", "nodev" };
    if (strlen(argument) > MAX_TEXT)
        return error_set(err, EXIT_OURS, "%s%.80s...: too long", option, argument);
    json_auto_t *text = compose_string(argument, "--tmpfs", err);
    if (!text)
        return -1;
    char copy[MAX_TEXT + 1];
    (void)snprintf(copy, sizeof copy, "%s", argument);
    char *rest = copy;
    char *path = strsep(&rest, ":");
    if (compose_check_target(option, argument, path, err) < 0)
        return -1;
    if (strcmp(path, "/etc") == 0)
        return error_set(err, EXIT_OURS,
                         "%s%.200s: would hide files that every workload "
                         "needs; choose a path below it",
                         option, argument);
    json_t *mount = new_mount(path, "tmpfs", "tmpfs");
    if (compose_append(mounts, mount, err) < 0)
        return -1;
    json_t *options = json_object_get(mount, "options");
    for (size_t i = 0; i < sizeof first / sizeof *first; i++)
        if (compose_append(options, json_string(first[i]), err) < 0)
            return -1;
    for (const char *own; (own = strsep(&rest, ",")) != NULL;)
        if (check_tmpfs_option(option, argument, own, err) < 0 ||
            compose_append(options, json_string(own), err) < 0)
            return -1;
    return 0;
}

/* --- files --------------------------------------------------------------------------------------
 */

/* With the root read-only, Docker's three files are so too. */
static int add_file(json_t *mounts, const char *target, const char *content, bool readonly,
                    struct error *err)
{
    if (compose_has_target(mounts, target)) /* -v FILE:/etc/hosts */
        return 0;
    json_t *mount = new_mount(target, "file", content);
    if (readonly)
        (void)json_array_append_new(json_object_get(mount, "options"), json_string("ro"));
    return compose_append(mounts, mount, err);
}

static int add_files(json_t *mounts, const char *hostname, const char *resolver, bool readonly,
                     struct error *err)
{
    char hosts[512], name[128];
    (void)snprintf(name, sizeof name, "%s\n", hostname);
    (void)snprintf(hosts, sizeof hosts,
                   "127.0.0.1\tlocalhost\n"
                   "::1\tlocalhost ip6-localhost ip6-loopback\n"
                   "127.0.0.1\t%s\n",
                   hostname);
    static const char *const no_resolver = "# no network: there is no name server to ask\n";
    if (add_file(mounts, "/etc/hosts", hosts, readonly, err) < 0 ||
        add_file(mounts, "/etc/hostname", name, readonly, err) < 0 ||
        add_file(mounts, "/etc/resolv.conf", resolver ? resolver : no_resolver, readonly, err) < 0)
        return -1;
    return 0;
}

json_t *compose_mounts(const struct run_options *options, const char *hostname, struct error *err)
{
    json_auto_t *mounts = json_array();
    json_auto_t *asked = compose_volumes(options, err);
    if (!asked || add_defaults(mounts, asked, err) < 0)
        return NULL;
    if (json_array_extend(mounts, asked) < 0) {
        (void)error_set(err, EXIT_OURS, "out of memory");
        return NULL;
    }
    if (add_files(mounts, hostname, options->resolver, options->readonly, err) < 0)
        return NULL;
    return json_incref(mounts);
}

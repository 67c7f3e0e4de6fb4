/* hybrid spec: a configuration to begin with, in a bundle. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/plan/compose.h"
#include "verbs.h"

#define CONFIG_FILE "config.json"

struct settings {
    const char *bundle;
    bool rootless;
};

static const struct settings defaults = { .bundle = "." };

static const struct cli_option options[] = {
    CLI_OPTION(CLI_TEXT, struct settings, bundle, "bundle", 'b', "DIR",
               "The bundle to write config.json into (default: .)"),
    CLI_OPTION_FLAG(struct settings, rootless, "rootless", 0,
                    "In a user namespace whose root is the caller"),
    { 0 },
};

/* What a shell in a root file system needs, and no more than engines give by default. */
static const char template[] =
    "{\"ociVersion\":\"1.2.0\","
    "\"process\":{\"terminal\":true,\"user\":{\"uid\":0,\"gid\":0},\"args\":[\"sh\"],"
    "\"env\":[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/"
    "bin\",\"TERM=xterm\"],"
    "\"cwd\":\"/\",\"capabilities\":{"
    "\"bounding\":[\"CAP_AUDIT_WRITE\",\"CAP_KILL\",\"CAP_NET_BIND_SERVICE\"],"
    "\"effective\":[\"CAP_AUDIT_WRITE\",\"CAP_KILL\",\"CAP_NET_BIND_SERVICE\"],"
    "\"permitted\":[\"CAP_AUDIT_WRITE\",\"CAP_KILL\",\"CAP_NET_BIND_SERVICE\"]},"
    "\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"hard\":1024,\"soft\":1024}],"
    "\"noNewPrivileges\":true},"
    "\"root\":{\"path\":\"rootfs\",\"readonly\":true},\"hostname\":\"hybrid\","
    "\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
    "{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\","
    "\"options\":[\"nosuid\",\"strictatime\",\"mode=755\",\"size=65536k\"]},"
    "{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\","
    "\"options\":[\"nosuid\",\"noexec\",\"newinstance\",\"ptmxmode=0666\",\"mode=0620\",\"gid=5\"]}"
    ","
    "{\"destination\":\"/dev/shm\",\"type\":\"tmpfs\",\"source\":\"shm\","
    "\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"mode=1777\",\"size=65536k\"]},"
    "{\"destination\":\"/dev/mqueue\",\"type\":\"mqueue\",\"source\":\"mqueue\","
    "\"options\":[\"nosuid\",\"noexec\",\"nodev\"]},"
    "{\"destination\":\"/sys\",\"type\":\"sysfs\",\"source\":\"sysfs\","
    "\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"ro\"]},"
    "{\"destination\":\"/sys/fs/cgroup\",\"type\":\"cgroup\",\"source\":\"cgroup\","
    "\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"relatime\",\"ro\"]}],"
    "\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"network\"},{\"type\":\"ipc\"},"
    "{\"type\":\"uts\"},{\"type\":\"mount\"},{\"type\":\"cgroup\"}],"
    "\"maskedPaths\":[\"/proc/acpi\",\"/proc/asound\",\"/proc/interrupts\",\"/proc/kcore\","
    "\"/proc/keys\",\"/proc/latency_stats\",\"/proc/sched_debug\",\"/proc/scsi\","
    "\"/proc/timer_list\",\"/proc/timer_stats\",\"/sys/devices/virtual/powercap\","
    "\"/sys/firmware\"],"
    "\"readonlyPaths\":[\"/proc/bus\",\"/proc/fs\",\"/proc/irq\",\"/proc/sys\","
    "\"/proc/sysrq-trigger\"]}}";

static json_t *id_map(unsigned int host)
{
    return json_pack("[{s:i, s:I, s:i}]", "containerID", 0, "hostID", (json_int_t)host, "size", 1);
}

/*
 * One user is mapped, who is root inside: groups beyond the own one (devpts's gid=5) do not exist
 * there, and sysfs belongs to the owner of a network namespace.
 */
static void make_rootless(json_t *config)
{
    json_t *linux_part = json_object_get(config, "linux");
    (void)json_array_append_new(json_object_get(linux_part, "namespaces"),
                                json_pack("{s:s}", "type", "user"));
    (void)json_object_set_new(linux_part, "uidMappings", id_map(geteuid()));
    (void)json_object_set_new(linux_part, "gidMappings", id_map(getegid()));
    size_t index;
    json_t *mount;
    json_array_foreach(json_object_get(config, "mounts"), index, mount)
    {
        const char *type = json_string_value(json_object_get(mount, "type"));
        json_t *mount_options = json_object_get(mount, "options");
        if (type && strcmp(type, "devpts") == 0)
            (void)json_array_remove(mount_options, json_array_size(mount_options) - 1);
    }
}

static int run_spec(const struct cli *cli, const void *settings, char **operands, size_t count,
                    struct error *err)
{
    (void)cli, (void)operands, (void)count;
    const struct settings *chosen = settings;
    _cleanup_free_ char *path = NULL;
    if (asprintf(&path, "%s/" CONFIG_FILE, chosen->bundle) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    json_t *config = json_loads(template, 0, NULL);
    if (config && chosen->rootless)
        make_rootless(config);
    _cleanup_free_ char *text = config ? json_dumps(config, JSON_INDENT(4)) : NULL;
    json_decref(config);
    if (!text)
        return error_set(err, EXIT_OURS, "out of memory");
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0 && errno == EEXIST)
        return error_set(err, EXIT_OURS, "%s exists; it is not overwritten", path);
    if (fd < 0 || io_write_all(fd, text, strlen(text)) < 0 || io_write_all(fd, "\n", 1) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot write %s", path);
    return 0;
}

const struct verb verb_spec = {
    .name = "spec",
    .group = CLI_GROUP_ENGINES,
    .synopsis = "[OPTIONS]",
    .summary = "Write a config.json to begin a bundle with",
    .options = options,
    .settings_size = sizeof(struct settings),
    .defaults = &defaults,
    .single_dash = true,
    .run = run_spec,
};

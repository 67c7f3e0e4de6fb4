/* The plan as text: a line a step, the verb first, as --dry-run prints it. */
#include "cleanup.h"
#include "parse_parts.h"

#include <sched.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "mount_options.h"

/* Text of bounded size; what does not fit is counted, as snprintf does. */
struct text {
    char *at;
    size_t size;
    int used;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
    size_t offset = (size_t)text->used < text->size ? (size_t)text->used : text->size;
    va_list arguments;
    va_start(arguments, format);
    int length =
        vsnprintf(text->size ? text->at + offset : NULL, text->size - offset, format, arguments);
    va_end(arguments);
    text->used += length > 0 ? length : 0;
}

/* A word as a shell would need it, so that spaces and control characters show. */
static void add_word(struct text *text, const char *word)
{
    bool plain = *word != '\0';
    for (const char *at = word; *at && plain; at++)
        plain = (unsigned char)*at > ' ' && *at != 0x7f && !strchr("'\"\\$`|&;<>()*?[]#~!{}", *at);
    if (plain) {
        add(text, "%s", word);
        return;
    }
    add(text, "'");
    for (const char *at = word; *at; at++) {
        unsigned char c = (unsigned char)*at;
        if (c == '\'')
            add(text, "'\\''");
        else if (c < ' ' || c == 0x7f)
            add(text, "\\x%02x", c);
        else
            add(text, "%c", c);
    }
    add(text, "'");
}

static void add_mount(struct text *text, const struct plan_step *step)
{
    const struct plan_mount *mount = &step->mount;
    if (mount->flags & MS_BIND)
        add_word(text, mount->source);
    else
        add(text, "%s", mount->type);
    if (!(mount->flags & MS_BIND) && mount->source && strcmp(mount->source, mount->type) != 0)
        add(text, " %s", mount->source);
    add(text, " on ");
    add_word(text, mount->target);
    char options[512];
    if (mount_options_describe(mount, options, sizeof options) > 0)
        add(text, " (%s)", options);
}

static void add_file(struct text *text, const struct plan_step *step)
{
    add_word(text, step->file.target);
    add(text, " (%zu bytes, mode %04o)", step->file.length, step->file.mode);
}

static void add_device(struct text *text, const struct plan_step *step)
{
    const struct plan_device *device = &step->device;
    char type = S_ISBLK(device->mode) ? 'b' : S_ISFIFO(device->mode) ? 'p' : 'c';
    add_word(text, device->path);
    add(text, " %c %u:%u (mode %04o", type, device->major, device->minor, device->mode & 07777);
    if (device->uid || device->gid)
        add(text, ", owner %u:%u", device->uid, device->gid);
    add(text, ")");
}

static void add_symlink(struct text *text, const struct plan_step *step)
{
    add(text, "%s -> %s", step->symlink.path, step->symlink.target);
}

static void add_path(struct text *text, const struct plan_step *step)
{
    add_word(text, step->path);
}

static void add_name(struct text *text, const struct plan_step *step)
{
    add_word(text, step->name);
}

static void add_sysctl(struct text *text, const struct plan_step *step)
{
    add(text, "%s = %s", step->sysctl.key, step->sysctl.value);
}

static void add_oom_score(struct text *text, const struct plan_step *step)
{
    add(text, "%d", step->oom_score.score);
}

static void add_personality(struct text *text, const struct plan_step *step)
{
    add(text, "%#lx", step->personality);
}

static void add_scheduler(struct text *text, const struct plan_step *step)
{
    add(text, "policy %u nice %d priority %u", step->scheduler.policy, step->scheduler.nice,
        step->scheduler.priority);
}

static void add_io_priority(struct text *text, const struct plan_step *step)
{
    add(text, "%#x", (unsigned int)step->io_priority);
}

static void add_umask(struct text *text, const struct plan_step *step)
{
    add(text, "%04o", step->umask);
}

static void add_limit(struct text *text, uint64_t limit)
{
    if (limit == RLIM_INFINITY)
        add(text, "unlimited");
    else
        add(text, "%llu", (unsigned long long)limit);
}

static void add_rlimit(struct text *text, const struct plan_step *step)
{
    add(text, "%s soft ", step->rlimit.name);
    add_limit(text, step->rlimit.soft);
    add(text, " hard ");
    add_limit(text, step->rlimit.hard);
}

static void add_user(struct text *text, const struct plan_step *step)
{
    const struct plan_user *user = &step->user;
    if (user->name) {
        add_word(text, user->name);
        add(text, " (resolved by the image's passwd and group)");
    } else {
        add(text, "uid %u gid %u", user->uid, user->gid);
    }
    for (size_t i = 0; i < user->additional_group_count; i++)
        add(text, "%s%u", i ? "," : " groups ", user->additional_groups[i]);
}

static void add_set(struct text *text, const char *name, uint64_t set)
{
    add(text, "%s%s", name, set ? "" : "none");
    bool first = true;
    for (int i = 0; i < 64; i++) {
        if (!(set >> i & 1))
            continue;
        const char *capability = capability_name(i);
        add(text, "%s%s", first ? "" : ",", capability ? capability + strlen("CAP_") : "?");
        first = false;
    }
}

/* A set that is as the one before is not repeated. */
static void add_capabilities(struct text *text, const struct plan_step *step)
{
    const struct plan_capabilities *sets = &step->capabilities;
    add_set(text, "", sets->bounding);
    if (sets->permitted != sets->bounding)
        add_set(text, " permitted ", sets->permitted);
    if (sets->effective != sets->permitted)
        add_set(text, " effective ", sets->effective);
    if (sets->inheritable)
        add_set(text, " inheritable ", sets->inheritable);
    if (sets->ambient)
        add_set(text, " ambient ", sets->ambient);
}

static void add_hook(struct text *text, const struct plan_step *step)
{
    add(text, "%s ", step->hook.kind);
    add_word(text, step->hook.path);
}

static void add_exec(struct text *text, const struct plan_step *step)
{
    for (size_t i = 0; step->exec.argv[i]; i++) {
        add(text, "%s", i ? " " : "");
        add_word(text, step->exec.argv[i]);
    }
}

/* How each kind of step reads: a verb, then either fixed words or what the step is about. */
static const struct {
    const char *verb;
    const char *words;
    void (*operands)(struct text *text, const struct plan_step *step);
} kinds[PLAN_STEP_KINDS] = {
    [PLAN_MOUNT] = { "mount", "", add_mount },
    [PLAN_FILE] = { "file", "", add_file },
    [PLAN_DEVICE] = { "device", "", add_device },
    [PLAN_SYMLINK] = { "symlink", "", add_symlink },
    [PLAN_CONSOLE] = { "console", "the terminal on /dev/console", NULL },
    [PLAN_HOOKS] = { "hooks", "prestart and createRuntime, outside", NULL },
    [PLAN_HOOK_CREATE] = { "hook", "", add_hook },
    [PLAN_ROOT] = { "root", "enter the new root, leave the old one", NULL },
    [PLAN_CWD_MAKE] = { "directory", "", add_path },
    [PLAN_MASK] = { "mask", "", add_path },
    [PLAN_READONLY_PATH] = { "read-only", "", add_path },
    [PLAN_READONLY_ROOT] = { "read-only", "/", NULL },
    [PLAN_SYSCTL] = { "sysctl", "", add_sysctl },
    [PLAN_HOSTNAME] = { "hostname", "", add_name },
    [PLAN_DOMAINNAME] = { "domainname", "", add_name },
    [PLAN_LOOPBACK_UP] = { "network", "loopback up", NULL },
    [PLAN_OOM_SCORE] = { "oom-score", "", add_oom_score },
    [PLAN_PERSONALITY] = { "personality", "", add_personality },
    [PLAN_SCHEDULER] = { "scheduler", "", add_scheduler },
    [PLAN_IO_PRIORITY] = { "io-priority", "", add_io_priority },
    [PLAN_RLIMIT] = { "rlimit", "", add_rlimit },
    [PLAN_UMASK] = { "umask", "", add_umask },
    [PLAN_USER] = { "user", "", add_user },
    [PLAN_CWD] = { "cwd", "", add_path },
    [PLAN_APPARMOR] = { "apparmor", "", add_name },
    [PLAN_SELINUX] = { "selinux", "", add_name },
    [PLAN_CAPABILITIES] = { "capabilities", "", add_capabilities },
    [PLAN_NO_NEW_PRIVS] = { "privileges", "no new ones, whatever is executed", NULL },
    [PLAN_HOOK_START] = { "hook", "", add_hook },
    [PLAN_SECCOMP] = { "seccomp", "load the filter", NULL },
    [PLAN_EXEC] = { "exec", "", add_exec },
    [PLAN_PAUSE] = { "pause", "hold the namespaces until SIGTERM or SIGINT", NULL },
};

enum { VERB_WIDTH = 13 };

int plan_step_describe(const struct plan_step *step, char *text, size_t size)
{
    struct text out = { text, size, 0 };
    if (size > 0)
        *text = '\0';
    add(&out, "%-*s%s", VERB_WIDTH, kinds[step->kind].verb, kinds[step->kind].words);
    if (kinds[step->kind].operands)
        kinds[step->kind].operands(&out, step);
    return out.used;
}

/* --- the whole plan -----------------------------------------------------------------------------
 */

static void print_namespaces(const struct plan *plan, FILE *out)
{
    static const struct {
        const char *name;
        int flag;
        enum plan_namespace index;
    } names[] = {
        { "mount", CLONE_NEWNS, PLAN_NS_MOUNT },      { "pid", CLONE_NEWPID, PLAN_NS_PID },
        { "ipc", CLONE_NEWIPC, PLAN_NS_IPC },         { "uts", CLONE_NEWUTS, PLAN_NS_UTS },
        { "network", CLONE_NEWNET, PLAN_NS_NETWORK }, { "cgroup", CLONE_NEWCGROUP, PLAN_NS_CGROUP },
        { "user", CLONE_NEWUSER, PLAN_NS_USER },      { "time", CLONE_NEWTIME, PLAN_NS_TIME },
    };
    (void)fprintf(out, "%-13s", "namespaces");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *path = plan->namespaces.path[names[i].index];
        if (plan->namespaces.create & names[i].flag)
            (void)fprintf(out, "%s ", names[i].name);
        else if (path)
            (void)fprintf(out, "%s=%s ", names[i].name, path);
    }
    (void)fputc('\n', out);
    for (size_t i = 0; i < plan->uid_map_count; i++)
        (void)fprintf(out, "%-13suids %u+%u are %u+ outside\n", "id-map",
                      plan->uid_maps[i].container, plan->uid_maps[i].size, plan->uid_maps[i].host);
    for (size_t i = 0; i < plan->gid_map_count; i++)
        (void)fprintf(out, "%-13sgids %u+%u are %u+ outside\n", "id-map",
                      plan->gid_maps[i].container, plan->gid_maps[i].size, plan->gid_maps[i].host);
}

static void print_limits(const struct plan_resources *resources, FILE *out)
{
    const struct {
        const char *name;
        int64_t value;
        const char *unit;
    } numbers[] = {
        { "memory", resources->memory_limit, " bytes" },
        { "memory and swap", resources->memory_swap, " bytes" },
        { "memory reservation", resources->memory_reservation, " bytes" },
        { "cpu shares", resources->cpu_shares, "" },
        { "cpu quota", resources->cpu_quota, " us" },
        { "cpu period", resources->cpu_period, " us" },
        { "processes", resources->pids_limit, "" },
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].value == PLAN_UNLIMITED)
            (void)fprintf(out, "%-13s%s unlimited\n", "limit", numbers[i].name);
        else if (numbers[i].value >= 0)
            (void)fprintf(out, "%-13s%s %lld%s\n", "limit", numbers[i].name,
                          (long long)numbers[i].value, numbers[i].unit);
    for (size_t i = 0; i < resources->setting_count; i++)
        (void)fprintf(out, "%-13s%s\n", "limit", resources->settings[i].what);
    for (int i = 0; i < PLAN_RATES; i++)
        if (resources->rates[i] > 0)
            (void)fprintf(out, "%-13s%s %lld a second\n", "limit",
                          rate_option((enum plan_rate)i) + strlen("--"),
                          (long long)resources->rates[i]);
    if (resources->cpuset_cpus)
        (void)fprintf(out, "%-13scpus %s\n", "limit", resources->cpuset_cpus);
    if (resources->cpuset_mems)
        (void)fprintf(out, "%-13smemory nodes %s\n", "limit", resources->cpuset_mems);
}

static void print_number(FILE *out, int64_t number)
{
    if (number < 0)
        (void)fputc('*', out);
    else
        (void)fprintf(out, "%lld", (long long)number);
}

static void print_devices(const struct plan_resources *resources, FILE *out)
{
    for (size_t i = 0; i < resources->device_count; i++) {
        const struct plan_device_rule *rule = &resources->devices[i];
        (void)fprintf(out, "%-13s%s %c ", "devices", rule->allow ? "allow" : "deny", rule->type);
        print_number(out, rule->major);
        (void)fputc(':', out);
        print_number(out, rule->minor);
        (void)fprintf(out, " %s%s%s\n", rule->read ? "r" : "", rule->write ? "w" : "",
                      rule->mknod ? "m" : "");
    }
}

/* The line of a step, however long it is; malloc'd, or NULL without memory. */
static char *line_of(const struct plan_step *step)
{
    int length = plan_step_describe(step, NULL, 0);
    char *line = malloc((size_t)length + 1);
    if (line)
        (void)plan_step_describe(step, line, (size_t)length + 1);
    return line;
}

static int print_step(const struct plan_step *step, FILE *out)
{
    _cleanup_free_ char *line = line_of(step);
    return line ? fprintf(out, "%s\n", line) : -1;
}

int plan_print(const struct plan *plan, FILE *out)
{
    print_namespaces(plan, out);
    print_limits(&plan->resources, out);
    print_devices(&plan->resources, out);
    for (size_t i = 0; i < plan->step_count; i++)
        if (print_step(&plan->steps[i], out) < 0)
            return -1;
    return ferror(out) ? -1 : 0;
}

json_t *plan_to_json(const struct plan *plan)
{
    json_auto_t *steps = json_array();
    for (size_t i = 0; i < plan->step_count; i++) {
        _cleanup_free_ char *line = line_of(&plan->steps[i]);
        if (!line)
            return NULL;
        json_t *step = json_pack("{s:s, s:s}", "step", kinds[plan->steps[i].kind].verb, "text",
                                 line + VERB_WIDTH);
        if (json_array_append_new(steps, step) < 0)
            return NULL;
    }
    json_auto_t *document = json_copy(plan->document);
    if (json_object_set(document, "steps", steps) < 0)
        return NULL;
    return json_incref(document);
}

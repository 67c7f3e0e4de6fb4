/*
 * From linux.seccomp to a BPF program, with libseccomp. In a file of its own: the guest's init
 * parses plans and must not link libseccomp. Specification: runtime-spec 1.2, config-linux.md,
 * "Seccomp".
 */
#include "cleanup.h"
#include "compose.h"
#include "json_read.h"
#include "seccomp_export.h"
#include "seccomp_native.h"

#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdlib.h>

#define PATH           "linux.seccomp"
#define ENTRIES(array) (sizeof(array) / sizeof *(array))

enum {
    OUTPUT_REVISION = 1, /* to be raised when this file makes another program of a profile */
    MAX_ERRNO = 4095,
    MAX_ARGUMENTS = 6,
    API_LEVEL = 6, /* all that a kernel from 5.7 on can do */
};

/* A name of the specification and what it stands for. */
struct named {
    const char *name;
    uint32_t value;
    bool takes_errno; /* actions only */
};

static const struct named actions[] = {
    { "SCMP_ACT_ALLOW", SCMP_ACT_ALLOW, false },
    { "SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0), true },
    { "SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD, false },
    { "SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD, false },
    { "SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS, false },
    { "SCMP_ACT_LOG", SCMP_ACT_LOG, false },
    { "SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY, false },
    { "SCMP_ACT_TRACE", SCMP_ACT_TRACE(0), true },
    { "SCMP_ACT_TRAP", SCMP_ACT_TRAP, false },
};

static const struct named comparisons[] = {
    { "SCMP_CMP_EQ", SCMP_CMP_EQ, false },
    { "SCMP_CMP_NE", SCMP_CMP_NE, false },
    { "SCMP_CMP_LT", SCMP_CMP_LT, false },
    { "SCMP_CMP_LE", SCMP_CMP_LE, false },
    { "SCMP_CMP_GT", SCMP_CMP_GT, false },
    { "SCMP_CMP_GE", SCMP_CMP_GE, false },
    { "SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ, false },
};

static const struct named filter_flags[] = {
    { "SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC, false },
    { "SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG, false },
    { "SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW, false },
    { "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, false },
};

/* 0: no machine that hybrid runs on can execute programs of it; rules for it would not be used. */
static const struct named architectures[] = {
    { "SCMP_ARCH_X86_64", SCMP_ARCH_X86_64, false },
    { "SCMP_ARCH_X86", SCMP_ARCH_X86, false },
    { "SCMP_ARCH_X32", SCMP_ARCH_X32, false },
    { "SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64, false },
    { "SCMP_ARCH_ARM", SCMP_ARCH_ARM, false },
    { "SCMP_ARCH_LOONGARCH64", 0, false },
    { "SCMP_ARCH_M68K", 0, false },
    { "SCMP_ARCH_MIPS", 0, false },
    { "SCMP_ARCH_MIPS64", 0, false },
    { "SCMP_ARCH_MIPS64N32", 0, false },
    { "SCMP_ARCH_MIPSEL", 0, false },
    { "SCMP_ARCH_MIPSEL64", 0, false },
    { "SCMP_ARCH_MIPSEL64N32", 0, false },
    { "SCMP_ARCH_PARISC", 0, false },
    { "SCMP_ARCH_PARISC64", 0, false },
    { "SCMP_ARCH_PPC", 0, false },
    { "SCMP_ARCH_PPC64", 0, false },
    { "SCMP_ARCH_PPC64LE", 0, false },
    { "SCMP_ARCH_RISCV64", 0, false },
    { "SCMP_ARCH_S390", 0, false },
    { "SCMP_ARCH_S390X", 0, false },
    { "SCMP_ARCH_SH", 0, false },
    { "SCMP_ARCH_SHEB", 0, false },
};

/* The state of one compilation. */
struct compiler {
    scmp_filter_ctx filter;
    uint32_t default_action;
    bool notifies; /* an agent decides about some system calls */
};

static void cleanup_filter(const struct compiler *compiler)
{
    if (compiler->filter)
        seccomp_release(compiler->filter);
}

/* The entry of that name, or NULL with *err, which then names the nearest one. */
static const struct named *find_named(const struct named *table, size_t count, const char *name,
                                      const char *path, const char *key, struct error *err)
{
    enum { MAX_NAMES = 32 };
    const char *names[MAX_NAMES + 1] = { NULL };
    for (size_t i = 0; i < count && i < MAX_NAMES; i++) {
        if (strcmp(name, table[i].name) == 0)
            return &table[i];
        names[i] = table[i].name;
    }
    const char *near = nearest_name(name, names);
    (void)error_set(err, EXIT_OURS, "%s.%s \"%.60s\" is unknown or not supported; %s %s", path, key,
                    name, near ? "did you mean" : "one of them is", near ? near : names[0]);
    return NULL;
}

/* --- actions ------------------------------------------------------------------------------------
 */

static int read_action(const json_t *parent, const char *path, const char *key,
                       const char *errno_key, uint32_t *action, struct error *err)
{
    const char *name = NULL;
    int64_t number = EPERM;
    int given = json_read_string(parent, path, key, &name, err);
    int numbered = json_read_integer(parent, path, errno_key, 0, MAX_ERRNO, &number, err);
    if (given < 0 || numbered < 0)
        return -1;
    if (!given)
        return json_read_refuse(path, key, "given", err);
    const struct named *found = find_named(actions, ENTRIES(actions), name, path, key, err);
    if (!found)
        return -1;
    if (numbered && !found->takes_errno)
        return error_set(err, EXIT_OURS, "%s.%s has no meaning with %s; remove it", path, errno_key,
                         name);
    *action = found->value | (found->takes_errno ? (uint32_t)number : 0);
    return 0;
}

/* Whether a system call without a rule of its own goes through. */
static bool permits(uint32_t action)
{
    return action == SCMP_ACT_ALLOW || action == SCMP_ACT_LOG;
}

static bool is_errno(uint32_t action)
{
    return (action & ~(uint32_t)SECCOMP_RET_DATA) == SCMP_ACT_ERRNO(0);
}

/* --- rules --------------------------------------------------------------------------------------
 */

static int read_argument(const json_t *entry, const char *path, struct scmp_arg_cmp *argument,
                         struct error *err)
{
    int64_t index = -1, value = -1, second = 0;
    const char *op = NULL;
    if (!json_is_object(entry))
        return error_set(err, EXIT_OURS, "%s must be an object", path);
    if (json_read_integer(entry, path, "index", 0, MAX_ARGUMENTS - 1, &index, err) < 0 ||
        json_read_integer(entry, path, "value", 0, INT64_MAX, &value, err) < 0 ||
        json_read_integer(entry, path, "valueTwo", 0, INT64_MAX, &second, err) < 0 ||
        json_read_string(entry, path, "op", &op, err) < 0)
        return -1;
    if (index < 0 || value < 0 || !op)
        return error_set(err, EXIT_OURS, "%s must have index, value and op", path);
    const struct named *found = find_named(comparisons, ENTRIES(comparisons), op, path, "op", err);
    if (!found)
        return -1;
    /* With MASKED_EQ, value is the mask and valueTwo what the masked argument must be. */
    *argument = (struct scmp_arg_cmp){ (unsigned int)index, (enum scmp_compare)found->value,
                                       (scmp_datum_t)value, (scmp_datum_t)second };
    return 0;
}

/* On the arguments of one rule. */
struct conditions {
    struct scmp_arg_cmp *list; /* malloc'd */
    unsigned int count;
    bool apart; /* each of them is enough */
};

static int read_conditions(const json_t *rule, const char *path, struct conditions *conditions,
                           struct error *err)
{
    json_t *entries = NULL;
    if (json_read_array(rule, path, "args", &entries, err) < 0)
        return -1;
    size_t index;
    const json_t *entry;
    unsigned int seen = 0;
    conditions->list = calloc(json_array_size(entries) + 1, sizeof *conditions->list);
    if (!conditions->list)
        return error_set(err, EXIT_OURS, "out of memory");
    json_array_foreach(entries, index, entry)
    {
        char where[96];
        struct scmp_arg_cmp *argument = &conditions->list[index];
        (void)snprintf(where, sizeof where, "%s.args[%zu]", path, index);
        if (read_argument(entry, where, argument, err) < 0)
            return -1;
        conditions->apart = conditions->apart || (seen & (1U << argument->arg));
        seen |= 1U << argument->arg;
    }
    conditions->count = (unsigned int)json_array_size(entries);
    return 0;
}

/*
 * The conditions of a rule must all hold. But where two of them are on the same argument, each of
 * them all is a rule of its own: any is enough. The specification is silent; libseccomp knows one
 * condition an argument; and runc and crun read such profiles so, since Docker's old ones listed
 * the allowed values of personality(2) in one rule. What allows thus allows more than all
 * conditions together would, what refuses refuses more. A policy's required filter looks at the
 * names of rules alone: no condition makes a closed call one that may be let through.
 */
static int add_conditions(struct compiler *compiler, uint32_t action, int number,
                          const struct conditions *conditions)
{
    if (!conditions->apart)
        return seccomp_rule_add_array(compiler->filter, action, number, conditions->count,
                                      conditions->list);
    int result = 0;
    for (unsigned int i = 0; i < conditions->count && result == 0; i++)
        result = seccomp_rule_add_array(compiler->filter, action, number, 1, &conditions->list[i]);
    return result;
}

/*
 * A name that libseccomp does not know cannot have a rule. Where it would have been allowed, it is
 * refused: as safe, and programs fall back. Where it would have been refused, the default must do
 * that, or the profile would be weaker than it says.
 */
static int check_unknown(const struct compiler *compiler, const char *path, const char *name,
                         uint32_t action, struct error *err)
{
    if (permits(action) || !permits(compiler->default_action))
        return 0;
    return error_set(err, EXIT_OURS,
                     "%s: system call \"%.60s\" is unknown here, so it cannot be "
                     "filtered; correct the name or remove it",
                     path, name);
}

static int add_names(struct compiler *compiler, const json_t *names, const char *path,
                     uint32_t action, const struct conditions *conditions, struct error *err)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(names, index, entry)
    {
        const char *name = json_string_value(entry);
        int number = seccomp_syscall_resolve_name(name);
        if (number == __NR_SCMP_ERROR) {
            if (check_unknown(compiler, path, name, action, err) < 0)
                return -1;
            continue;
        }
        int result = add_conditions(compiler, action, number, conditions);
        if (result < 0)
            return error_set_errno(err, EXIT_OURS, -result, "%s: cannot add a rule for %.60s", path,
                                   name);
    }
    return 0;
}

static int add_rule(struct compiler *compiler, const json_t *rule, const char *path,
                    struct error *err)
{
    json_t *names = NULL;
    uint32_t action = 0;
    struct conditions conditions = { 0 };
    if (!json_is_object(rule))
        return error_set(err, EXIT_OURS, "%s must be an object", path);
    if (json_read_strings(rule, path, "names", &names, err) < 0 ||
        read_action(rule, path, "action", "errnoRet", &action, err) < 0)
        return -1;
    if (json_array_size(names) == 0)
        return json_read_refuse(path, "names", "a list with at least one system call", err);
    compiler->notifies = compiler->notifies || action == SCMP_ACT_NOTIFY;
    int result = read_conditions(rule, path, &conditions, err);
    /* What happens anyway need not be said; libseccomp calls it an error. */
    if (result == 0 && action != compiler->default_action)
        result = add_names(compiler, names, path, action, &conditions, err);
    free(conditions.list);
    return result;
}

static int add_rules(struct compiler *compiler, const json_t *seccomp, struct error *err)
{
    json_t *rules = NULL;
    if (json_read_array(seccomp, PATH, "syscalls", &rules, err) < 0)
        return -1;
    size_t index;
    const json_t *rule;
    json_array_foreach(rules, index, rule)
    {
        char path[64];
        (void)snprintf(path, sizeof path, PATH ".syscalls[%zu]", index);
        if (add_rule(compiler, rule, path, err) < 0)
            return -1;
    }
    return 0;
}

/* --- architectures and flags --------------------------------------------------------------------
 */

static bool is_native(const char *name)
{
    static const char *const natives[] = { SECCOMP_NATIVE, SECCOMP_NATIVE_OTHERS };
    for (size_t i = 0; i < ENTRIES(natives); i++)
        if (strcmp(name, natives[i]) == 0)
            return true;
    return false;
}

static int add_architecture(const struct compiler *compiler, const char *name, struct error *err)
{
    const struct named *found =
        find_named(architectures, ENTRIES(architectures), name, PATH, "architectures", err);
    if (!found)
        return -1;
    if (!is_native(name))
        return 0;
    int result = seccomp_arch_add(compiler->filter, found->value);
    if (result < 0 && result != -EEXIST)
        return error_set_errno(err, EXIT_OURS, -result, PATH ".architectures: cannot add %s", name);
    return 0;
}

static int add_architectures(const struct compiler *compiler, const json_t *seccomp,
                             struct error *err)
{
    json_t *names = NULL;
    if (json_read_strings(seccomp, PATH, "architectures", &names, err) < 0)
        return -1;
    size_t index;
    const json_t *entry;
    json_array_foreach(names, index, entry) if (add_architecture(compiler, json_string_value(entry),
                                                                 err) < 0) return -1;
    return 0;
}

static int read_flags(const json_t *seccomp, unsigned int *flags, struct error *err)
{
    json_t *names = NULL;
    *flags = 0;
    if (json_read_strings(seccomp, PATH, "flags", &names, err) < 0)
        return -1;
    size_t index;
    const json_t *entry;
    json_array_foreach(names, index, entry)
    {
        const struct named *found = find_named(filter_flags, ENTRIES(filter_flags),
                                               json_string_value(entry), PATH, "flags", err);
        if (!found)
            return -1;
        *flags |= found->value;
    }
    return 0;
}

/* --- the program --------------------------------------------------------------------------------
 */

/*
 * Who asks an agent must say where it listens; without such rules the path means nothing
 * (config-linux.md, "listenerPath").
 */
static int use_listener(const json_t *seccomp, bool notifies, unsigned int *flags,
                        struct error *err)
{
    const char *path = NULL, *metadata = NULL;
    if (json_read_string(seccomp, PATH, "listenerPath", &path, err) < 0 ||
        json_read_string(seccomp, PATH, "listenerMetadata", &metadata, err) < 0)
        return -1;
    bool given = path && *path;
    if (metadata && *metadata && !given)
        return error_set(err, EXIT_OURS, PATH ".listenerMetadata needs a listenerPath");
    if (!notifies && (*flags & SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV))
        return error_set(err, EXIT_OURS,
                         PATH ".flags: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV has a meaning only "
                              "with SCMP_ACT_NOTIFY");
    if (!notifies)
        return 0;
    if (!given)
        return error_set(err, EXIT_OURS,
                         PATH ": SCMP_ACT_NOTIFY needs an agent that decides: say with "
                              "listenerPath where it listens");
    if (*path != '/')
        return json_read_refuse(PATH, "listenerPath", "an absolute path", err);
    *flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
    if (*flags & SECCOMP_FILTER_FLAG_TSYNC) /* only so can the kernel do both */
        *flags |= SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
    return 0;
}

int seccomp_compile(const json_t *seccomp, uint8_t **program, size_t *length, unsigned int *flags,
                    struct error *err)
{
    __attribute__((cleanup(cleanup_filter))) struct compiler compiler = { 0 };
    *program = NULL;
    *length = 0;
    *flags = 0;
    if (!seccomp || json_is_null(seccomp))
        return 0;
    if (!json_is_object(seccomp))
        return error_set(err, EXIT_OURS, PATH " must be an object");
    if (read_flags(seccomp, flags, err) < 0 ||
        read_action(seccomp, PATH, "defaultAction", "defaultErrnoRet", &compiler.default_action,
                    err) < 0)
        return -1;
    /* Without this, libseccomp asks the running kernel what it can do: not the guest's. */
    (void)seccomp_api_set(API_LEVEL);
    compiler.filter = seccomp_init(compiler.default_action);
    if (!compiler.filter)
        return error_set(err, EXIT_OURS, "cannot compile the seccomp filter: out of memory");
    /* 2: a binary tree over the numbers instead of one long list. */
    if (seccomp_attr_set(compiler.filter, SCMP_FLTATR_CTL_OPTIMIZE, 2) < 0)
        return error_set(err, EXIT_OURS, "libseccomp is too old: 2.5 or newer is needed");
    compiler.notifies = compiler.default_action == SCMP_ACT_NOTIFY;
    if (add_architectures(&compiler, seccomp, err) < 0 || add_rules(&compiler, seccomp, err) < 0 ||
        use_listener(seccomp, compiler.notifies, flags, err) < 0)
        return -1;
    return seccomp_export_program(compiler.filter, is_errno(compiler.default_action), program,
                                  length, err);
}

char *seccomp_cache_key(const json_t *seccomp)
{
    const struct scmp_version *version = seccomp_version();
    _cleanup_free_ char *profile = json_dumps(seccomp, JSON_COMPACT | JSON_SORT_KEYS);
    char *key = NULL;
    if (!profile || !version ||
        asprintf(&key, "revision %d, libseccomp %u.%u.%u, %s\n%s\n", OUTPUT_REVISION,
                 version->major, version->minor, version->micro, SECCOMP_NATIVE, profile) < 0)
        return NULL;
    return key;
}

static json_t *names_of(const struct named *table, size_t count)
{
    json_t *names = json_array();
    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(names, json_string(table[i].name));
    return names;
}

json_t *seccomp_features(void)
{
    return json_pack("{s:b, s:o, s:o, s:o, s:o, s:o}", "enabled", 1, "actions",
                     names_of(actions, ENTRIES(actions)), "operators",
                     names_of(comparisons, ENTRIES(comparisons)), "archs",
                     names_of(architectures, ENTRIES(architectures)), "knownFlags",
                     names_of(filter_flags, ENTRIES(filter_flags)), "supportedFlags",
                     names_of(filter_flags, ENTRIES(filter_flags)));
}

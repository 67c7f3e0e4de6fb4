#include "bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "listen.h"
#include "machine.h"
#include "pod.h"
#include "runtime/container/container.h"
#include "runtime/launch/make_plan.h"
#include "runtime/launch/run_policy.h"
#include "runtime/launch/workload.h"
#include "runtime/plan/compose.h"
#include "shown_text.h"

#define CONFIG_FILE          "config.json"
#define ISOLATION_ANNOTATION "hybrid.isolation"

enum { MAX_CONFIG = 16 * 1024 * 1024, MAX_TOLD = 5 };

static char *read_config(const char *path, struct error *err)
{
    _cleanup_close_ int fd = open(CONFIG_FILE, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0) {
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot open %s/" CONFIG_FILE, path);
        return NULL;
    }
    if (!S_ISREG(status.st_mode) || status.st_size > MAX_CONFIG) {
        (void)error_set(err, EXIT_OURS, "%s/" CONFIG_FILE " is no regular file of at most 16 MiB",
                        path);
        return NULL;
    }
    _cleanup_free_ char *text = calloc((size_t)status.st_size + 1, 1);
    if (!text || io_read_all(fd, text, (size_t)status.st_size) < 0) {
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot read %s/" CONFIG_FILE, path);
        return NULL;
    }
    return take_pointer(&text);
}

/* The name hybrid is called by and the annotation both may ask for a VM; the stronger wins. */
static int read_isolation(const struct runtime *runtime, const json_t *document, bool *vm,
                          struct error *err)
{
    const json_t *annotation =
        json_object_get(json_object_get(document, "annotations"), ISOLATION_ANNOTATION);
    const char *asked = json_is_string(annotation) ? json_string_value(annotation) : "container";
    *vm = strcmp(asked, "vm") == 0;
    if (annotation && !*vm && strcmp(asked, "container") != 0)
        return error_set(err, EXIT_OURS,
                         "annotations: " ISOLATION_ANNOTATION " must be \"container\" or \"vm\"");
    *vm |= strcmp(runtime->called_as, "hybrid-vm") == 0;
    return 0;
}

/* What was written into the configuration is what the state keeps. */
static int keep_text(struct bundle *bundle, const json_t *document, struct error *err)
{
    char *text = json_dumps(document, JSON_COMPACT);
    if (!text)
        return error_set(err, EXIT_OURS, "out of memory");
    free(bundle->config_text);
    bundle->config_text = text;
    return 0;
}

/* What only the policy may write into the configuration is not the bundle's to say. */
static int apply_policy(const struct runtime *runtime, const char *id, const struct pod *pod,
                        json_t *document, struct bundle *bundle, struct error *err)
{
    bool changed = policy_unpin(document);
    bool looks = pod_names_container(runtime, pod, document);
    const struct run_policy_part part = { .sandbox = pod->role == POD_SANDBOX,
                                          .guests = looks ? CLONE_NEWPID : 0 };
    if (run_policy_decide_bundle(runtime, id, document, &part, &bundle->vm, &bundle->policy, err) <
        0)
        return -1;
    /* Also if its sandbox has changed since. */
    if (looks && !bundle->vm)
        return error_set(err, EXIT_OURS,
                         "cannot run this bundle as a container: it is to share the processes of "
                         "one that runs in the VM of its pod; call hybrid-vm for the whole pod");
    return bundle->policy || changed ? keep_text(bundle, document, err) : 0;
}

/* In place of its image's program, a sandbox is a process of ours, with a filter of its own. */
static int make_sandbox(struct bundle *bundle, json_t *document, struct error *err)
{
    bundle->vm = false;
    bundle->sandbox = true;
    if (json_object_set_new(json_object_get(document, "linux"), "seccomp", plan_sandbox_filter()) <
        0)
        return error_set(err, EXIT_OURS,
                         "linux is missing in the configuration: a sandbox must have namespaces");
    return keep_text(bundle, document, err);
}

/* What isolation it has, and as which part of a pod. */
static int decide(const struct runtime *runtime, const char *id, json_t *document,
                  struct bundle *bundle, struct error *err)
{
    struct pod pod;
    struct error unclear; /* told where a VM is asked for: to a container a pod means nothing */
    int read = pod_read(id, document, &pod, &unclear);
    if (read_isolation(runtime, document, &bundle->vm, err) < 0 ||
        apply_policy(runtime, id, &pod, document, bundle, err) < 0)
        return -1;
    if (!bundle->vm)
        return read < 0 ? 0 : pod_check_container(runtime, &pod, err);
    if (read < 0) {
        *err = unclear;
        return -1;
    }
    if (pod.role == POD_SANDBOX)
        return make_sandbox(bundle, document, err);
    if (pod_join(runtime, &pod, document, &bundle->pod, err) < 0)
        return -1;
    return bundle->pod.sandbox ? keep_text(bundle, document, err) : 0;
}

static int check(const struct bundle *bundle, struct error *err)
{
    if (bundle->sandbox && pod_check_sandbox(&bundle->plan, err) < 0)
        return -1;
    return bundle->vm ? 0 : container_check_plan(&bundle->plan, err);
}

/* What the bundle's author wrote, for a terminal or a log: a line, cut between two characters. */
static void show_name(const char *name, char *shown, size_t size)
{
    size_t left = strlen(name), used = 0, length;
    for (; left > 0; name += length, left -= length) {
        size_t character = *name == '\n' ? 0 : shown_character(name, left);
        length = character > 0 ? character : 1;
        if (used + length + 1 > size)
            break;
        memcpy(shown + used, character > 0 ? name : "?", length);
        used += length;
    }
    shown[used] = '\0';
}

/* The names of all sets that are no capabilities, as keys: each once. New reference, or NULL. */
static json_t *find_unknown_capabilities(const json_t *document)
{
    json_t *sets = json_object_get(json_object_get(document, "process"), "capabilities");
    json_t *unknown = json_object(), *names, *entry;
    const char *set;
    size_t index;
    json_object_foreach(sets, set, names) json_array_foreach(names, index, entry)
    {
        const char *name = json_string_value(entry);
        if (name && capability_from_name(name) < 0)
            (void)json_object_set_new(unknown, name, json_true());
    }
    return unknown;
}

/* config.md: what cannot be mapped to a capability must be told as a warning, and grants nothing.
 */
static void note_unknown_capabilities(const struct runtime *runtime, const json_t *document)
{
    json_t *unknown = find_unknown_capabilities(document), *value;
    size_t count = json_object_size(unknown), told = 0;
    const char *name;
    char shown[64], text[192];
    json_object_foreach(unknown, name, value)
    {
        if (told++ == MAX_TOLD)
            break;
        show_name(name, shown, sizeof shown);
        (void)snprintf(text, sizeof text,
                       "process.capabilities: \"%s\" is no capability; it is left out", shown);
        runtime->note(runtime->log, text);
    }
    if (count > MAX_TOLD) {
        (void)snprintf(text, sizeof text,
                       "process.capabilities: %zu more names are no capabilities; they are left "
                       "out",
                       count - MAX_TOLD);
        runtime->note(runtime->log, text);
    }
    json_decref(unknown);
}

int bundle_load(const struct runtime *runtime, const char *id, const char *path, int listen_fds,
                struct bundle *bundle, struct error *err)
{
    *bundle = (struct bundle){ .path = realpath(path, NULL) };
    if (!bundle->path || chdir(bundle->path) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot enter the bundle %s", path);
    bundle->config_text = read_config(bundle->path, err);
    if (!bundle->config_text)
        return -1;
    json_error_t where;
    json_t *document = plan_load_json(bundle->config_text, &where);
    if (!document)
        return error_set(err, EXIT_OURS, "%s/" CONFIG_FILE ", line %d: %s", bundle->path,
                         where.line, where.text);
    if (decide(runtime, id, document, bundle, err) < 0) {
        json_decref(document);
        return -1;
    }
    if (bundle->vm && machine_leave_out_profile(json_object_get(document, "process")))
        runtime->note(runtime->log,
                      "process.apparmorProfile is left out: it would confine calls of this host's "
                      "kernel, and a process in a VM makes none");
    note_unknown_capabilities(runtime, document);
    if (listen_fds > 0 &&
        listen_fds_announce(json_object_get(document, "process"), listen_fds, err) < 0) {
        json_decref(document);
        return -1;
    }
    unsigned int flags = bundle->sandbox ? PLAN_PARSE_SANDBOX : 0;
    if (make_plan(runtime, document, flags, &bundle->plan, &bundle->filter, err) < 0)
        return -1;
    return check(bundle, err);
}

void bundle_free(struct bundle *bundle)
{
    plan_free(&bundle->plan);
    free(bundle->filter);
    free(bundle->config_text);
    free(bundle->path);
    json_decref(bundle->policy);
    pod_leave(&bundle->pod);
    *bundle = (struct bundle){ 0 };
}

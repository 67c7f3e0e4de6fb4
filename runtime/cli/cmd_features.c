/* hybrid features: what of the OCI runtime specification is there. Specification: features.md. */
#include <seccomp.h>
#include <string.h>

#include "runtime/plan/compose.h"
#include "runtime/plan/mount_options.h"
#include "verbs.h"

static json_t *capability_names(void)
{
    json_t *names = json_array();
    for (int i = 0; capability_name(i); i++)
        (void)json_array_append_new(names, json_string(capability_name(i)));
    return names;
}

static json_t *describe_linux(void)
{
    return json_pack("{s:o, s:o, s:{s:b, s:b, s:b, s:b, s:b}, s:o, s:{s:b}, s:{s:b}, s:{s:b}, "
                     "s:{s:{s:b}}}",
                     "namespaces", namespace_names(), "capabilities", capability_names(), "cgroup",
                     "v1", 1, "v2", 1, "systemd", 1, "systemdUser", 0, "rdma", 1, "seccomp",
                     seccomp_features(), "apparmor", "enabled", 1, "selinux", "enabled", 1,
                     "intelRdt", "enabled", 0, "mountExtensions", "idmap", "enabled",
                     MOUNT_IDMAP_SUPPORTED);
}

static json_t *describe_annotations(void)
{
    const struct scmp_version *seccomp = seccomp_version();
    char version[32];
    (void)snprintf(version, sizeof version, "%u.%u.%u", seccomp->major, seccomp->minor,
                   seccomp->micro);
    return json_pack("{s:s, s:s}", "hybrid.version", HYBRID_VERSION,
                     "io.github.seccomp.libseccomp.version", version);
}

static int run_features(const struct cli *cli, const void *settings, char **operands, size_t count,
                        struct error *err)
{
    (void)settings, (void)operands, (void)count;
    json_t *features = json_pack(
        "{s:s, s:s, s:[s, s, s, s, s, s], s:o, s:o, s:o, s:[s, s]}", "ociVersionMin", "1.0.0",
        "ociVersionMax", "1.2.0", "hooks", "prestart", "createRuntime", "createContainer",
        "startContainer", "poststart", "poststop", "mountOptions", mount_option_names(), "linux",
        describe_linux(), "annotations", describe_annotations(),
        "potentiallyUnsafeConfigAnnotations", "hybrid.", "org.systemd.property.");
    if (!features)
        return error_set(err, EXIT_OURS, "out of memory");
    cli_print_json(cli->out, features);
    json_decref(features);
    return 0;
}

const struct verb verb_features = {
    .name = "features",
    .group = CLI_GROUP_ENGINES,
    .synopsis = "",
    .summary = "Print what of the OCI runtime specification is supported, as JSON",
    .single_dash = true,
    .run = run_features,
};

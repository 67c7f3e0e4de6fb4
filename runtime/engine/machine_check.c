/* What a bundle can ask of the host that a machine with a kernel of its own cannot give. */
#include <jansson.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "machine.h"
#include "runtime/network/network.h"
#include "runtime/vm/vm.h"

static int refuse(const char *field, const char *why, struct error *err)
{
    return error_set(err, EXIT_OURS, VM_REFUSES "%s: %s; nothing weaker is done instead", field,
                     why);
}

/* A VM is joined to a namespace that exists or is made for it, but not to the host's own. */
static int check_network(const struct plan *plan, struct error *err)
{
    struct error why;
    const char *path = plan->namespaces.path[PLAN_NS_NETWORK];
    if (path && network_check_path(path, &why) < 0)
        return refuse("linux.namespaces: network", why.message, err);
    if (!path && !(plan->namespaces.create & CLONE_NEWNET))
        return refuse("linux.namespaces: network",
                      "a VM does not have the host's network; ask for a network namespace", err);
    /* One that is made may get interfaces yet: the back end looks, before it boots. */
    if (path && (plan->namespaces.create & CLONE_NEWUSER))
        return refuse("linux.namespaces: user",
                      "the network of a VM cannot belong to a user namespace; ask for a network "
                      "namespace without a path",
                      err);
    return 0;
}

static int check_namespaces(const struct plan *plan, bool in_pod, struct error *err)
{
    static const struct {
        enum plan_namespace kind;
        bool pods; /* a pod's containers share the guest's */
        const char *field;
    } kinds[] = {
        { PLAN_NS_PID, true, "linux.namespaces: pid" },
        { PLAN_NS_MOUNT, false, "linux.namespaces: mount" },
        { PLAN_NS_IPC, true, "linux.namespaces: ipc" },
        { PLAN_NS_UTS, true, "linux.namespaces: uts" },
        { PLAN_NS_USER, false, "linux.namespaces: user" },
        { PLAN_NS_CGROUP, false, "linux.namespaces: cgroup" },
        { PLAN_NS_TIME, false, "linux.namespaces: time" },
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (plan->namespaces.path[kinds[i].kind] && !(in_pod && kinds[i].pods))
            return refuse(kinds[i].field,
                          "a namespace of the host cannot be joined from within a VM", err);
    if (in_pod && !(plan->namespaces.create & CLONE_NEWPID) && !plan->namespaces.path[PLAN_NS_PID])
        return refuse("linux.namespaces: pid",
                      "in the VM of a pod each container must have one of its own, or join that of "
                      "its sandbox or of a container",
                      err);
    return check_network(plan, err);
}

/* Those that every container has, by the specification: the guest's kernel has them too. */
static bool is_default_device(const json_t *device)
{
    static const struct {
        json_int_t major, minor;
    } defaults[] = { { 1, 3 }, { 1, 5 }, { 1, 7 }, { 1, 8 }, { 1, 9 }, { 5, 0 }, { 5, 2 } };
    const char *type = json_string_value(json_object_get(device, "type"));
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++)
        if (type && strcmp(type, "c") == 0 &&
            json_integer_value(json_object_get(device, "major")) == defaults[i].major &&
            json_integer_value(json_object_get(device, "minor")) == defaults[i].minor)
            return true;
    return false;
}

static int check_devices(const struct plan *plan, struct error *err)
{
    const json_t *lin = json_object_get(plan->document, "linux"), *device;
    size_t index;
    json_array_foreach(json_object_get(lin, "devices"), index, device)
    {
        char field[256];
        if (is_default_device(device))
            continue;
        (void)snprintf(field, sizeof field, "linux.devices[%zu] (%.200s)", index,
                       json_string_value(json_object_get(device, "path")));
        return refuse(field, "a VM has none of the host's devices", err);
    }
    return 0;
}

static int check_hooks(const struct plan *plan, struct error *err)
{
    for (size_t i = 0; i < plan->step_count; i++) {
        enum plan_step_kind kind = plan->steps[i].kind;
        if (kind == PLAN_HOOK_CREATE || kind == PLAN_HOOK_START)
            return refuse(kind == PLAN_HOOK_CREATE ? "hooks.createContainer"
                                                   : "hooks.startContainer",
                          "it would run in the namespaces of a container, which are the guest's "
                          "here",
                          err);
    }
    return 0;
}

static int check_seccomp(const struct plan *plan, struct error *err)
{
    return plan->filter_flags & SECCOMP_FILTER_FLAG_NEW_LISTENER
               ? refuse("linux.seccomp: SCMP_ACT_NOTIFY",
                        "an agent of the host cannot decide about the calls of a guest", err)
               : 0;
}

/* The guest's kernel has no SELinux, and the host's does not see what is inside of the guest. */
static int check_labels(const struct plan *plan, struct error *err)
{
    static const char why[] = "a VM's kernel has no SELinux; remove it (podman: --security-opt "
                              "label=disable)";
    for (size_t i = 0; i < plan->step_count; i++)
        if (plan->steps[i].kind == PLAN_SELINUX)
            return refuse("process.selinuxLabel", why, err);
    return plan->mount_label && *plan->mount_label && access("/sys/fs/selinux/enforce", F_OK) == 0
               ? refuse("linux.mountLabel", why, err)
               : 0;
}

/* Other VMs are held to them by the host's cgroups. */
static int check_limits(const struct plan *plan, struct error *err)
{
    const struct plan_resources *resources = &plan->resources;
    const char *what = machine_find_unheld(resources);
    if (!what)
        return 0;
    if (resources->cpuset_cpus || resources->cpuset_mems)
        return refuse(
            what,
            "it names processors or memory of the host, and all containers of a pod run on "
            "those of its VM, which know no such numbers; take it out (kubelets: "
            "cpuManagerPolicy none, memoryManagerPolicy None), or limit the pod as a "
            "whole by its cgroup",
            err);
    return refuse(
        what,
        "the VM of a pod limits memory, processor time and number of processes of one "
        "container, and has no swap and no huge pages; take it out, or limit the pod as a "
        "whole by its cgroup",
        err);
}

int machine_check(const struct plan *plan, const struct workload_hold *hold, bool in_pod,
                  struct error *err)
{
    if (hold->keep_fds > 0)
        return refuse("--preserve-fds, or LISTEN_FDS as systemd sets it",
                      "descriptors cannot be passed into a VM", err);
    if (hold->no_cgroup)
        return refuse("--cgroup-manager=disabled", "a VM is bounded by its cgroup", err);
    if (check_seccomp(plan, err) < 0 || check_labels(plan, err) < 0 ||
        (in_pod && check_limits(plan, err) < 0))
        return -1;
    return check_namespaces(plan, in_pod, err) < 0 || check_devices(plan, err) < 0
               ? -1
               : check_hooks(plan, err);
}

bool machine_leave_out_profile(json_t *process)
{
    const char *profile = json_string_value(json_object_get(process, "apparmorProfile"));
    bool confines = profile && *profile && strcmp(profile, "unconfined") != 0;
    (void)json_object_del(process, "apparmorProfile");
    return confines;
}

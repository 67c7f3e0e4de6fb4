/* KVM, the programs and files that belong to hybrid or that it runs, the policy. */
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "doctor.h"
#include "runtime/policy/policy.h"
#include "runtime/program/program.h"
#include "runtime/vm/shares.h"
#include "runtime/vm/vm.h"

/* For information only: what KVM can do is what the probe says. */
static const char *kvm_flavour(void)
{
    static const char *const modules[][2] = {
        { "/sys/module/kvm_intel", "kvm_intel" },
        { "/sys/module/kvm_amd", "kvm_amd" },
        { "/sys/module/kvm_pvm", "kvm_pvm" },
    };
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
        if (access(modules[i][0], F_OK) == 0)
            return modules[i][1];
    return "of a kind that /sys/module does not name";
}

static bool is_virtual_machine(void)
{
    char line[4096];
    _cleanup_fclose_ FILE *file = fopen("/proc/cpuinfo", "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "flags", 5) == 0)
            return strstr(line, " hypervisor") != NULL;
    return false;
}

/* The message is "cannot start a VM: CAUSE; REMEDY". */
static void set_from_error(struct finding *finding, const char *message)
{
    static const char prefix[] = "cannot start a VM: ";
    if (strncmp(message, prefix, sizeof prefix - 1) == 0)
        message += sizeof prefix - 1;
    const char *remedy = strstr(message, "; ");
    int length = remedy ? (int)(remedy - message) : (int)strlen(message);
    finding_set(finding, FINDING_MISSING, remedy ? remedy + 2 : "mend what the rows above name",
                "%.*s", length, message);
}

static void look_kvm(const struct runtime *runtime, struct finding *finding)
{
    struct workload_paths paths = { .root = runtime->root, .exe_dir = runtime->exe_dir };
    struct error err = { 0 };
    _cleanup_close_ int fd = vm_open_kvm(&paths, &err);
    if (fd >= 0)
        finding_set(finding, FINDING_GOOD, NULL,
                    "the test guest ran: long mode, CPUID, SYSCALL to privilege level 0; %s%s",
                    kvm_flavour(), is_virtual_machine() ? ", nested in a virtual machine" : "");
    else
        set_from_error(finding, err.message);
}

static void look_guest(const struct runtime *runtime, struct finding *finding)
{
    static const struct {
        const char *name;
        int access;
    } files[] = { { "hybrid-vmm", X_OK },
                  { "hybrid-names", X_OK },
                  { "vmlinux", R_OK },
                  { "guest-root.erofs", R_OK } };
    char path[4096];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", runtime->exe_dir, files[i].name);
        if (access(path, files[i].access) < 0) {
            finding_set(finding, FINDING_MISSING, "install hybrid completely: make install",
                        "%s: %s", path, strerror(errno));
            return;
        }
    }
    finding_set(finding, FINDING_GOOD, NULL, "monitor, kernel and root file system are there");
}

static void look_images(const struct runtime *runtime, struct finding *finding)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/hybrid-image", runtime->exe_dir);
    const char *const argv[] = { path, "--help", NULL };
    const struct program program = {
        .what = "the program",
        .path = path,
        .argv = argv,
        .env = (const char *const *)environ,
        .timeout = 20,
    };
    struct error err = { 0 };
    if (access(path, X_OK) < 0)
        finding_set(finding, FINDING_MISSING, "install hybrid completely: make install",
                    "no image can be loaded: %s: %s", path, strerror(errno));
    else if (program_run(&program, "", NULL, &err) < 0) /* it is linked with the host's libraries */
        finding_set(finding, FINDING_MISSING, "install the libraries that `ldd` names for it",
                    "no image can be loaded: %s", doctor_plain(&err));
    else
        finding_set(finding, FINDING_GOOD, NULL, "hybrid-image is there");
}

static void look_disk(const struct runtime *runtime, struct finding *finding)
{
    (void)runtime;
    if (doctor_has_program("mke2fs"))
        finding_set(finding, FINDING_GOOD, NULL, "mke2fs is there");
    else
        finding_set(finding, FINDING_MISSING, "install e2fsprogs, or use --rm",
                    "a VM without --rm has no disk to write to: mke2fs is not there");
}

static void look_policy(const struct runtime *runtime, struct finding *finding)
{
    struct error err = { 0 };
    _cleanup_policy_ struct policy *policy = NULL;
    if (policy_load(runtime->policy, &policy, &err) < 0)
        finding_set(finding, FINDING_MISSING, "mend it: hybrid policy check FILE", "%s",
                    err.message);
    else if (policy)
        finding_set(finding, FINDING_GOOD, NULL, "%s, %zu rules", policy_name(policy),
                    policy_rule_count(policy));
    else
        finding_set(finding, FINDING_GOOD, NULL, "none: containers, unless --isolation=vm");
}

/* Containers need nothing for -v; a VM has the host's files served by a program. */
static void look_shares(const struct runtime *runtime, struct finding *finding)
{
    const char *package;
    const char *program = share_server_program(&package);
    char remedy[160];
    (void)runtime;
    (void)snprintf(remedy, sizeof remedy, "install %s, or use -v with containers only", package);
    if (program)
        finding_set(finding, FINDING_GOOD, NULL, "%s serves files of the host to VMs", program);
    else
        finding_set(finding, FINDING_NOTE, remedy,
                    "a VM cannot have files of the host (-v, bundles): virtiofsd is not there");
}

const struct check machine_checks[] = {
    { "kvm", NEEDED_BY_VM, look_kvm },
    { "guest", NEEDED_BY_VM, look_guest },
    { "disk", NEEDED_BY_VM, look_disk },
    { "images", NEEDED_BY_BOTH, look_images },
    { "store", NEEDED_BY_BOTH, doctor_look_store },
    { "policy", NEEDED_BY_BOTH, look_policy },
    { "shares", 0, look_shares },
    { 0 },
};

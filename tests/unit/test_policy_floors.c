/* The floors of a policy: what they write into a configuration, and what they refuse. */
/* link: policy plan */
#include "test_policy.h"

#define FLOORS(members) "{'version':1,'default':'container','rules':[],'floors':{" members "}}"
#define LIMITS          FLOORS("'limits':{'memory':'64m','cpus':0.5,'pids':10}")
#define VM_LIMITS       FLOORS("'isolation':'vm','limits':{'memory':'1g','cpus':2}")
#define RESOURCES(text) "{'process':{},'linux':{'resources':{" text "}}}"

#define REQUIRED FLOORS("'seccomp':'required'")
#define FILTER_OF(process, action, rules)                                                          \
    "{'process':" process ",'linux':{'seccomp':{'defaultAction':'SCMP_ACT_" action                 \
    "','syscalls':[" rules "]}}}"
#define FILTER(action, rules) FILTER_OF("{}", action, rules)
#define HOLDING(capability, rules)                                                                 \
    FILTER_OF("{'capabilities':{'bounding':['CAP_" capability "']}}", "ERRNO", rules)
#define RULE_OF(names, action) "{'names':['" names "'],'action':'SCMP_ACT_" action "'}"
#define HOOKS                                                                                      \
    FLOORS("'allowed_hooks':['/usr/bin','/no/such/program'],'denied_host_namespaces':['uts']")
#define HOOKED(kind, path)                                                                         \
    "{'process':{},'linux':{'namespaces':[{'type':'uts'}]},'hooks':{'" kind                        \
    "':[{'path':'/usr/bin/env'},{'path':'" path "'}]}}"
#define HOOKED_WITH(member)                                                                        \
    "{'process':{},'linux':{'namespaces':[{'type':'uts'}]},'hooks':{'poststop':"                   \
    "[{'path':'/etc/../usr/bin/env'," member "}]}}"
#define NAMED FLOORS("'allowed_hooks':[{'path':'/usr/bin/env','argv0':'one'}]")

#define HIDING                                                                                     \
    FLOORS("'masked_paths':['/proc/kcore','/sys/firmware'],'readonly_paths':['/proc/sys']")
#define SYSCTLS        FLOORS("'allowed_sysctls':['net.core.somaxconn','net.ipv4.conf.']")
#define PRIVATE        FLOORS("'denied_propagation':['shared']")
#define LINUX(members) "{'process':{},'linux':{" members "}}"
#define MOUNT(members) "{'process':{},'mounts':[{'destination':'/x'," members "}]}"
#define AT_ROOT(source)                                                                            \
    "{'process':{},'root':{'path':'rootfs','hybrid.resolved':'/b/rootfs'},'mounts':["              \
    "{'destination':'/x','type':'bind','source':'/l','hybrid.resolved':'" source "'}]}"
#define READONLY_SYS FLOORS("'readonly_paths':['/sys']")
#define CGROUPS_WITH(options)                                                                      \
    "[{'destination':'/sys/fs/cgroup','type':'cgroup','source':'cgroup','options':" options "}]"
#define CGROUPS(options) "{'process':{},'mounts':" CGROUPS_WITH(options) "}"

static const struct {
    const char *policy, *config, *path, *expected; /* expected NULL: refused */
} floor_cases[] = {
    { HIDING, "{'process':{}}", "linux/maskedPaths", "['/proc/kcore','/sys/firmware']" },
    { HIDING, LINUX("'maskedPaths':[],'readonlyPaths':null"), "linux/readonlyPaths",
      "['/proc/sys']" },
    { HIDING, LINUX("'maskedPaths':['/proc/keys','/proc/kcore']"), "linux/maskedPaths",
      "['/proc/keys','/proc/kcore','/sys/firmware']" },
    { HIDING, LINUX("'maskedPaths':'/proc/kcore'"), "linux", NULL },
    { HIDING,
      "{'process':{},'mounts':[{'destination':'/proc','type':'proc','source':'proc'},"
      "{'destination':'/sys','type':'sysfs'}]}",
      "linux/readonlyPaths", "['/proc/sys']" },
    { HIDING, MOUNT("'type':'proc','source':'proc'"), "linux", NULL },
    { HIDING, MOUNT("'type':'sysfs'"), "linux", NULL },
    { HIDING, "{'process':{},'mounts':[{'destination':'/proc/','type':'proc'}]}", "linux", NULL },
    { HIDING, MOUNT("'type':'bind','source':'/proc'"), "linux", NULL },
    { HIDING, MOUNT("'type':'bind','source':'/'"), "linux", NULL },
    { HIDING, MOUNT("'source':'/sys/firmware/dmi','options':['bind']"), "linux", NULL },
    { HIDING, MOUNT("'type':'overlay','source':'/a','options':['lowerdir=/proc']"), "linux", NULL },
    { HIDING, MOUNT("'type':'overlay','source':'/a','options':['lowerdir=a:b']"), "linux", NULL },
    { HIDING, MOUNT("'type':'ext4','source':'/a','options':['journal_path=a']"), "linux", NULL },
    { HIDING, MOUNT("'type':'debugfs','source':'/tmp'"), "linux", NULL },
    { HIDING, MOUNT("'type':'securityfs','source':'/tmp'"), "linux", NULL },
    { HIDING, MOUNT("'type':'bind','source':'/home'"), "linux/readonlyPaths", "['/proc/sys']" },
    { HIDING, AT_ROOT("/b/rootfs/proc/sys"), "linux", NULL },
    { HIDING, AT_ROOT("/b/rootfs"), "linux", NULL },
    { HIDING, AT_ROOT("/b"), "linux", NULL },
    { HIDING, AT_ROOT("/b/rootfs2"), "linux/readonlyPaths", "['/proc/sys']" },
    { FLOORS("'masked_paths':[]"), AT_ROOT("/b/rootfs"), "linux/maskedPaths", "[]" },
    { LIMITS, AT_ROOT("/b/rootfs/sys/fs/cgroup"), "linux", NULL },
    { LIMITS, AT_ROOT("/b/volume"), "process", "{}" },
    { HIDING, MOUNT("'type':'tmpfs','source':'tmpfs','options':['size=1m']"), "linux/readonlyPaths",
      "['/proc/sys']" },
    { READONLY_SYS, MOUNT("'type':'cgroup','source':'cgroup'"), "linux", NULL },
    { READONLY_SYS, MOUNT("'type':'cgroup2','source':'cgroup2','options':['ro']"), "linux", NULL },
    { READONLY_SYS, CGROUPS("['rw']"), "linux/readonlyPaths", "['/sys']" },
    { LIMITS, CGROUPS("['nosuid','rw']"), "mounts", CGROUPS_WITH("['nosuid','rw','ro']") },
    { LIMITS, CGROUPS("null"), "mounts", CGROUPS_WITH("['ro']") },
    { LIMITS, CGROUPS("['rw','ro']"), "mounts", CGROUPS_WITH("['rw','ro']") },
    { FLOORS("'masked_paths':['/proc/keys']"), CGROUPS("['rw']"), "mounts",
      CGROUPS_WITH("['rw']") },
    { LIMITS, MOUNT("'type':'bind','source':'/sys/fs/cgroup/a'"), "linux", NULL },
    { LIMITS, MOUNT("'type':'cgroup','source':'/sys','options':['rbind']"), "linux", NULL },
    { LIMITS, MOUNT("'type':'bind','source':'/home'"), "process", "{}" },
    { FLOORS("'masked_paths':[]"), LINUX("'maskedPaths':[]"), "linux/maskedPaths", "[]" },
    { SYSCTLS, LINUX("'sysctl':{'net.core.somaxconn':'1','net.ipv4.conf.all.rp_filter':'1'}"),
      "process", "{}" },
    { SYSCTLS,
      LINUX("'sysctl':{'net.ipv4.ping_group_range':'0 0',"
            "'net.ipv4.ip_unprivileged_port_start':'0'}"),
      "process", "{}" },
    { SYSCTLS, LINUX("'sysctl':{'net.core.somaxconn2':'1'}"), "linux", NULL },
    { SYSCTLS, LINUX("'sysctl':{'net.ipv4.configuration':'1'}"), "linux", NULL },
    { FLOORS("'allowed_sysctls':[]"), LINUX("'sysctl':{'kernel.shmmax':'1'}"), "linux", NULL },
    { FLOORS(""), LINUX("'sysctl':{'kernel.shmmax':'1'}"), "process", "{}" },
    { PRIVATE, LINUX("'rootfsPropagation':'shared'"), "linux", NULL },
    { PRIVATE, LINUX("'rootfsPropagation':'rshared'"), "linux", NULL },
    { PRIVATE, LINUX("'rootfsPropagation':'rslave'"), "process", "{}" },
    { FLOORS("'denied_propagation':['slave']"), LINUX("'rootfsPropagation':'rslave'"), "linux",
      NULL },
    { PRIVATE, MOUNT("'type':'bind','source':'/home','options':['rbind','rshared']"), "linux",
      NULL },
    { PRIVATE, MOUNT("'type':'bind','source':'/home','options':['rbind','rprivate']"), "process",
      "{}" },
    { LIMITS, RESOURCES(""), "linux/resources/memory", "{'limit':67108864,'swap':67108864}" },
    { VM_LIMITS, "{'process':{}}", "linux/resources/memory",
      "{'limit':268435456,'swap':268435456}" },
    { VM_LIMITS, "{'process':{}}", "linux/resources/cpu", "{'quota':100000,'period':100000}" },
    { VM_LIMITS, RESOURCES("'memory':{'limit':1073741824,'swap':1073741824}"),
      "linux/resources/memory", "{'limit':1073741824,'swap':1073741824}" },
    { LIMITS, "{'process':{}}", "linux/resources/pids", "{'limit':10}" },
    { LIMITS, "{'process':{}}", "linux/resources/cpu", "{'quota':50000,'period':100000}" },
    { LIMITS, RESOURCES("'memory':{'limit':-1,'swap':-1}"), "linux/resources/memory",
      "{'limit':67108864,'swap':67108864}" },
    { LIMITS, RESOURCES("'memory':{'limit':8388608}"), "linux/resources/memory",
      "{'limit':8388608,'swap':67108864}" },
    { LIMITS, RESOURCES("'memory':{'limit':8388608,'swap':8388608}"), "linux/resources/memory",
      "{'limit':8388608,'swap':8388608}" },
    { LIMITS, RESOURCES("'memory':{'limit':67108865}"), "linux", NULL },
    { LIMITS, RESOURCES("'memory':{'limit':'64m'}"), "linux", NULL },
    { LIMITS, RESOURCES("'pids':{'limit':10}"), "linux/resources/pids", "{'limit':10}" },
    { LIMITS, RESOURCES("'pids':{'limit':11}"), "linux", NULL },
    { LIMITS, RESOURCES("'cpu':{'quota':-1,'period':50000}"), "linux/resources/cpu",
      "{'quota':50000,'period':100000}" },
    { LIMITS, RESOURCES("'cpu':{'quota':25000,'period':50000}"), "linux/resources/cpu",
      "{'quota':25000,'period':50000}" },
    { LIMITS, RESOURCES("'cpu':{'quota':25001,'period':50000}"), "linux", NULL },
    { LIMITS, RESOURCES("'cpu':{'quota':9223372036854775807}"), "linux", NULL },
    { LIMITS, RESOURCES("'cpu':{'quota':1000,'burst':1}"), "linux", NULL },
    { LIMITS, RESOURCES("'unified':{'memory.max':'max'}"), "linux", NULL },
    { LIMITS, RESOURCES("'unified':{'pids.max':'max'}"), "linux", NULL },
    { LIMITS, RESOURCES("'unified':{'io.weight':'10'}"), "linux/resources/unified",
      "{'io.weight':'10'}" },
    { LIMITS, "{'process':{},'linux':[]}", "linux", NULL },
    { LIMITS, "{'linux':{}}", "linux", NULL },
    { FLOORS("'no_new_privileges':true"), "{'process':{}}", "process/noNewPrivileges", "true" },
    { FLOORS("'no_new_privileges':true"), "{'process':{'noNewPrivileges':false}}",
      "process/noNewPrivileges", "true" },
    { FLOORS(""), "{'process':{'noNewPrivileges':false}}", "process/noNewPrivileges", "false" },
    { FLOORS("'seccomp':'required'"), "{'process':{}}", "linux", NULL },
    { FLOORS("'seccomp':'required'"), "{'process':{},'linux':{'seccomp':{}}}", "linux", NULL },
    { REQUIRED, FILTER("ERRNO", ""), "linux/seccomp/defaultAction", "'SCMP_ACT_ERRNO'" },
    { REQUIRED, FILTER("KILL_PROCESS", ""), "linux/seccomp/syscalls", "[]" },
    { REQUIRED, FILTER("ALLOW", ""), "linux", NULL },
    { REQUIRED, FILTER("LOG", ""), "linux", NULL },
    { REQUIRED, FILTER("NOTIFY", ""), "linux", NULL },
    { REQUIRED, FILTER("TRACE", ""), "linux", NULL },
    { REQUIRED, FILTER("ERRNO", RULE_OF("mknod", "NOTIFY")), "process", "{}" },
    { REQUIRED, FILTER("ERRNO", RULE_OF("init_module", "NOTIFY")), "linux", NULL },
    { REQUIRED, FILTER("ERRNO", RULE_OF("read','userfaultfd", "LOG")), "linux", NULL },
    { REQUIRED, FILTER("ERRNO", RULE_OF("read", "ALLOW") "," RULE_OF("kexec_load", "TRACE")),
      "linux", NULL },
    { REQUIRED, FILTER("ERRNO", RULE_OF("kexec_load", "KILL")), "process", "{}" },
    { REQUIRED, HOLDING("SYS_BOOT", RULE_OF("kexec_load", "ALLOW")), "linux/seccomp/syscalls",
      "[" RULE_OF("kexec_load", "ALLOW") "]" },
    { REQUIRED, HOLDING("SYS_BOOT", RULE_OF("bpf", "ALLOW")), "linux", NULL },
    { REQUIRED, HOLDING("BPF", RULE_OF("bpf", "ALLOW")), "linux/seccomp/syscalls",
      "[" RULE_OF("bpf", "ALLOW") "]" },
    { FLOORS("'seccomp':'required','denied_capabilities':['BPF']"),
      HOLDING("BPF", RULE_OF("bpf", "ALLOW")), "linux", NULL },
    { FLOORS("'seccomp':'default'"), "{'process':{},'linux':{'seccomp':{}}}", "linux", NULL },
    { FLOORS("'denied_capabilities':['NET_RAW']"),
      "{'process':{'capabilities':{'bounding':['CAP_NET_RAW','CAP_KILL'],'ambient':"
      "['CAP_NET_RAW'],'inheritable':['CAP_KILL']}}}",
      "process/capabilities", "{'bounding':['CAP_KILL'],'ambient':[],'inheritable':['CAP_KILL']}" },
    { FLOORS("'denied_capabilities':['ALL']"),
      "{'process':{'capabilities':{'bounding':['CAP_NET_RAW','CAP_KILL']}}}",
      "process/capabilities", "{'bounding':[]}" },
    { HOOKS, HOOKED("prestart", "/usr/bin/env"), "process", "{}" },
    { HOOKS, HOOKED("prestart", "/etc/../usr/bin/env"), "process", "{}" },
    { HOOKS, HOOKED("poststop", "/etc/hostname"), "linux", NULL },
    { HOOKS, HOOKED("createContainer", "/usr/bin/../../etc/hostname"), "linux", NULL },
    { HOOKS, HOOKED("createRuntime", "usr/bin/env"), "linux", NULL },
    { HOOKS, HOOKED("poststart", "/no/such/program"), "linux", NULL },
    { HOOKS, HOOKED("startContainer", "/etc/hostname"), "process", "{}" },
    { HOOKS, HOOKED_WITH("'env':[]"), "process", "{}" },
    { HOOKS, HOOKED_WITH("'env':['LD_PRELOAD=/x.so']"), "process", NULL },
    { NAMED, HOOKED_WITH("'args':['one','two']"), "process", "{}" },
    { NAMED, HOOKED_WITH("'args':['two','one']"), "process", NULL },
    { NAMED, HOOKED_WITH("'args':[]"), "process", NULL },
    { HOOKS, HOOKED_WITH("'args':['x']"), "hooks/poststop",
      "[{'path':'/usr/bin/env','args':['x']}]" },
    { FLOORS(""), HOOKED_WITH("'args':['x']"), "hooks/poststop",
      "[{'path':'/usr/bin/env','args':['x']}]" },
    { FLOORS(""), HOOKED("poststop", "/no/such/program"), "hooks/poststop",
      "[{'args':['/usr/bin/env'],'path':'/usr/bin/env'},{'path':'/no/such/program'}]" },
    { FLOORS(""), HOOKED_WITH("'args':[]"), "hooks/poststop",
      "[{'path':'/usr/bin/env','args':['/etc/../usr/bin/env']}]" },
    { HOOKS, "{'process':{}}", "linux", NULL },
    { HOOKS, "{'process':{},'linux':{'namespaces':[{'type':'uts'}]}}", "process", "{}" },
};

static void test_floors(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS(floor_cases); i++) {
        struct policy *policy = policy_of(floor_cases[i].policy);
        struct policy_asked asked = { 0 };
        struct policy_decision decision;
        struct error err = { 0 };
        json_t *config = load(floor_cases[i].config), *hooks = policy_resolve_hooks(config);
        const struct policy_identity identity = { .hooks = hooks };
        int result = policy_enforce(policy, &identity, &asked, config, &decision, &err);
        if (result != (floor_cases[i].expected ? 0 : -1))
            fail_msg("row %zu: %d, %s", i, result, err.message);
        if (floor_cases[i].expected)
            assert_json(get(config, floor_cases[i].path), floor_cases[i].expected);
        policy_decision_free(&decision);
        policy_free(policy);
        json_decref(config);
        json_decref(hooks);
    }
}

/* What was asked for in so many words is refused, not mended. */
static void test_asked(void **state)
{
    (void)state;
    struct policy *policy =
        policy_of(FLOORS("'no_new_privileges':true,'denied_capabilities':['NET_RAW']"));
    const struct policy_asked table[] = {
        { .capabilities = UINT64_C(1) << capability_from_name("NET_RAW") },
        { .new_privileges = true },
        { .isolation = POLICY_VM },
    };
    for (size_t i = 0; i < ROWS(table); i++) {
        struct policy_identity identity = { 0 };
        struct policy_decision decision;
        json_t *config = load("{'process':{}}");
        assert_int_equal(policy_enforce(policy, &identity, &table[i], config, &decision, NULL),
                         i < 2 ? -1 : 0);
        policy_decision_free(&decision);
        json_decref(config);
    }
    policy_free(policy);
}

/* `update` changes what it names; what is not named stays. */
static void test_update(void **state)
{
    (void)state;
    static const struct {
        const char *resources;
        int result;
    } table[] = {
        { "{}", 0 },
        { "{'memory':{'limit':67108864}}", 0 },
        { "{'memory':{'limit':67108865}}", -1 },
        { "{'memory':{'limit':-1}}", -1 },
        { "{'memory':{'limit':0,'swap':0}}", 0 },
        { "{'memory':{'swap':-1}}", -1 },
        { "{'pids':{'limit':11}}", -1 },
        { "{'pids':{'limit':-1}}", -1 },
        { "{'cpu':{'quota':50000}}", 0 },
        { "{'cpu':{'quota':50001}}", -1 },
        { "{'cpu':{'quota':-1}}", -1 },
        { "{'cpu':{'period':1000}}", -1 },
        { "{'unified':{'cpu.max':'max'}}", -1 },
    };
    struct policy *policy = policy_of(LIMITS);
    for (size_t i = 0; i < ROWS(table); i++) {
        struct error err = { 0 };
        json_t *resources = load(table[i].resources), *copy = json_deep_copy(resources);
        if (policy_check_resources(policy, resources, &err) != table[i].result)
            fail_msg("%s: %s", table[i].resources, err.message);
        assert_true(json_equal(resources, copy)); /* checked only */
        json_decref(resources);
        json_decref(copy);
    }
    assert_int_equal(policy_check_resources(NULL, NULL, NULL), 0);
    policy_free(policy);
}

static void test_exec(void **state)
{
    (void)state;
    struct policy *policy =
        policy_of(FLOORS("'no_new_privileges':true,'denied_capabilities':['NET_RAW']"));
    json_t *process = load("{'capabilities':{'effective':['CAP_NET_RAW','CAP_KILL']}}");
    json_t *nothing = load("[]"), *config = load("{}");
    const struct policy_identity identity = { 0 };
    assert_int_equal(policy_enforce_process(policy, &identity, config, 0, process, NULL), 0);
    assert_json(process, "{'capabilities':{'effective':['CAP_KILL']},'noNewPrivileges':true}");
    struct error error;
    const uint64_t kill = 1U << 5, net_raw = 1U << 13;
    assert_int_equal(policy_enforce_process(policy, &identity, config, kill, process, NULL), 0);
    assert_int_equal(
        policy_enforce_process(policy, &identity, config, kill | net_raw, process, &error), -1);
    assert_non_null(strstr(error.message, "CAP_NET_RAW is denied; leave --cap out"));
    assert_int_equal(policy_enforce_process(policy, &identity, config, 0, nothing, NULL), -1);
    assert_int_equal(policy_enforce_process(NULL, &identity, config, 0, nothing, NULL), 0);
    json_decref(process);
    json_decref(nothing);
    json_decref(config);
    policy_free(policy);
}

/* In place of a VM, a pod's sandbox is told of, or refused; in place of a container it is none. */
static void test_pod_sandbox(void **state)
{
    static const struct {
        const char *policy;
        enum policy_isolation asked;
        int result;
        size_t notes;
    } table[] = {
        { FLOORS("'isolation':'vm'"), POLICY_AUTO, 0, 2 },
        { FLOORS("'denied_sandboxes':false"), POLICY_VM, 0, 1 },
        { FLOORS("'denied_sandboxes':true"), POLICY_VM, -1, 0 },
        { FLOORS("'denied_sandboxes':true"), POLICY_AUTO, 0, 0 },
    };
    (void)state;
    for (size_t i = 0; i < ROWS(table); i++) {
        struct policy *policy = policy_of(table[i].policy);
        const struct policy_identity identity = { .sandbox = true };
        const struct policy_asked asked = { .isolation = table[i].asked };
        struct policy_decision decision;
        struct error err = { 0 };
        json_t *config = load("{'process':{}}");
        assert_int_equal(policy_enforce(policy, &identity, &asked, config, &decision, &err),
                         table[i].result);
        assert_int_equal(json_array_size(decision.floors), table[i].notes);
        assert_int_equal(strstr(err.message, "denied_sandboxes") != NULL, table[i].result < 0);
        policy_decision_free(&decision);
        json_decref(config);
        policy_free(policy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_floors),      cmocka_unit_test(test_asked),
        cmocka_unit_test(test_update),      cmocka_unit_test(test_exec),
        cmocka_unit_test(test_pod_sandbox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

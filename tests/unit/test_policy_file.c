/* The policy's document, file and record. */
/* link: policy state plan */
#include "test_policy.h"

#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plan.h"
#include "runtime/state/tree.h"

#define TOP(members) "{'version':1,'rules':[],'default':'vm'" members "}"
#define MATCH(members)                                                                             \
    "{'version':1,'tenant_annotations':'t.','default':'vm','rules':[{'name':'n','isolation':'vm'," \
    "'match':{" members "}}]}"

static const struct {
    const char *text, *message; /* behind "the policy test: " */
} refused_cases[] = {
    { "[]", "the document must be an object" },
    { "{}", "version is missing" },
    { "{'version':2,'rules':[],'default':'vm'}", "version must be 1" },
    { "{'version':1,'rules':[]}", "default is missing" },
    { "{'version':1,'default':'vm'}", "rules is missing" },
    { "{'version':1,'rules':[],'default':'VM'}",
      "default must be one of \"container\", \"vm\", \"deny\"" },
    { "{'version':1,'rules':{},'default':'vm'}", "rules must be an array" },
    { "{'version':1,'default':'container','rules':[{'name':'n','match':{'pulled_from':['x/y']},"
      "'isolation':'vm'}]}",
      "rules[0].match.pulled_from: \"vm\" is more than the default, \"container\": another "
      "name "
      "of the same content would evade it; use digest or signature, or make the default the "
      "stricter one" },
    { TOP(",'floors':{'allowed_hooks':[{'path':'/a'}]}"),
      "floors.allowed_hooks[0].argv0 is missing" },
    { TOP(",'floors':{'masked_paths':['proc']}"),
      "floors.masked_paths[0] must be an absolute path without \"//\", \"/./\" and \"/../\"" },
    { TOP(",'floors':{'readonly_paths':'/sys'}"), "floors.readonly_paths must be an array" },
    { TOP(",'floors':{'allowed_sysctls':['net/core']}"),
      "floors.allowed_sysctls[0] must be a sysctl such as \"net.core.somaxconn\", or the beginning "
      "of some, such as \"net.ipv4.\"" },
    { TOP(",'floors':{'denied_propagation':['rshared']}"),
      "floors.denied_propagation[0] must be one of \"shared\", \"slave\"" },
    { TOP(",'ruels':[]"), "unknown key \"ruels\"; did you mean \"rules\"?" },
    { TOP(",'floors':{'memory':'1g'}"), "floors: unknown key \"memory\"" },
    { TOP(",'floors':null"), "floors must be an object" },
    { TOP(",'floors':{'limits':{'memory':512}}"),
      "floors.limits.memory must be a size of at least 6m, such as \"512m\"" },
    { TOP(",'floors':{'limits':{'memory':'1m'}}"),
      "floors.limits.memory must be a size of at least 6m, such as \"512m\"" },
    { TOP(",'floors':{'limits':{'cpus':0}}"),
      "floors.limits.cpus must be a number of processors from 0.01 to 8192" },
    { TOP(",'floors':{'limits':{'pids':-1}}"),
      "floors.limits.pids must be a whole number from 1 to 4194304" },
    { TOP(",'floors':{'isolation':'deny'}"),
      "floors.isolation must be one of \"container\", \"vm\"" },
    { TOP(",'floors':{'seccomp':true}"),
      "floors.seccomp must be one of \"required\", \"default\"" },
    { TOP(",'floors':{'no_new_privileges':1}"), "floors.no_new_privileges must be true or false" },
    { TOP(",'floors':{'denied_sandboxes':1}"), "floors.denied_sandboxes must be true or false" },
    { TOP(",'floors':{'denied_capabilities':['NET_RAV']}"),
      "floors.denied_capabilities[0] must be a capability, such as NET_RAW, or ALL" },
    { "{'version':1,'default':'vm','rules':[{'name':'n','match':{}}]}",
      "rules[0].isolation is missing" },
    { "{'version':1,'default':'vm','rules':[{'name':'','match':{},'isolation':'vm'}]}",
      "rules[0].name must be a text of at least one character" },
    { "{'version':1,'default':'vm','rules':[{'name':'n','match':{},'isolation':'vm'},"
      "{'name':'n','match':{},'isolation':'vm'}]}",
      "rules[0] and rules[1] are both named \"n\"" },
    { MATCH("'digets':[]"), "rules[0].match: unknown key \"digets\"; did you mean \"digest\"?" },
    { MATCH("'digest':['sha256:AB']"),
      "rules[0].match.digest[0] must be \"sha256:\" and 64 lower-case hexadecimal digits" },
    { MATCH("'digest':'sha256:x'"), "rules[0].match.digest must be an array" },
    { MATCH("'tenant':{'uid':['root']}"), "rules[0].match.tenant.uid[0] must be a user id" },
    { MATCH("'tenant':{'annotations':{'x':'y'}}"),
      "rules[0].match.tenant.annotations.x does not begin with tenant_annotations, the prefix "
      "that the callers are trusted with" },
    { MATCH("'mounts':['etc']"), "rules[0].match.mounts[0] must be an absolute path without "
                                 "\"//\", \"/./\" and \"/../\"" },
    { MATCH("'devices':['/dev/sda']"),
      "rules[0].match.devices[0] must be a device such as \"b 8:0\", \"c 10:*\" or \"a *:*\"" },
    { MATCH("'networks':['none']"),
      "rules[0].match.networks[0] must be one of \"joined\", \"host\"" },
    { MATCH("'labels':{}"),
      "rules[0].match.labels must be an object of at least one key and its text" },
    { MATCH("'signature':{'key':'x'}"),
      "rules[0].match.signature: unknown key \"key\"; did you mean \"keys\"?" },
    { MATCH("'signature':{}"), "rules[0].match.signature.keys is missing" },
    { MATCH("'signature':{'keys':['x.pem']}"),
      "rules[0].match.signature.keys[0] must be an absolute path without \"//\", \"/./\" and "
      "\"/../\"" },
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS(refused_cases); i++) {
        struct error err = { 0 };
        json_t *document = load(refused_cases[i].text);
        struct policy *policy = policy_parse(document, "test", &err);
        json_decref(document);
        if (policy)
            fail_msg("accepted: %s", refused_cases[i].text);
        assert_int_equal(err.exit_code, EXIT_OURS);
        assert_string_equal(err.message + strlen("the policy test: "), refused_cases[i].message);
    }
}

static void test_cgroup(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } table[] = {
        { "0::/user.slice/a\n", "/user.slice/a" },
        { "0::/\n", "/" },
        { "", "/" },
        { "nonsense\n", "/" },
        { "5:pids:/\n1:name=systemd:/b\n0::/\n", "/b" },
        { "5:pids:/a\n1:name=systemd:/b\n0::/c", "/c" },
        { "5:cpu,cpuacct:/a:b\n", "/a:b" },
    };
    char cgroup[64];
    for (size_t i = 0; i < ROWS(table); i++) {
        policy_cgroup_parse(table[i].text, cgroup, sizeof cgroup);
        assert_string_equal(cgroup, table[i].expected);
    }
}

/* --- files ---------------------------------------------------------------------------------------
 */

static const char *write_file(const char *directory, const char *name, const char *text,
                              mode_t mode)
{
    static char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    for (; *text; text++)
        (void)fputc(*text == '\'' ? '"' : *text, file);
    (void)fclose(file);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

static void assert_load(const char *path, const char *message)
{
    struct policy *policy = NULL;
    struct error err = { 0 };
    int result = policy_load(path, &policy, &err);
    if (!message) {
        if (result != 0)
            fail_msg("%s", err.message);
        assert_non_null(policy);
        policy_free(policy);
        return;
    }
    assert_int_equal(result, -1);
    assert_null(policy);
    if (!strstr(err.message, message))
        fail_msg("\"%s\" does not contain \"%s\"", err.message, message);
}

/* What the host knows of a configuration's paths: where they lead, and whose network they name. */
static void test_paths(void **state)
{
    (void)state;
    static const struct {
        const char *config, *expected; /* the only source; NULL: none */
        unsigned int host;             /* CLONE_NEW*: joined, and the host's */
    } table[] = {
        { "{'mounts':[{'source':'/proc/self/absent/../../../etc','type':'bind'}]}", NULL, 0 },
        { "{'root':{'path':'rootfs'}}", NULL, 0 },
        { "{'root':{'path':'./rootfs/../rootfs'}}", NULL, 0 },
        { "{'root':{'path':'link'}}", "/proc", 0 },
        { "{'root':{'path':'../../proc'}}", "/proc", 0 },
        { "{'root':{'path':'absent'}}", NULL, 0 },
        { "{'root':{'path':'/proc/..'}}", "/", 0 },
        { "{'mounts':[{'source':'/proc/sys/..'},{'source':'proc'},{}]}", "/proc", 0 },
        { "{'linux':{'namespaces':[{'type':'network'}]}}", NULL, 0 },
        { "{'linux':{'namespaces':[{'type':'network','path':''}]}}", NULL, 0 },
        { "{'linux':{'namespaces':[{'type':'network','path':'/proc/self/ns/uts'}]}}", NULL, 0 },
        { "{'linux':{'namespaces':[{'type':'network','path':'/proc/self/ns/net'}]}}", NULL,
          CLONE_NEWNET },
        { "{'linux':{'namespaces':[{'type':'network','path':'/proc/self/absent'}]}}", NULL,
          CLONE_NEWNET },
        { "{'linux':{'namespaces':[{'type':'pid','path':'/proc/1/ns/pid'},{'type':'uts'}]}}", NULL,
          CLONE_NEWPID },
        { "{'linux':{'namespaces':[{'type':'ipc','path':'/proc/self/ns/"
          "ipc'},{'type':'mount','path':"
          "'/proc/self/ns/mnt'}]}}",
          NULL, CLONE_NEWIPC | CLONE_NEWNS },
    };
    char base[] = "/tmp/test-policy-XXXXXX", back[PATH_MAX];
    assert_non_null(getcwd(back, sizeof back));
    assert_non_null(mkdtemp(base));
    assert_int_equal(chdir(base), 0);
    assert_int_equal(mkdir("rootfs", 0700), 0);
    assert_int_equal(symlink("/proc", "link"), 0);
    for (size_t i = 0; i < ROWS(table); i++) {
        struct error err = { 0 };
        json_t *config = load(table[i].config), *sources = policy_pin_mounts(config, true, &err);
        assert_non_null(sources);
        assert_int_equal(json_array_size(sources), table[i].expected ? 1 : 0);
        if (table[i].expected)
            assert_string_equal(json_string_value(json_array_get(sources, 0)), table[i].expected);
        assert_int_equal(policy_pin_namespaces(config), table[i].host);
        json_decref(sources);
        json_decref(config);
    }
    assert_int_equal(chdir(back), 0);
    assert_int_equal(tree_remove(base, NULL), 0);
}

/* What was judged is written beside the path; what a bundle wrote there itself is not heeded. */
static void test_pins(void **state)
{
    (void)state;
    static const struct {
        const char *config, *path, *expected; /* expected NULL: no member */
    } table[] = {
        { "{'root':{'path':'/proc/..'}}", "root", "/" },
        { "{'root':{'path':'absent/../../etc','hybrid.resolved':'/etc'}}", "root", "" },
        { "{'mounts':[{'source':'/proc/sys/..','type':'bind','hybrid.resolved':'/etc'}]}", "mount",
          "/proc" },
        { "{'mounts':[{'source':'/absent','type':'none','options':['rbind']}]}", "mount",
          "/absent" },
        { "{'mounts':[{'source':'/absent/../etc','type':'bind'}]}", "mount", "" },
        { "{'mounts':[{'source':'/dev/null','type':'ext4'}]}", "mount", "/dev/null" },
        { "{'mounts':[{'source':'/dev/null','type':'tmpfs','hybrid.resolved':'/etc'}]}", "mount",
          NULL },
        { "{'mounts':[{'source':'proc','type':'proc','hybrid.resolved':'/etc'}]}", "mount", NULL },
    };
    for (size_t i = 0; i < ROWS(table); i++) {
        struct error err = { 0 };
        json_t *config = load(table[i].config), *sources = policy_pin_mounts(config, true, &err);
        const json_t *object = strcmp(table[i].path, "root") == 0
                                   ? json_object_get(config, "root")
                                   : json_array_get(json_object_get(config, "mounts"), 0);
        const char *seen = json_string_value(json_object_get(object, PLAN_RESOLVED_KEY));
        assert_string_equal(seen ? seen : "(none)",
                            table[i].expected ? table[i].expected : "(none)");
        json_decref(sources);
        json_decref(config);
    }
    json_t *config = load("{'linux':{'namespaces':[{'type':'uts','path':'/proc/self/ns/ipc'},"
                          "{'type':'ipc','path':'/proc/self/ns/ipc','hybrid.notHosts':true}]}}");
    assert_int_equal(policy_pin_namespaces(config), CLONE_NEWIPC);
    const json_t *list = json_object_get(json_object_get(config, "linux"), "namespaces");
    assert_true(json_is_true(json_object_get(json_array_get(list, 0), PLAN_NOT_HOSTS_KEY)));
    assert_null(json_object_get(json_array_get(list, 1), PLAN_NOT_HOSTS_KEY));
    json_decref(config);
}

/* realpath("/proc/PID/root") is a path of the mount namespace of that process. */
static void test_links_of_procfs(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("SKIP: needs root, to make a mount namespace\n");
        skip();
    }
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
            mount("test", "/proc/driver", "tmpfs", 0, NULL) == 0 && chroot("/proc/driver") == 0 &&
            raise(SIGSTOP) == 0)
            pause();
        _exit(1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    static const char *const texts[] = {
        "{'mounts':[{'source':'/proc/%d/root','type':'bind'}]}",
        "{'root':{'path':'/proc/%d/root'}}",
    };
    for (size_t i = 0; i < ROWS(texts); i++) {
        char text[128];
        struct error err = { 0 };
        (void)snprintf(text, sizeof text, texts[i], (int)pid);
        json_t *config = load(text);
        assert_null(policy_pin_mounts(config, true, &err));
        assert_non_null(strstr(err.message, "cannot judge /proc/"));
        json_decref(config);
    }
    char text[128];
    (void)snprintf(text, sizeof text, "{'hooks':{'poststop':[{'path':'/proc/%d/root'}]}}",
                   (int)pid);
    json_t *config = load(text), *programs = policy_resolve_hooks(config);
    assert_json(programs, "['']");
    json_decref(programs);
    json_decref(config);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* Without a judgement of today there are none, whoever wrote them. */
static void test_unpin(void **state)
{
    (void)state;
    json_t *config =
        load("{'root':{'path':'r','hybrid.resolved':'/etc'},'mounts':[{'source':'/a',"
             "'hybrid.resolved':'/etc'}],'linux':{'namespaces':[{'hybrid.notHosts':true}]}}");
    assert_true(policy_unpin(config));
    assert_json(config, "{'root':{'path':'r'},'mounts':[{'source':'/a'}],"
                        "'linux':{'namespaces':[{}]}}");
    assert_false(policy_unpin(config));
    json_decref(config);
}

static void test_load(void **state)
{
    (void)state;
    char base[] = "/tmp/test-policy-XXXXXX", link[64];
    assert_non_null(mkdtemp(base));
    if (geteuid() != 0) {
        assert_load(write_file(base, "p", TOP(""), 0600), "not by root");
        assert_int_equal(tree_remove(base, NULL), 0);
        return;
    }
    assert_load(write_file(base, "p", TOP(""), 0644), NULL);
    assert_load(write_file(base, "p", TOP(""), 0664), "can be written by others");
    assert_load(write_file(base, "p", TOP(""), 0646), "can be written by others");
    assert_load(write_file(base, "p", "{", 0600), "is not valid JSON: line 1");
    assert_load(write_file(base, "p", "", 0600), "is not valid JSON");
    assert_load(write_file(base, "p", TOP(",'version':1"), 0600), "duplicate");
    assert_load(write_file(base, "p", TOP(",'x':1"), 0600), "unknown key \"x\"");
    const char *path = write_file(base, "p", TOP(""), 0600);
    assert_int_equal(chown(path, 1, 0), 0);
    assert_load(path, "owned by user 1");
    assert_int_equal(chown(path, 0, 0), 0);
    (void)snprintf(link, sizeof link, "%s/link", base);
    assert_int_equal(symlink(path, link), 0);
    assert_load(link, "a symbolic link is not followed");
    assert_load(base, "is not a regular file");
    assert_load("/tmp/test-policy-absent/p", "No such file");
    assert_int_equal(chmod(base, 0777), 0);
    assert_load(path, "the directory of the policy");
    assert_int_equal(tree_remove(base, NULL), 0);
}

static void test_audit(void **state)
{
    (void)state;
    char base[] = "/tmp/test-policy-XXXXXX", data[40], path[64], older[80];
    assert_non_null(mkdtemp(base));
    (void)snprintf(data, sizeof data, "%s/data", base); /* made when first needed */
    (void)snprintf(path, sizeof path, "%s/audit.jsonl", data);
    (void)snprintf(older, sizeof older, "%s.1", path);
    struct policy_identity identity = { .reference = "r", .cgroup = "/\xff" };
    struct policy_decision decision = { .isolation = POLICY_VM, .floors = json_array() };
    struct error err = { 0 };
    assert_int_equal(policy_audit(data, "id", &identity, &decision, &err), 0);
    assert_int_equal(access(path, F_OK), -1); /* no policy: nothing to record */
    decision.policy = "p";
    decision.rule = "rule";
    assert_int_equal(policy_audit(data, "id", &identity, &decision, &err), 0);
    json_t *entry = json_load_file(path, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(entry, "rule")), "rule");
    assert_string_equal(json_string_value(json_object_get(entry, "isolation")), "vm");
    assert_string_equal(json_string_value(json_object_get(entry, "image")), "r");
    json_decref(entry);
    assert_int_equal(truncate(path, POLICY_AUDIT_BYTES - 10), 0);
    assert_int_equal(policy_audit(data, "id", &identity, &decision, &err), 0);
    struct stat status;
    assert_int_equal(stat(older, &status), 0);
    assert_int_equal(status.st_size, POLICY_AUDIT_BYTES - 10);
    assert_int_equal(stat(path, &status), 0);
    assert_true(status.st_size < 1000);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(policy_audit(data, "id", &identity, &decision, &err), -1);
    policy_decision_free(&decision);
    assert_int_equal(tree_remove(base, NULL), 0);
}

/* --- what is shipped -----------------------------------------------------------------------------
 */

/* Every key of the schema is known to the parser: its own errors never call it unknown. The other
 * way round, refuse_key lists what the parser knows. */
static void test_schema(void **state)
{
    (void)state;
    static const struct {
        const char *properties, *before, *after;
    } places[] = {
        { "properties", "{", ":0}" },
        { "$defs/floors/properties", "{\"floors\":{", ":[[]]}}" },
        { "$defs/limits/properties", "{\"floors\":{\"limits\":{", ":[]}}}" },
        { "$defs/rule/properties", "{\"rules\":[{", ":0}]}" },
        { "$defs/match/properties", "{\"rules\":[{\"match\":{", ":0}}]}" },
        { "$defs/tenant/properties", "{\"rules\":[{\"match\":{\"tenant\":{", ":0}}}]}" },
    };
    json_t *schema = json_load_file("runtime/policy/policy.schema.json", 0, NULL);
    assert_non_null(schema);
    for (size_t i = 0; i < ROWS(places); i++) {
        const char *key;
        json_t *value;
        assert_true(json_object_size(get(schema, places[i].properties)) > 2);
        json_object_foreach(get(schema, places[i].properties), key, value)
        {
            char text[256];
            struct error err = { 0 };
            (void)snprintf(text, sizeof text, "%s\"%s\"%s", places[i].before, key, places[i].after);
            json_t *document = load(text);
            assert_int_equal(policy_check(document, &err), -1);
            if (strstr(err.message, "unknown key"))
                fail_msg("%s: %s", key, err.message);
            json_decref(document);
        }
    }
    json_decref(schema);
}

#define SHIPPED_LINUX(spaces)                                                                      \
    "{'linux':{'seccomp':{'defaultAction':'SCMP_ACT_ERRNO'},'namespaces':[" spaces "]}}"
#define SHIPPED_SPACES "{'type':'network'},{'type':'pid'},{'type':'ipc'},{'type':'uts'}"

static void test_shipped(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        uid_t uid;
        const char *config, *expected;
    } table[] = {
        { "developer", 0, NULL, "container default" },
        { "developer", 0, "{'mounts':[{'type':'bind','source':'/etc'}]}", "deny host-system" },
        { "developer", 0, "{'mounts':[{'type':'bind','source':'/'}]}", "deny host-system" },
        { "developer", 0, "{'mounts':[{'type':'bind','source':'/home/me'}]}", "container default" },
        { "developer", 0, "{'process':{'capabilities':{'bounding':['CAP_SYS_ADMIN']}}}",
          "vm powerful-capabilities" },
        { "developer", 0, SHIPPED_LINUX("{'type':'pid'}"), "vm host-network" },
        { "developer", 0, SHIPPED_LINUX("{'type':'network'},{'type':'ipc'}"), "deny default" },
        { "multi-tenant", 0, NULL, "vm default" },
        { "multi-tenant", 1000, NULL, "vm default" },
        { "multi-tenant", 0, "{'mounts':[{'type':'bind','source':'/run/docker.sock'}]}",
          "deny no-host-files" },
        { "multi-tenant", 0, "{'mounts':[{'type':'bind','source':'/var'}]}", "deny no-host-files" },
        { "multi-tenant", 0,
          "{'mounts':[{'type':'bind','source':'/var/lib/docker/containers/x/hosts'}]}",
          "vm default" },
        { "multi-tenant", 0, SHIPPED_LINUX("{'type':'network'},{'type':'pid'},{'type':'uts'}"),
          "deny default" },
        { "multi-tenant", 0, "{'mounts':[{'destination':'/p','type':'proc'}]}", "deny default" },
        { "multi-tenant", 0, "{'mounts':[{'destination':'/sys','type':'sysfs'}]}", "vm default" },
        { "multi-tenant", 0,
          "{'mounts':[{'type':'bind','source':'/srv','options':['bind','rshared']}]}",
          "deny default" },
        { "developer", 0, "{'mounts':[{'destination':'/p','type':'proc'}]}", "deny default" },
        { "multi-tenant", 0, "{'hooks':{'prestart':[{'path':'/usr/bin/env'}]}}", "deny default" },
        { "multi-tenant", 0, SHIPPED_LINUX(SHIPPED_SPACES ",{'type':'user','path':'/u'}"),
          "deny no-joined-processes" },
    };
    for (size_t i = 0; i < ROWS(table); i++) {
        char path[128], seen[128];
        (void)snprintf(path, sizeof path, "runtime/policy/%s.json", table[i].file);
        struct error err = { 0 };
        json_t *document = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
        struct policy *policy = policy_parse(document, path, &err);
        if (!policy)
            fail_msg("%s", err.message);
        json_t *config = load(SHIPPED_LINUX(SHIPPED_SPACES));
        json_object_set_new(config, "process", json_object());
        json_t *changes = load(table[i].config ? table[i].config : "{}");
        json_object_update(config, changes);
        struct policy_identity identity = { .uid = table[i].uid };
        struct policy_asked asked = { 0 };
        struct policy_decision decision;
        (void)policy_enforce(policy, &identity, &asked, config, &decision, &err);
        (void)snprintf(seen, sizeof seen, "%s %s", policy_isolation_name(decision.isolation),
                       decision.rule);
        assert_string_equal(seen, table[i].expected);
        policy_decision_free(&decision);
        policy_free(policy);
        json_decref(document);
        json_decref(config);
        json_decref(changes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_cgroup),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_pins),
        cmocka_unit_test(test_links_of_procfs),
        cmocka_unit_test(test_unpin),
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_audit),
        cmocka_unit_test(test_schema),
        cmocka_unit_test(test_shipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

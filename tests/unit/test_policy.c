/* The policy: a table of decisions. */
/* link: policy plan */
#include "test_policy.h"

#include <sched.h>

/* --- the table -----------------------------------------------------------------------------------
 */

#define MOUNT(source) "{'mounts':[{'destination':'/x','type':'bind','source':'" source "'}]}"
#define NODE(type, major, minor)                                                                   \
    "{'linux':{'devices':[{'path':'/dev/x','type':'" type "','major':" major ",'minor':" minor     \
    "}],"                                                                                          \
    "'namespaces':[{'type':'network'}]}}"
#define SPACES(list) "{'linux':{'namespaces':[" list "]}}"
#define OWN_SPACES                                                                                 \
    "{'type':'pid'},{'type':'ipc'},{'type':'uts'},{'type':'cgroup'},{'type':'network'}"
#define HOOK(kind, path) "{'hooks':{'" kind "':[{'path':'" path "'}]}}"
#define ALLOW(rule)                                                                                \
    "{'linux':{'resources':{'devices':[" rule "]},'namespaces':[{'type':'network'}]}}"

#define PULLED(name) .reference = (name), .pulled = true

static const struct decision_row {
    const char *policy;
    const char *config; /* changes of a configuration without requests; NULL: none */
    struct policy_identity identity;
    const char *expected; /* "isolation rule" */
} rows[] = {
    { RULES("container", ""), NULL, { 0 }, "container default" },
    { RULES("vm", ""), NULL, { 0 }, "vm default" },
    { RULES("deny", ""), NULL, { 0 }, "deny default" },
    { RULES("deny", ALL_CONTAINER), NULL, { 0 }, "container all" },
    /* digest */
    { RULES("vm", BY_DIGEST), NULL, { .digest = DIGEST }, "container d" },
    { RULES("vm", BY_DIGEST), NULL, { .digest = OTHER }, "vm default" },
    { RULES("vm", BY_DIGEST), NULL, { .digest = NULL }, "vm default" },
    { RULES("vm", BY_DIGEST), NULL, { .reference = DIGEST }, "vm default" },
    { RULES("vm", RULE("none", "'digest':[]", "container")),
      NULL,
      { .digest = DIGEST },
      "vm default" },
    /* where the store recorded that it was pulled from: what `tag` and `load` name does not count
     */
    { RULES("vm", BY_LIBRARY), NULL, { PULLED(LIBRARY) }, "container lib" },
    { RULES("vm", BY_LIBRARY), NULL, { .reference = LIBRARY }, "vm default" },
    { RULES("vm", BY_LIBRARY), NULL, { .pulled = true }, "vm default" },
    { RULES("vm", BY_LIBRARY), NULL, { PULLED("docker.io/library-evil/x:latest") }, "vm default" },
    { RULES("vm", BY_LIBRARY),
      NULL,
      { PULLED("evil.example/docker.io/library/x:1") },
      "vm default" },
    { RULES("vm", BY_LIBRARY), NULL, { .reference = NULL }, "vm default" },
    { RULES("vm", BY_SLASH), NULL, { PULLED("reg.example/team/app:1") }, "container team" },
    { RULES("vm", BY_SLASH), NULL, { PULLED("reg.example/teams/app:1") }, "vm default" },
    { RULES("vm", BY_NAME), NULL, { PULLED(LIBRARY) }, "container one" },
    { RULES("vm", BY_NAME), NULL, { PULLED(LIBRARY "er") }, "vm default" },
    { RULES("vm", BY_NAME), NULL, { PULLED(LIBRARY "@sha256:" DIGEST) }, "container one" },
    /* signature: keys are found by policy_find_signers */
    { RULES("vm", BY_KEY), "signers:['/k/a.pem']", { 0 }, "container signed" },
    { RULES("vm", BY_KEY), "signers:['/k/b.pem']", { 0 }, "vm default" },
    { RULES("vm", BY_KEY), NULL, { PULLED(LIBRARY) }, "vm default" },
    /* reference: a name, which can only strengthen */
    { RULES("vm", NAME_WEAK), NULL, { .reference = LIBRARY }, "vm default" },
    { RULES("vm", NAME_WEAK), NULL, { PULLED(LIBRARY) }, "vm default" },
    { RULES("deny", NAME_WEAK), NULL, { PULLED(LIBRARY) }, "deny default" },
    { RULES("container", NAME_VM), NULL, { .reference = LIBRARY }, "vm named" },
    { RULES("container", NAME_VM),
      NULL,
      { .reference = "docker.io/librarian/x:1" },
      "container default" },
    { RULES("deny", NAME_VM "," ALL_CONTAINER), NULL, { .reference = LIBRARY }, "vm named" },
    /* tenant */
    { RULES("vm", BY_UID), NULL, { .uid = 1000 }, "container u" },
    { RULES("vm", BY_UID), NULL, { .uid = 1001 }, "container u" },
    { RULES("vm", BY_UID), NULL, { .uid = 1002 }, "vm default" },
    { RULES("vm", BY_UID), NULL, { .uid = 0 }, "vm default" },
    { RULES("vm", BY_CGROUP), NULL, { .cgroup = "/user.slice/a" }, "container c" },
    { RULES("vm", BY_CGROUP), NULL, { .cgroup = "/user.slice/a/b" }, "container c" },
    { RULES("vm", BY_CGROUP), NULL, { .cgroup = "/user.slice/ab" }, "vm default" },
    { RULES("vm", BY_CGROUP), NULL, { .cgroup = "/" }, "vm default" },
    { RULES("vm", BY_CGROUP), NULL, { .cgroup = NULL }, "vm default" },
    { RULES("vm", BY_ANNOTATION), "annotations:{'tenant.name':'gold'}", { 0 }, "container a" },
    { RULES("vm", BY_ANNOTATION), "annotations:{'tenant.name':'tin'}", { 0 }, "vm default" },
    { RULES("vm", BY_ANNOTATION), "{'annotations':{'tenant.name':'gold'}}", { 0 }, "vm default" },
    { RULES("vm", BY_ANNOTATION), "labels:{'tenant.name':'gold'}", { 0 }, "vm default" },
    { RULES("vm", BY_BOTH), NULL, { .digest = DIGEST, .uid = 1000 }, "container b" },
    { RULES("vm", BY_BOTH), NULL, { .digest = DIGEST, .uid = 1 }, "vm default" },
    { RULES("vm", BY_BOTH), NULL, { .digest = OTHER, .uid = 1000 }, "vm default" },
    /* labels: only strengthen */
    { RULES("vm", LABEL_WEAK), "labels:{'trust':'yes'}", { 0 }, "vm default" },
    { RULES("deny", LABEL_WEAK), "{'annotations':{'trust':'yes'}}", { 0 }, "deny default" },
    { RULES("container", LABEL_WEAK), "labels:{'trust':'yes'}", { 0 }, "container weak" },
    { RULES("container", LABEL_VM), "labels:{'risk':'high'}", { 0 }, "vm lv" },
    { RULES("container", LABEL_VM), "{'annotations':{'risk':'high'}}", { 0 }, "vm lv" },
    { RULES("container", LABEL_VM), "labels:{'risk':'low'}", { 0 }, "container default" },
    { RULES("container", LABEL_DENY), "labels:{'risk':'low'}", { 0 }, "deny ld" },
    { RULES("container", LABEL_WEAK "," MOUNT_DENY), MOUNT("/etc"), { 0 }, "deny m" },
    { RULES("container", LABEL_VM "," LABEL_DENY), "labels:{'risk':'high'}", { 0 }, "deny ld" },
    { RULES("container", ALL_CONTAINER "," LABEL_DENY),
      "labels:{'risk':'high'}",
      { 0 },
      "container all" },
    { RULES("deny", LABEL_VM "," ALL_CONTAINER), "labels:{'risk':'high'}", { 0 }, "vm lv" },
    /* capabilities */
    { RULES("container", CAP_VM), "caps:['CAP_SYS_ADMIN']", { 0 }, "vm cap" },
    { RULES("container", CAP_VM), "caps:['CAP_BPF','CAP_CHOWN']", { 0 }, "vm cap" },
    { RULES("container", CAP_VM), "caps:['CAP_CHOWN']", { 0 }, "container default" },
    { RULES("container", CAP_DEFAULT), "caps:[]", { 0 }, "vm chown" },
    /* mounts */
    { RULES("container", MOUNT_DENY), MOUNT("/etc"), { 0 }, "deny m" },
    { RULES("container", MOUNT_DENY), MOUNT("/etc/passwd"), { 0 }, "deny m" },
    { RULES("container", MOUNT_DENY), MOUNT("/"), { 0 }, "deny m" },
    { RULES("container", MOUNT_DENY), MOUNT("/home/../etc"), { 0 }, "deny m" },
    { RULES("container", MOUNT_DENY), MOUNT("//etc"), { 0 }, "deny m" },
    { RULES("container", MOUNT_DENY), MOUNT("etc"), { 0 }, "deny m" },
    { RULES("container", MOUNT_DENY), MOUNT("/etcetera"), { 0 }, "container default" },
    { RULES("container", MOUNT_DENY), MOUNT("/home/me"), { 0 }, "container default" },
    { RULES("container", MOUNT_DENY),
      "{'mounts':[{'destination':'/p','type':'proc','source':'proc'}]}",
      { 0 },
      "container default" },
    { RULES("container", MOUNT_DENY),
      "{'mounts':[{'destination':'/p','type':'proc','source':'e','options':['rbind']}]}",
      { 0 },
      "deny m" },
    { RULES("container", MOUNT_DENY),
      "{'mounts':[{'destination':'/o','type':'overlay','options':['lowerdir=/etc:/usr']}]}",
      { 0 },
      "deny m" },
    { RULES("container", MOUNT_DENY),
      "{'mounts':[{'type':'overlay','source':'/tmp','options':['lowerdir=link:empty']}]}",
      { 0 },
      "deny m" },
    { RULES("container", MOUNT_DENY),
      "{'mounts':[{'type':'tracefs','source':'/tmp'}]}",
      { 0 },
      "deny m" },
    { RULES("container", MOUNT_DENY),
      "{'mounts':[{'destination':'/t','type':'tmpfs'}]}",
      { 0 },
      "container default" },
    { RULES("container", MOUNT_DENY), "resolved:['/etc']", { 0 }, "deny m" },
    { RULES("container", MOUNT_DENY), "{'root':{'path':'/'}}", { 0 }, "deny m" },
    { RULES("container", MOUNT_DENY), "{'root':{'path':'rootfs'}}", { 0 }, "container default" },
    /* devices */
    { RULES("container", DEVICE_VM), NODE("b", "8", "0"), { 0 }, "vm dev" },
    { RULES("container", DEVICE_VM), NODE("c", "10", "200"), { 0 }, "vm dev" },
    { RULES("container", DEVICE_VM), NODE("u", "10", "200"), { 0 }, "vm dev" },
    { RULES("container", DEVICE_VM), NODE("c", "1", "3"), { 0 }, "container default" },
    { RULES("container", DEVICE_VM), NODE("p", "1", "3"), { 0 }, "container default" },
    { RULES("container", DEVICE_VM), ALLOW("{'allow':true,'access':'rwm'}"), { 0 }, "vm dev" },
    { RULES("container", DEVICE_VM),
      ALLOW("{'allow':true,'type':'c','access':'m'}"),
      { 0 },
      "container default" },
    { RULES("container", DEVICE_VM),
      ALLOW("{'allow':false,'access':'rwm'}"),
      { 0 },
      "container default" },
    { RULES("container", DEVICE_DISK), NODE("b", "8", "1"), { 0 }, "deny disk" },
    { RULES("container", DEVICE_DISK), NODE("b", "9", "1"), { 0 }, "container default" },
    { RULES("container", DEVICE_DISK),
      ALLOW("{'allow':true,'type':'b','access':'r'}"),
      { 0 },
      "deny disk" },
    /* networks */
    { RULES("container", NETWORK_VM), "{'linux':{'namespaces':[]}}", { 0 }, "vm net" },
    { RULES("container", NETWORK_VM), NULL, { 0 }, "container default" },
    { RULES("container", NETWORK_JOINED),
      "{'linux':{'namespaces':[{'type':'network','path':'/n'}]}}",
      { 0 },
      "deny join" },
    { RULES("container", NETWORK_JOINED), NULL, { 0 }, "container default" },
    { RULES("container", NETWORK_VM),
      "{'linux':{'namespaces':[{'type':'network','path':'/n'}]}}",
      { 0 },
      "container default" },
    { RULES("container", NETWORK_VM),
      "{'linux':{'namespaces':[{'type':'network','path':'/n'}]}}",
      { .host_namespaces = CLONE_NEWNET },
      "vm net" },
    { RULES("container", NETWORK_JOINED),
      "{'linux':{'namespaces':[{'type':'network','path':'/n'}]}}",
      { .host_namespaces = CLONE_NEWNET },
      "deny join" },
    /* namespaces of the host: not named, or joined by a path that is the host's */
    { RULES("container", HOST_SPACES), SPACES(OWN_SPACES), { 0 }, "container default" },
    { RULES("container", HOST_SPACES),
      SPACES("{'type':'ipc'},{'type':'uts'}"),
      { 0 },
      "deny spaces" },
    { RULES("container", HOST_SPACES),
      SPACES("{'type':'pid'},{'type':'ipc'}"),
      { 0 },
      "container default" },
    { RULES("container", HOST_SPACES), "{'linux':{}}", { 0 }, "deny spaces" },
    { RULES("container", HOST_SPACES), "{'linux':7}", { 0 }, "deny spaces" },
    { RULES("container", HOST_SPACES),
      SPACES("{'type':'pid','path':'/p'},{'type':'ipc'}"),
      { 0 },
      "container default" },
    { RULES("container", HOST_SPACES),
      SPACES("{'type':'pid','path':'/p'},{'type':'ipc'}"),
      { .host_namespaces = CLONE_NEWPID },
      "deny spaces" },
    { RULES("container", JOINED_SPACES), SPACES(OWN_SPACES), { 0 }, "container default" },
    { RULES("container", JOINED_SPACES), SPACES("{'type':'pid','path':'/p'}"), { 0 }, "vm pod" },
    { RULES("container", JOINED_SPACES), SPACES("{'type':'mount','path':'/p'}"), { 0 }, "vm pod" },
    { RULES("container", JOINED_SPACES),
      SPACES("{'type':'uts','path':'/p'}"),
      { 0 },
      "container default" },
    /* hooks: by their path, and by where it leads */
    { RULES("container", HOOK_DENY), NULL, { 0 }, "container default" },
    { RULES("container", HOOK_DENY), HOOK("prestart", "/opt/a"), { 0 }, "deny hook" },
    { RULES("container", HOOK_DENY), HOOK("poststop", "/usr/bin/env"), { 0 }, "deny hook" },
    { RULES("container", HOOK_DENY), HOOK("createContainer", "/x/../opt/a"), { 0 }, "deny hook" },
    { RULES("container", HOOK_DENY), HOOK("createRuntime", "opt/a"), { 0 }, "deny hook" },
    { RULES("container", HOOK_DENY), HOOK("poststart", "/nowhere/at-all"), { 0 }, "deny hook" },
    { RULES("container", HOOK_DENY), HOOK("prestart", "/proc/self/root/opt"), { 0 }, "deny hook" },
    { RULES("container", HOOK_DENY),
      HOOK("prestart", "/etc/hostname"),
      { 0 },
      "container default" },
    { RULES("container", HOOK_DENY), HOOK("startContainer", "/opt/a"), { 0 }, "container default" },
    /* order */
    { RULES("deny", BY_DIGEST "," RULE("vmall", "", "vm")),
      NULL,
      { .digest = DIGEST },
      "container d" },
    { RULES("deny", BY_DIGEST "," RULE("vmall", "", "vm")), NULL, { .digest = OTHER }, "vm vmall" },
    { RULES("deny", RULE("vmall", "", "vm") "," BY_DIGEST),
      NULL,
      { .digest = DIGEST },
      "vm vmall" },
    { RULES("deny", MOUNT_DENY "," BY_DIGEST), MOUNT("/etc"), { .digest = DIGEST }, "deny m" },
    { RULES("deny", BY_DIGEST "," MOUNT_DENY), MOUNT("/etc"), { .digest = DIGEST }, "container d" },
};

/* Puts the row's changes where they belong. */
static json_t *apply_changes(const char *changes, struct policy_identity *identity)
{
    json_t *config = load("{'process':{},'linux':{'namespaces':[{'type':'network'}]}}");
    const char *colon = changes ? strchr(changes, ':') : NULL;
    if (!changes)
        return config;
    if (*changes == '{') {
        json_t *other = load(changes);
        json_object_update(config, other);
        json_decref(other);
    } else if (strncmp(changes, "annotations", 11) == 0) {
        identity->annotations = load(colon + 1);
    } else if (strncmp(changes, "labels", 6) == 0) {
        identity->image_labels = load(colon + 1);
    } else if (strncmp(changes, "signers", 7) == 0) {
        identity->signers = load(colon + 1);
    } else if (strncmp(changes, "resolved", 8) == 0) {
        identity->mount_sources = load(colon + 1);
    } else {
        json_t *set = json_pack("{s:o}", "bounding", load(colon + 1));
        json_object_set_new(json_object_get(config, "process"), "capabilities", set);
    }
    return config;
}

static void test_decisions(void **state)
{
    (void)state;
    assert_true(ROWS(rows) >= 60);
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct policy *policy = policy_of(rows[i].policy);
        struct policy_identity identity = rows[i].identity;
        struct policy_asked asked = { 0 };
        struct policy_decision decision;
        struct error err = { 0 };
        json_t *config = apply_changes(rows[i].config, &identity);
        identity.hooks = policy_resolve_hooks(config);
        int result = policy_enforce(policy, &identity, &asked, config, &decision, &err);
        char seen[128];
        (void)snprintf(seen, sizeof seen, "%s %s", policy_isolation_name(decision.isolation),
                       decision.rule);
        if (strcmp(seen, rows[i].expected) != 0)
            fail_msg("row %zu: %s, expected %s: %s %s", i, seen, rows[i].expected, rows[i].policy,
                     rows[i].config ? rows[i].config : "");
        assert_int_equal(result, strncmp(seen, "deny", 4) == 0 ? -1 : 0);
        json_decref((json_t *)identity.annotations);
        json_decref((json_t *)identity.image_labels);
        json_decref((json_t *)identity.mount_sources);
        json_decref((json_t *)identity.signers);
        json_decref((json_t *)identity.hooks);
        json_decref(config);
        policy_decision_free(&decision);
        policy_free(policy);
    }
}

/* --- what is asked for against what is given -----------------------------------------------------
 */

static void test_isolation_asked(void **state)
{
    (void)state;
    static const struct {
        const char *policy;
        enum policy_isolation asked;
        const char *expected;
    } table[] = {
        { NULL, POLICY_AUTO, "container" },
        { NULL, POLICY_CONTAINER, "container" },
        { NULL, POLICY_VM, "vm" },
        { RULES("container", ""), POLICY_AUTO, "container" },
        { RULES("container", ""), POLICY_CONTAINER, "container" },
        { RULES("container", ""), POLICY_VM, "vm" },
        { RULES("vm", ""), POLICY_AUTO, "vm" },
        { RULES("vm", ""), POLICY_VM, "vm" },
        { RULES("vm", ""), POLICY_CONTAINER, "deny" },
        { RULES("deny", ""), POLICY_VM, "deny" },
        { "{'version':1,'floors':{'isolation':'vm'},'rules':[],'default':'container'}", POLICY_AUTO,
          "vm" },
        { "{'version':1,'floors':{'isolation':'vm'},'rules':[],'default':'container'}",
          POLICY_CONTAINER, "deny" },
        { "{'version':1,'floors':{'isolation':'vm'},'rules':[],'default':'deny'}", POLICY_VM,
          "deny" },
    };
    for (size_t i = 0; i < ROWS(table); i++) {
        struct policy *policy = table[i].policy ? policy_of(table[i].policy) : NULL;
        struct policy_asked asked = { .isolation = table[i].asked };
        struct policy_identity identity = { 0 };
        struct policy_decision decision;
        struct error err = { 0 };
        json_t *config = apply_changes(NULL, &identity);
        (void)policy_enforce(policy, &identity, &asked, config, &decision, &err);
        assert_string_equal(policy_isolation_name(decision.isolation), table[i].expected);
        assert_int_equal(err.exit_code, strcmp(table[i].expected, "deny") == 0 ? EXIT_OURS : 0);
        policy_decision_free(&decision);
        policy_free(policy);
        json_decref(config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decisions),
        cmocka_unit_test(test_isolation_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

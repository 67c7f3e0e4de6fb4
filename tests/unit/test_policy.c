/* The policy: a table of decisions, and that no option weakens what it gives. */
/* link: policy plan */
#include "test_policy.h"

/* --- the table -----------------------------------------------------------------------------------
 */

#define DIGEST  "1111111111111111111111111111111111111111111111111111111111111111"
#define OTHER   "2222222222222222222222222222222222222222222222222222222222222222"
#define LIBRARY "docker.io/library/busybox:latest"

#define RULES(fallback, ...)                                                                       \
    "{'version':1,'tenant_annotations':'tenant.','rules':[" __VA_ARGS__ "],'default':'" fallback   \
    "'}"
#define RULE(name, match, isolation)                                                               \
    "{'name':'" name "','match':{" match "},'isolation':'" isolation "'}"

#define BY_DIGEST      RULE("d", "'digest':['sha256:" DIGEST "']", "container")
#define BY_LIBRARY     RULE("lib", "'reference':['docker.io/library']", "container")
#define BY_SLASH       RULE("team", "'reference':['reg.example/team/']", "container")
#define BY_NAME        RULE("one", "'reference':['docker.io/library/busybox:latest']", "container")
#define BY_UID         RULE("u", "'tenant':{'uid':[1000,1001]}", "container")
#define BY_CGROUP      RULE("c", "'tenant':{'cgroup':['/user.slice/a']}", "container")
#define BY_ANNOTATION  RULE("a", "'tenant':{'annotations':{'tenant.name':'gold'}}", "container")
#define BY_BOTH        RULE("b", "'digest':['sha256:" DIGEST "'],'tenant':{'uid':[1000]}", "container")
#define LABEL_WEAK     RULE("weak", "'labels':{'trust':'yes'}", "container")
#define LABEL_VM       RULE("lv", "'labels':{'risk':'high'}", "vm")
#define LABEL_DENY     RULE("ld", "'labels':{'risk':'*'}", "deny")
#define CAP_VM         RULE("cap", "'capabilities':['SYS_ADMIN','CAP_BPF']", "vm")
#define CAP_DEFAULT    RULE("chown", "'capabilities':['CHOWN']", "vm")
#define MOUNT_DENY     RULE("m", "'mounts':['/etc']", "deny")
#define DEVICE_VM      RULE("dev", "'devices':['a *:*']", "vm")
#define DEVICE_DISK    RULE("disk", "'devices':['b 8:*']", "deny")
#define NETWORK_VM     RULE("net", "'networks':['host']", "vm")
#define NETWORK_JOINED RULE("join", "'networks':['joined']", "deny")
#define ALL_CONTAINER  RULE("all", "", "container")

#define MOUNT(source) "{'mounts':[{'destination':'/x','type':'bind','source':'" source "'}]}"
#define NODE(type, major, minor)                                                                   \
    "{'linux':{'devices':[{'path':'/dev/x','type':'" type "','major':" major ",'minor':" minor     \
    "}],"                                                                                          \
    "'namespaces':[{'type':'network'}]}}"
#define ALLOW(rule)                                                                                \
    "{'linux':{'resources':{'devices':[" rule "]},'namespaces':[{'type':'network'}]}}"

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
    /* reference */
    { RULES("vm", BY_LIBRARY), NULL, { .reference = LIBRARY }, "container lib" },
    { RULES("vm", BY_LIBRARY),
      NULL,
      { .reference = "docker.io/library-evil/x:latest" },
      "vm default" },
    { RULES("vm", BY_LIBRARY),
      NULL,
      { .reference = "evil.example/docker.io/library/x:1" },
      "vm default" },
    { RULES("vm", BY_LIBRARY), NULL, { .reference = NULL }, "vm default" },
    { RULES("vm", BY_SLASH), NULL, { .reference = "reg.example/team/app:1" }, "container team" },
    { RULES("vm", BY_SLASH), NULL, { .reference = "reg.example/teams/app:1" }, "vm default" },
    { RULES("vm", BY_NAME), NULL, { .reference = LIBRARY }, "container one" },
    { RULES("vm", BY_NAME), NULL, { .reference = LIBRARY "er" }, "vm default" },
    { RULES("vm", BY_NAME), NULL, { .reference = LIBRARY "@sha256:" DIGEST }, "container one" },
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
      { .host_network = true },
      "vm net" },
    { RULES("container", NETWORK_JOINED),
      "{'linux':{'namespaces':[{'type':'network','path':'/n'}]}}",
      { .host_network = true },
      "deny join" },
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

/* --- no option weakens ---------------------------------------------------------------------------
 */

static const char *const policies[] = {
    RULES("container", LABEL_VM "," CAP_VM "," MOUNT_DENY "," BY_LIBRARY),
    RULES("vm", LABEL_WEAK "," BY_LIBRARY),
    RULES("vm", LABEL_WEAK "," CAP_DEFAULT),
    RULES("container", CAP_DEFAULT "," LABEL_WEAK),
    RULES("deny", RULE("w", "'labels':{'k':'*'},'capabilities':['ALL']", "container")),
    "{'version':1,'floors':{'isolation':'vm','no_new_privileges':true,'seccomp':'default',"
    "'denied_capabilities':['ALL'],'limits':{'memory':'64m','cpus':0.5,'pids':10}},'rules':[],"
    "'default':'container'}",
    "{'version':1,'floors':{'seccomp':'required','denied_capabilities':['NET_RAW','SYS_ADMIN'],"
    "'limits':{'memory':'1g','pids':100}},'rules':[" LABEL_VM "],'default':'container'}",
};

/* One choice of each option; the number chooses. */
static struct run_options options_of(unsigned int number, json_t *unconfining)
{
    static const char *const adds[] = { "SYS_ADMIN", "ALL", "NET_RAW", "CHOWN" };
    static const char *const drops[] = { "ALL", "CHOWN", "NET_RAW" };
    static const char *const labels[] = { "trust=yes", "risk=high", "risk=low", "k=v" };
    static const char *const security[] = { "seccomp=unconfined", "no-new-privileges",
                                            "no-new-privileges=false", "seccomp=file" };
    static const int64_t memory[] = { -1, 8 << 20, 64 << 20, (int64_t)4 << 30, INT64_MAX };
    static const double cpus[] = { 0, 0.1, 0.5, 8 };
    static const int64_t pids[] = { -1, 0, 5, 10, 100000 };
    static const char *const isolations[] = { "auto", "container", "vm" };
    static const char *list[4];
#define TAKE(count) (chosen = number % (count), number /= (count), chosen)
    unsigned int chosen;
    struct run_options options = defaults();
    unsigned int add = TAKE(ROWS(adds) + 1), drop = TAKE(ROWS(drops) + 1);
    unsigned int label = TAKE(ROWS(labels) + 1), kind = TAKE(ROWS(security) + 1);
    if (add > 0)
        options.cap_add = (struct option_list){ &list[0], 1 }, list[0] = adds[add - 1];
    if (drop > 0)
        options.cap_drop = (struct option_list){ &list[1], 1 }, list[1] = drops[drop - 1];
    if (label > 0)
        options.labels = (struct option_list){ &list[2], 1 }, list[2] = labels[label - 1];
    if (kind > 0)
        options.security = (struct option_list){ &list[3], 1 }, list[3] = security[kind - 1];
    if (kind == 4)
        options.seccomp_profile = unconfining;
    options.memory = memory[TAKE(ROWS(memory))];
    options.cpus = cpus[TAKE(ROWS(cpus))];
    options.pids_limit = pids[TAKE(ROWS(pids))];
    options.isolation = isolations[TAKE(ROWS(isolations))];
    return options;
}

enum { COMBINATIONS = 5 * 4 * 5 * 5 * 5 * 4 * 5 * 3 };

static enum policy_isolation decide(const struct policy *policy, const struct run_options *options,
                                    json_t **config)
{
    struct policy_identity identity = { .reference = LIBRARY, .digest = DIGEST };
    struct policy_asked asked = { .isolation = policy_isolation_from_name(options->isolation) };
    struct policy_decision decision;
    *config = compose("{'config':{'Labels':{'risk':'high'}}}", options, NULL);
    if (!*config) /* the options contradict each other: refused, policy or not */
        return POLICY_DENY;
    json_t *labels = load("{'risk':'high'}");
    identity.image_labels = labels;
    (void)policy_enforce(policy, &identity, &asked, *config, &decision, NULL);
    policy_decision_free(&decision);
    json_decref(labels);
    return decision.isolation;
}

/* Every restriction that the policy puts on a run without options holds with them. */
static void assert_no_weaker(const json_t *base, const json_t *with, unsigned int number)
{
    static const char *const limits[] = { "memory/limit", "memory/swap", "pids/limit" };
    const json_t *own = get(base, "linux/resources"), *other = get(with, "linux/resources");
    for (size_t i = 0; i < ROWS(limits); i++) {
        const json_t *limit = get(own, limits[i]), *chosen = get(other, limits[i]);
        if (limit && (!chosen || json_integer_value(chosen) > json_integer_value(limit)))
            fail_msg("combination %u: %s", number, limits[i]);
    }
    double quota = json_number_value(get(own, "cpu/quota"));
    if (quota > 0 &&
        (!get(other, "cpu/quota") || json_number_value(get(other, "cpu/quota")) > quota))
        fail_msg("combination %u: cpu", number);
    if (json_is_true(get(base, "process/noNewPrivileges")) &&
        !json_is_true(get(with, "process/noNewPrivileges")))
        fail_msg("combination %u: no_new_privileges", number);
}

static void assert_floors(const struct policy_floors *floors, const json_t *config,
                          unsigned int number)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(get(config, "process/capabilities/bounding"), index, entry)
    {
        if (floors->denied & (UINT64_C(1) << capability_from_name(json_string_value(entry))))
            fail_msg("combination %u: has %s", number, json_string_value(entry));
    }
    assert_true(json_equal(get(config, "process/capabilities/bounding"),
                           get(config, "process/capabilities/effective")));
    if (floors->seccomp != POLICY_SECCOMP_ANY && !get(config, "linux/seccomp"))
        fail_msg("combination %u: no filter", number);
    if (floors->seccomp == POLICY_SECCOMP_DEFAULT &&
        strcmp(json_string_value(get(config, "linux/seccomp/defaultAction")), "SCMP_ACT_ALLOW") ==
            0)
        fail_msg("combination %u: allows everything", number);
}

/* Every 251st combination: a prime that no number of choices is divided by. */
static void test_no_option_weakens(void **state)
{
    (void)state;
    json_t *unconfining = load("{'defaultAction':'SCMP_ACT_ALLOW'}");
    for (size_t i = 0; i < ROWS(policies); i++) {
        struct policy *policy = policy_of(policies[i]);
        struct run_options none = defaults();
        none.isolation = "auto";
        json_t *base;
        enum policy_isolation given = decide(policy, &none, &base);
        size_t allowed = 0;
        for (unsigned int n = (unsigned int)i; n < COMBINATIONS; n += 251) {
            struct run_options options = options_of(n, unconfining);
            json_t *config;
            enum policy_isolation with = decide(policy, &options, &config);
            if (with < given)
                fail_msg("policy %zu, combination %u: weaker isolation", i, n);
            if (with != POLICY_DENY) {
                assert_no_weaker(base, config, n);
                assert_floors(&policy->floors, config, n);
                allowed++;
            }
            json_decref(config);
        }
        assert_int_equal(given == POLICY_DENY, strstr(policies[i], "'default':'deny'") != NULL);
        assert_int_equal(allowed > 0, given != POLICY_DENY);
        json_decref(base);
        policy_free(policy);
    }
    json_decref(unconfining);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decisions),
        cmocka_unit_test(test_isolation_asked),
        cmocka_unit_test(test_no_option_weakens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

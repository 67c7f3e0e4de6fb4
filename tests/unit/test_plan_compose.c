/* From an image configuration and options to an OCI configuration: Docker's rules, as tables. */
/* link: plan */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "runtime/plan/compose.h"

#define ROWS(table) (sizeof(table) / sizeof *(table))
#define DOCKER_SET  UINT64_C(0xa80425fb)
#define ALL_SET     ((UINT64_C(1) << 41) - 1)
#define BIT(number) (UINT64_C(1) << (number))
#define LIST(...)                                                                                  \
    {                                                                                              \
        (const char *[]){ __VA_ARGS__ }, sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *)  \
    }

static const char *const no_command[] = { NULL };
static const char *const sh[] = { "sh", NULL };

static struct run_options defaults(void)
{
    return (struct run_options){
        .id = "0123456789abcdef",
        .memory = -1,
        .memory_swap = -1,
        .pids_limit = -1,
        .isolation = "container",
        .image = "test",
        .command = sh,
    };
}

/* JSON with single quotes, for readable tables. */
static json_t *load(const char *text)
{
    char copy[4096];
    assert_true(strlen(text) < sizeof copy);
    memcpy(copy, text, strlen(text) + 1);
    for (char *at = copy; *at; at++)
        if (*at == '\'')
            *at = '"';
    json_error_t error;
    json_t *value = json_loads(copy, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!value)
        fail_msg("%s: %s", error.text, text);
    return value;
}

static json_t *compose(const char *image, const struct run_options *options, struct error *error)
{
    json_t *document = load(image);
    json_t *config = oci_compose(document, options, error);
    json_decref(document);
    return config;
}

/* Composes and fails the test on an error. */
static json_t *compose_well(const char *image, const struct run_options *options)
{
    struct error error = { 0 };
    json_t *config = compose(image, options, &error);
    if (!config)
        fail_msg("%s", error.message);
    return config;
}

static void assert_refused(const char *image, const struct run_options *options,
                           const char *message)
{
    struct error error = { 0 };
    json_t *config = compose(image, options, &error);
    if (config) {
        json_decref(config);
        fail_msg("accepted, but expected: %s", message);
    }
    assert_string_equal(error.message, message);
    assert_int_equal(error.exit_code, EXIT_OURS);
}

/* The member of an object by a path of keys. */
static json_t *get(const json_t *from, const char *path)
{
    char copy[256];
    assert_true(strlen(path) < sizeof copy);
    memcpy(copy, path, strlen(path) + 1);
    char *rest = copy;
    json_t *at = (json_t *)from;
    for (const char *key; at && (key = strsep(&rest, "/"));)
        at = json_object_get(at, key);
    return at;
}

static void assert_json(const json_t *value, const char *expected)
{
    json_t *other = load(expected);
    if (!json_equal(value, other)) {
        char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
        fail_msg("%s, expected %s", text ? text : "absent", expected);
    }
    json_decref(other);
}

/* --- command ------------------------------------------------------------------------------------
 */

#define BOTH       "{'config':{'Entrypoint':['/entry','e'],'Cmd':['c1','c2']}}"
#define ENTRY      "{'config':{'Entrypoint':['/entry','e']}}"
#define CMD        "{'config':{'Cmd':['c1','c2']}}"
#define NONE       "{'config':{}}"
#define NO_COMMAND "no command specified: the image has none; write one after the image's name"
#define NO_COMMAND_CLEARED                                                                         \
    "no command specified: the image has none once --entrypoint clears its CMD; write one after "  \
    "the image's name"

static void test_command(void **state)
{
    static const struct {
        const char *image;
        const char *entrypoint; /* NULL: not given */
        bool arguments;         /* "sh" */
        const char *expected;   /* a JSON array, or the error */
    } rows[] = {
        { BOTH, NULL, false, "['/entry','e','c1','c2']" },
        { BOTH, NULL, true, "['/entry','e','sh']" },
        { BOTH, "/other", false, "['/other']" },
        { BOTH, "/other", true, "['/other','sh']" },
        { BOTH, "", false, NO_COMMAND_CLEARED },
        { BOTH, "", true, "['sh']" },
        { ENTRY, NULL, false, "['/entry','e']" },
        { ENTRY, NULL, true, "['/entry','e','sh']" },
        { ENTRY, "/other", false, "['/other']" },
        { ENTRY, "/other", true, "['/other','sh']" },
        { ENTRY, "", false, NO_COMMAND_CLEARED },
        { ENTRY, "", true, "['sh']" },
        { CMD, NULL, false, "['c1','c2']" },
        { CMD, NULL, true, "['sh']" },
        { CMD, "/other", false, "['/other']" },
        { CMD, "/other", true, "['/other','sh']" },
        { CMD, "", false, NO_COMMAND_CLEARED },
        { CMD, "", true, "['sh']" },
        { NONE, NULL, false, NO_COMMAND },
        { NONE, NULL, true, "['sh']" },
        { NONE, "/other", false, "['/other']" },
        { NONE, "/other", true, "['/other','sh']" },
        { NONE, "", false, NO_COMMAND_CLEARED },
        { NONE, "", true, "['sh']" },
        { "{}", NULL, true, "['sh']" },
        { "{'config':null}", NULL, true, "['sh']" },
        { "{'config':{'Entrypoint':null,'Cmd':null}}", NULL, false, NO_COMMAND },
        { "{'config':{'Entrypoint':[],'Cmd':['']}}", NULL, false, "['']" },
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct run_options options = defaults();
        options.entrypoint = rows[i].entrypoint;
        options.entrypoint_given = rows[i].entrypoint != NULL;
        options.command = rows[i].arguments ? sh : no_command;
        if (*rows[i].expected != '[') {
            assert_refused(rows[i].image, &options, rows[i].expected);
            continue;
        }
        json_t *config = compose_well(rows[i].image, &options);
        assert_json(get(config, "process/args"), rows[i].expected);
        json_decref(config);
    }
}

/* --- environment --------------------------------------------------------------------------------
 */

#define PATH_DEFAULT "'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'"
#define HOST         "'HOSTNAME=0123456789ab'"

static void test_environment(void **state)
{
    const struct {
        const char *image;
        struct option_list env;
        bool terminal;
        const char *expected;
    } rows[] = {
        { "[]", { 0 }, false, "[" PATH_DEFAULT "," HOST "]" },
        { "[]", { 0 }, true, "[" PATH_DEFAULT "," HOST ",'TERM=xterm']" },
        { "['PATH=/x','A=1']", { 0 }, false, "['PATH=/x'," HOST ",'A=1']" },
        { "['A=1','B=2']", LIST("A=9", "C=3"), false,
          "[" PATH_DEFAULT "," HOST ",'A=9','B=2','C=3']" },
        { "['A=1']", LIST("A"), false, "[" PATH_DEFAULT "," HOST "]" },
        { "['A=1','A=2']", { 0 }, false, "[" PATH_DEFAULT "," HOST ",'A=2']" },
        { "['TERM=dumb']", { 0 }, true, "[" PATH_DEFAULT "," HOST ",'TERM=dumb']" },
        { "['EMPTY=']", LIST("B=a=b", "C= x "), false,
          "[" PATH_DEFAULT "," HOST ",'EMPTY=','B=a=b','C= x ']" },
        { "[]", LIST("HOSTNAME=mine", "PATH=/y"), false, "['PATH=/y','HOSTNAME=mine']" },
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        char image[512];
        (void)snprintf(image, sizeof image, "{'config':{'Env':%s}}", rows[i].image);
        struct run_options options = defaults();
        options.env = rows[i].env;
        options.terminal = rows[i].terminal;
        json_t *config = compose_well(image, &options);
        assert_json(get(config, "process/env"), rows[i].expected);
        json_decref(config);
    }
}

/* --- one option, one member ---------------------------------------------------------------------
 */

static void test_members(void **state)
{
    const struct {
        const char *image;
        struct run_options options; /* what differs from the defaults */
        const char *path;
        const char *expected;
    } rows[] = {
        { NONE, { 0 }, "process/user", "{'uid':0,'gid':0,'username':'0'}" },
        { "{'config':{'User':''}}", { 0 }, "process/user", "{'uid':0,'gid':0,'username':'0'}" },
        { "{'config':{'User':'web:web'}}", { 0 }, "process/user/username", "'web:web'" },
        { "{'config':{'User':'web'}}",
          { .user = "1000:50" },
          "process/user/username",
          "'1000:50'" },
        { NONE, { 0 }, "process/cwd", "'/'" },
        { "{'config':{'WorkingDir':'/srv'}}", { 0 }, "process/cwd", "'/srv'" },
        { "{'config':{'WorkingDir':'/srv'}}", { .workdir = "/opt" }, "process/cwd", "'/opt'" },
        { NONE, { .terminal = true }, "process/terminal", "true" },
        { NONE, { 0 }, "process/noNewPrivileges", "false" },
        { NONE, { .security = LIST("no-new-privileges") }, "process/noNewPrivileges", "true" },
        { NONE, { .security = LIST("no-new-privileges:true") }, "process/noNewPrivileges", "true" },
        { NONE,
          { .security = LIST("no-new-privileges", "no-new-privileges=false") },
          "process/noNewPrivileges",
          "false" },
        { NONE, { 0 }, "process/oomScoreAdj", "0" },
        { NONE,
          { .ulimits = LIST("nofile=1:2", "core=-1", "nofile=5") },
          "process/rlimits",
          "[{'type':'RLIMIT_NOFILE','hard':5,'soft':5},{'type':'RLIMIT_CORE','hard':"
          "9223372036854775807,'soft':9223372036854775807}]" },
        { NONE, { 0 }, "hostname", "'0123456789ab'" },
        { NONE, { .hostname = "box.test" }, "hostname", "'box.test'" },
        { NONE, { .readonly = true }, "root/readonly", "true" },
        { NONE,
          { .memory = 67108864 },
          "linux/resources/memory",
          "{'limit':67108864,'swap':67108864}" },
        { NONE,
          { .memory = 67108864, .memory_swap = 134217728 },
          "linux/resources/memory",
          "{'limit':67108864,'swap':134217728}" },
        { NONE, { .cpus = 1.5 }, "linux/resources/cpu", "{'quota':150000,'period':100000}" },
        { NONE, { .cpuset_cpus = "0-3,5" }, "linux/resources/cpu", "{'cpus':'0-3,5'}" },
        { NONE, { .pids_limit = 20 }, "linux/resources/pids", "{'limit':20}" },
        { NONE,
          { .init = true },
          "annotations",
          "{'hybrid.isolation':'container','hybrid.image':'test','hybrid.init':'true'}" },
        { "{'config':{'Labels':{'a':'1','hybrid.init':'true'},'StopSignal':'SIGINT'}}",
          { .labels = LIST("b=2=3", "c"), .annotations = LIST("a=9") },
          "annotations",
          "{'a':'9','b':'2=3','c':'','org.opencontainers.image.stopSignal':'SIGINT',"
          "'hybrid.isolation':'container','hybrid.image':'test'}" },
        { "{'config':{'StopSignal':'SIGINT'}}",
          { .stop_signal = "9" },
          "annotations/org.opencontainers.image.stopSignal",
          "'9'" },
        { NONE,
          { .userns_map = { 0, 100000, 65536 } },
          "linux/uidMappings",
          "[{'containerID':0,'hostID':100000,'size':65536}]" },
        { NONE,
          { .userns_map = { 0, 100000, 65536 } },
          "linux/namespaces",
          "[{'type':'pid'},{'type':'network'},{'type':'mount'},{'type':'ipc'},{'type':'uts'},{"
          "'type':'cgroup'},{'type':'user'}]" },
        { NONE,
          { .userns_map = { 0, 100000, 65536 } },
          "linux/sysctl",
          "{'net.ipv4.ip_unprivileged_port_start':'0'}" },
        { NONE,
          { 0 },
          "linux/sysctl",
          "{'net.ipv4.ip_unprivileged_port_start':'0','net.ipv4.ping_group_range':'0 "
          "2147483647'}" },
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct run_options options = rows[i].options, usual = defaults();
        options.id = usual.id;
        options.isolation = usual.isolation;
        options.image = usual.image;
        options.command = usual.command;
        json_t *config = compose_well(rows[i].image, &options);
        assert_json(get(config, rows[i].path), rows[i].expected);
        json_decref(config);
    }
}

/* --- capabilities and seccomp -------------------------------------------------------------------
 */

static uint64_t set_of(const json_t *names)
{
    uint64_t set = 0;
    size_t index;
    const json_t *name;
    json_array_foreach(names, index, name) set |=
        BIT(capability_from_name(json_string_value(name)));
    return set;
}

static void test_capabilities(void **state)
{
    enum { CHOWN = 0, NET_ADMIN = 12, MKNOD = 27 };
    const struct {
        struct option_list add, drop;
        uint64_t expected;
    } rows[] = {
        { { 0 }, { 0 }, DOCKER_SET },
        { LIST("NET_ADMIN"), { 0 }, DOCKER_SET | BIT(NET_ADMIN) },
        { LIST("cap_net_admin"), LIST("MKNOD", "chown"),
          (DOCKER_SET | BIT(NET_ADMIN)) & ~BIT(MKNOD) & ~BIT(CHOWN) },
        { LIST("ALL"), { 0 }, ALL_SET },
        { LIST("all"), LIST("NET_ADMIN"), ALL_SET & ~BIT(NET_ADMIN) },
        { { 0 }, LIST("ALL"), 0 },
        { LIST("CHOWN"), LIST("ALL"), BIT(CHOWN) },
        { LIST("MKNOD"), LIST("MKNOD"), DOCKER_SET },
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct run_options options = defaults();
        options.cap_add = rows[i].add;
        options.cap_drop = rows[i].drop;
        json_t *config = compose_well(NONE, &options);
        static const char *const held[] = { "bounding", "effective", "permitted" };
        for (size_t n = 0; n < ROWS(held); n++)
            assert_true(set_of(json_object_get(get(config, "process/capabilities"), held[n])) ==
                        rows[i].expected);
        assert_null(get(config, "process/capabilities/inheritable"));
        assert_null(get(config, "process/capabilities/ambient"));
        json_decref(config);
    }
}

static void test_seccomp_choice(void **state)
{
    (void)state;
    struct run_options options = defaults();
    json_t *config = compose_well(NONE, &options);
    assert_json(get(config, "linux/seccomp/defaultAction"), "'SCMP_ACT_ERRNO'");
    json_decref(config);

    options.security = (struct option_list)LIST("seccomp=unconfined");
    config = compose_well(NONE, &options);
    assert_null(get(config, "linux/seccomp"));
    json_decref(config);

    options.security = (struct option_list)LIST("seccomp=profile.json");
    options.seccomp_profile = load("{'defaultAction':'SCMP_ACT_LOG'}");
    config = compose_well(NONE, &options);
    assert_json(get(config, "linux/seccomp/defaultAction"), "'SCMP_ACT_LOG'");
    json_decref(config);
    json_decref(options.seccomp_profile);
}

/* --- mounts -------------------------------------------------------------------------------------
 */

static const json_t *mount_on(const json_t *config, const char *target)
{
    size_t index;
    const json_t *mount;
    json_array_foreach(json_object_get(config, "mounts"), index,
                       mount) if (strcmp(json_string_value(json_object_get(mount, "destination")),
                                         target) == 0) return mount;
    return NULL;
}

static void test_mounts(void **state)
{
    static const char *const order[] = {
        "/proc",    "/dev", "/dev/pts",   "/sys",          "/sys/fs/cgroup",   "/dev/mqueue",
        "/dev/shm", "/run", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf",
    };
    (void)state;
    struct run_options options = defaults();
    options.tmpfs = (struct option_list)LIST("/run:size=64m,exec,ro");
    json_t *config = compose_well(NONE, &options);
    const json_t *mounts = json_object_get(config, "mounts");
    assert_int_equal(json_array_size(mounts), ROWS(order));
    for (size_t i = 0; i < ROWS(order); i++)
        assert_string_equal(
            json_string_value(json_object_get(json_array_get(mounts, i), "destination")), order[i]);
    assert_json(mount_on(config, "/run"),
                "{'destination':'/run','type':'tmpfs','source':'tmpfs','options':['rw','noexec',"
                "'nosuid','nodev','size=64m','exec','ro']}");
    assert_json(mount_on(config, "/etc/hosts"),
                "{'destination':'/etc/hosts','type':'file','options':[],'source':'127.0.0.1\\t"
                "localhost\\n::1\\tlocalhost ip6-localhost ip6-loopback\\n127.0.0.1\\t"
                "0123456789ab\\n'}");
    json_decref(config);
}

static void test_tmpfs_replaces_default(void **state)
{
    (void)state;
    struct run_options options = defaults();
    options.readonly = true;
    options.tmpfs = (struct option_list)LIST("/dev/shm/:size=1g");
    json_t *config = compose_well(NONE, &options);
    assert_json(json_object_get(mount_on(config, "/dev/shm"), "options"),
                "['rw','noexec','nosuid','nodev','size=1g']");
    assert_json(json_object_get(mount_on(config, "/etc/hostname"), "options"), "['ro']");
    json_decref(config);
}

/* --- refusals -----------------------------------------------------------------------------------
 */

static void test_refused_options(void **state)
{
    const struct {
        struct run_options options;
        const char *message;
    } rows[] = {
        { { .user = "" }, "--user \"\": write USER or USER:GROUP, names or numbers" },
        { { .user = ":5" }, "--user \":5\": write USER or USER:GROUP, names or numbers" },
        { { .user = "a:b:c" }, "--user \"a:b:c\": write USER or USER:GROUP, names or numbers" },
        { { .user = "a:" }, "--user \"a:\": write USER or USER:GROUP, names or numbers" },
        { { .user = "a b" }, "--user \"a b\": write USER or USER:GROUP, names or numbers" },
        { { .workdir = "opt" }, "--workdir \"opt\": must be an absolute path, such as /opt" },
        { { .workdir = "" }, "--workdir \"\": must be an absolute path" },
        { { .hostname = "bad name" },
          "--hostname \"bad name\": not a host name; use 1 to 64 letters, digits, dots and "
          "hyphens" },
        { { .env = LIST("=x") }, "--env \"=x\": no name; write NAME=VALUE" },
        { { .env = LIST("A=\xff") },
          "--env is not valid UTF-8, which an OCI configuration cannot carry" },
        { { .labels = LIST("=x") }, "--label \"=x\": no key; write KEY=VALUE" },
        { { .annotations = LIST("hybrid.init=true") },
          "--annotation hybrid.init=true: keys that begin with \"hybrid.\" are hybrid's own; "
          "choose "
          "another name" },
        { { .cap_add = LIST("NET_ADMN") },
          "--cap-add NET_ADMN: unknown capability; did you mean NET_ADMIN" },
        { { .cap_drop = LIST("") }, "--cap-drop : unknown capability; one of them is NET_ADMIN" },
        { { .cap_add = LIST("ALL"), .cap_drop = LIST("ALL") },
          "--cap-add ALL and --cap-drop ALL contradict each other; leave one out" },
        { { .security = LIST("secomp=unconfined") },
          "--security-opt secomp=unconfined: not supported; did you mean seccomp" },
        { { .security = LIST("apparmor=x") },
          "--security-opt apparmor=x: not supported; possible are seccomp=FILE, seccomp=unconfined "
          "and no-new-privileges[=true|false]" },
        { { .security = LIST("no-new-privileges=maybe") },
          "--security-opt no-new-privileges=maybe: the value must be true or false" },
        { { .security = LIST("seccomp=") },
          "--security-opt seccomp=: no value; write seccomp=FILE or seccomp=unconfined" },
        { { .ulimits = LIST("nofile=9:1") },
          "--ulimit nofile=9:1: the soft limit is above the hard limit" },
        { { .stop_signal = "SIGTREM" },
          "--stop-signal SIGTREM: unknown signal; did you mean TERM" },
        { { .memory = 4096 },
          "--memory: 4096 bytes are too few to start anything; the least is 6m" },
        { { .memory_swap = 67108864 }, "--memory-swap: only together with --memory" },
        { { .memory = 67108864, .memory_swap = 1 },
          "--memory-swap: 1 bytes are fewer than --memory (67108864); it counts memory plus swap" },
        { { .cpus = -1 }, "--cpus: -1 is not a number of CPUs from 0.01 to 8192" },
        { { .cpus = 1e300 * 1e300 }, "--cpus: inf is not a number of CPUs from 0.01 to 8192" },
        { { .cpuset_cpus = "0-" }, "--cpuset-cpus \"0-\": not a list of CPUs, such as 0-3,5" },
        { { .cpuset_cpus = "3-1" }, "--cpuset-cpus \"3-1\": not a list of CPUs, such as 0-3,5" },
        { { .cpuset_cpus = "" }, "--cpuset-cpus \"\": not a list of CPUs, such as 0-3,5" },
        { { .cpuset_cpus = "0, 1" }, "--cpuset-cpus \"0, 1\": not a list of CPUs, such as 0-3,5" },
        { { .pids_limit = -2 }, "--pids-limit -2: a number of processes, or -1 for no limit" },
        { { .tmpfs = LIST("run") },
          "--tmpfs run: the path must be absolute and without \"..\" or \"//\"" },
        { { .tmpfs = LIST("/a/../b") },
          "--tmpfs /a/../b: the path must be absolute and without \"..\" or \"//\"" },
        { { .tmpfs = LIST("/proc/sys") },
          "--tmpfs /proc/sys: /proc is the kernel's and must stay visible; choose another path" },
        { { .tmpfs = LIST("/") },
          "--tmpfs /: would hide files that every workload needs; choose a path below it" },
        { { .tmpfs = LIST("/t:noexce") },
          "--tmpfs /t:noexce: noexce is not an option of tmpfs; did you mean noexec" },
        { { .tmpfs = LIST("/t:colour=red") },
          "--tmpfs /t:colour=red: colour=red is not an option of tmpfs; one of them is size=64m" },
        { { .tmpfs = LIST("/t:size=big") },
          "--tmpfs /t:size=big: size=big is not valid; write it like size=64m or size=50%" },
        { { .tmpfs = LIST("/t:bind") },
          "--tmpfs /t:bind: bind has no meaning for a new file system; remove it" },
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct run_options options = rows[i].options;
        options.id = "x";
        options.command = sh;
        assert_refused(NONE, &options, rows[i].message);
    }
}

static void test_refused_images(void **state)
{
    static const struct {
        const char *image;
        const char *message;
    } rows[] = {
        { "[]", "image configuration: must be a JSON object" },
        { "{'os':'windows'}", "image configuration: the image is made for windows, not for linux" },
        { "{'config':[]}", "image configuration: config must be an object" },
        { "{'config':{'Env':{}}}", "image configuration: config.Env must be an array" },
        { "{'config':{'Env':['A=1',5]}}", "image configuration: config.Env[1] must be a string" },
        { "{'config':{'Env':['A']}}",
          "image configuration: config.Env[0] is \"A\", not NAME=VALUE" },
        { "{'config':{'Env':['=A']}}",
          "image configuration: config.Env[0] is \"=A\", not NAME=VALUE" },
        { "{'config':{'Env':['A=\\u0000']}}",
          "image configuration: config.Env[0] must be a string without NUL bytes" },
        { "{'config':{'Cmd':'sh'}}", "image configuration: config.Cmd must be an array" },
        { "{'config':{'Entrypoint':[null]}}",
          "image configuration: config.Entrypoint[0] must be a string" },
        { "{'config':{'User':5}}", "image configuration: config.User must be a string" },
        { "{'config':{'User':'a/../b'}}", "image configuration: config.User \"a/../b\": write USER "
                                          "or USER:GROUP, names or numbers" },
        { "{'config':{'WorkingDir':'srv'}}",
          "image configuration: config.WorkingDir \"srv\": must be an absolute path, such as "
          "/srv" },
        { "{'config':{'WorkingDir':'/a\\u0000b'}}",
          "image configuration: config.WorkingDir must be a string without NUL bytes" },
        { "{'config':{'StopSignal':'SIGINTT'}}",
          "image configuration: config.StopSignal SIGINTT: unknown signal; did you mean INT" },
        { "{'config':{'Labels':['a']}}", "image configuration: config.Labels must be an object" },
        { "{'config':{'Labels':{'a':1}}}",
          "image configuration: config.Labels[\"a\"] must be a string" },
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct run_options options = defaults();
        assert_refused(rows[i].image, &options, rows[i].message);
    }
}

static void test_absurd_sizes(void **state)
{
    enum { LONG = 128 * 1024, COUNT = 20000 };
    (void)state;
    struct run_options options = defaults();
    json_t *image = json_pack("{s:{s:[]}}", "config", "Env");
    json_t *env = get(image, "config/Env");
    char *text = malloc(LONG + 1);
    memset(text, 'x', LONG);
    text[1] = '=';
    text[LONG] = '\0';
    struct error error = { 0 };
    json_array_append_new(env, json_string(text));
    assert_null(oci_compose(image, &options, &error));
    assert_string_equal(error.message,
                        "image configuration: config.Env is absurdly large (at entry 0)");
    json_array_clear(env);
    for (int i = 0; i < COUNT; i++)
        json_array_append_new(env, json_string("A=1"));
    assert_null(oci_compose(image, &options, &error));
    assert_string_equal(error.message,
                        "image configuration: config.Env is absurdly large (at entry 16385)");
    /* One byte less than the kernel's limit passes; five of them are too many in all. */
    text[LONG - 1] = '\0';
    const char *command[] = { text, text, text, text, text, NULL };
    options.command = command;
    json_array_clear(env);
    assert_null(oci_compose(image, &options, &error));
    assert_non_null(strstr(error.message, "pass the rest in a file"));
    command[3] = NULL;
    json_t *config = oci_compose(image, &options, &error);
    assert_non_null(config);
    json_decref(config);
    json_decref(image);
    free(text);
}

/* --- exec ---------------------------------------------------------------------------------------
 */

static void test_exec(void **state)
{
    (void)state;
    struct run_options options = defaults();
    json_t *config = compose_well(
        "{'config':{'User':'web','WorkingDir':'/srv','Env':['A=1'],'Entrypoint':['/entry']}}",
        &options);
    struct error error = { 0 };
    struct run_options exec = { .command = sh };
    json_t *process = oci_compose_process(config, &exec, &error);
    assert_json(json_object_get(process, "args"), "['sh']");
    assert_json(json_object_get(process, "cwd"), "'/srv'");
    assert_json(get(process, "user/username"), "'web'");
    assert_json(json_object_get(process, "env"), "[" PATH_DEFAULT "," HOST ",'A=1']");
    assert_true(
        json_equal(json_object_get(process, "capabilities"), get(config, "process/capabilities")));
    json_decref(process);

    exec.user = "0";
    exec.workdir = "/opt";
    exec.terminal = true;
    exec.env = (struct option_list)LIST("A=2", "B=3");
    process = oci_compose_process(config, &exec, &error);
    assert_json(json_object_get(process, "cwd"), "'/opt'");
    assert_json(get(process, "user/username"), "'0'");
    assert_json(json_object_get(process, "terminal"), "true");
    assert_json(json_object_get(process, "env"),
                "['TERM=xterm'," PATH_DEFAULT "," HOST ",'A=2','B=3']");
    json_decref(process);

    exec.command = no_command;
    assert_null(oci_compose_process(config, &exec, &error));
    assert_string_equal(error.message, "no command specified: write one after the workload's name");
    json_decref(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_command),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_seccomp_choice),
        cmocka_unit_test(test_mounts),
        cmocka_unit_test(test_tmpfs_replaces_default),
        cmocka_unit_test(test_refused_options),
        cmocka_unit_test(test_refused_images),
        cmocka_unit_test(test_absurd_sizes),
        cmocka_unit_test(test_exec),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

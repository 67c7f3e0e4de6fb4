/* From an image configuration and options to an OCI configuration: Docker's rules, as tables. */
/* link: plan */
#include "test_plan_compose.h"

#define DOCKER_SET  UINT64_C(0xa80425fb)
#define ALL_SET     ((UINT64_C(1) << 41) - 1)
#define BIT(number) (UINT64_C(1) << (number))

static const char *const no_command[] = { NULL };

/* --- command ------------------------------------------------------------------------------------
 */

#define BOTH       "{'config':{'Entrypoint':['/entry','e'],'Cmd':['c1','c2']}}"
#define ENTRY      "{'config':{'Entrypoint':['/entry','e']}}"
#define CMD        "{'config':{'Cmd':['c1','c2']}}"
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

/* Parents come before what is mounted below them; defaults and files make room. */
static void test_volumes(void **state)
{
    static const char *const order[] = {
        "/proc",       "/dev",          "/dev/pts",         "/sys",       "/sys/fs/cgroup",
        "/dev/mqueue", "/data",         "/scratch",         "/etc/hosts", "/dev/shm",
        "/data/a/b",   "/etc/hostname", "/etc/resolv.conf",
    };
    (void)state;
    struct run_options options = defaults();
    options.directory = "/home/me";
    options.volumes =
        (struct option_list)LIST("/x,y:/data/a/b:ro", "./src:/data/", "/h:/etc/hosts");
    options.mounts =
        (struct option_list)LIST("type=bind,source=/shm,target=/dev/shm,bind-nonrecursive",
                                 "type=tmpfs,dst=/scratch,tmpfs-size=1m,readonly");
    json_t *config = compose_well(NONE, &options);
    const json_t *mounts = json_object_get(config, "mounts");
    assert_int_equal(json_array_size(mounts), ROWS(order));
    assert_json(mount_on(config, "/data/a/b"),
                "{'destination':'/data/a/b','type':'bind','source':'/x,y','options':['rbind',"
                "'rprivate','rro','ro']}");
    assert_json(mount_on(config, "/data"),
                "{'destination':'/data','type':'bind','source':'/home/me/./src','options':['rbind',"
                "'rprivate','rw']}");
    assert_json(mount_on(config, "/dev/shm"),
                "{'destination':'/dev/shm','type':'bind','source':'/shm','options':['bind',"
                "'rprivate','rw']}");
    assert_json(json_object_get(mount_on(config, "/scratch"), "options"),
                "['rw','noexec','nosuid','nodev','ro','size=1m']");
    assert_string_equal(json_string_value(json_object_get(mount_on(config, "/etc/hosts"), "type")),
                        "bind");
    for (size_t i = 0; i < ROWS(order); i++)
        assert_string_equal(
            json_string_value(json_object_get(json_array_get(mounts, i), "destination")), order[i]);
    json_decref(config);
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
        cmocka_unit_test(test_command),      cmocka_unit_test(test_environment),
        cmocka_unit_test(test_capabilities), cmocka_unit_test(test_seccomp_choice),
        cmocka_unit_test(test_mounts),       cmocka_unit_test(test_tmpfs_replaces_default),
        cmocka_unit_test(test_volumes),      cmocka_unit_test(test_exec),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

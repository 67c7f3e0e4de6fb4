/* Options and image configurations that must be refused, each with its message. */
/* link: plan */
#include "test_plan_compose.h"

static const struct {
    struct run_options options;
    const char *message;
} refused_options[] = {
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
    { { .stop_signal = "SIGTREM" }, "--stop-signal SIGTREM: unknown signal; did you mean TERM" },
    { { .memory = 4096 }, "--memory: 4096 bytes are too few to start anything; the least is 6m" },
    { { .memory_swap = 67108864 }, "--memory-swap: only together with --memory" },
    { { .memory = 67108864, .memory_swap = 1 },
      "--memory-swap: 1 bytes are fewer than --memory (67108864); it counts memory plus swap" },
    { { .cpus = -1 }, "--cpus: -1 is not a number of CPUs from 0.01 to 8192" },
    { { .cpus = 1e300 * 1e300 }, "--cpus: inf is not a number of CPUs from 0.01 to 8192" },
    { { .rates = { "/dev/sda:1mb" } },
      "--device-read-bps \"/dev/sda:1mb\": a rate without a device, such as 10m: it holds for "
      "all of the workload's disks together" },
    { { .rates = { NULL, "4095" } },
      "--device-write-bps \"4095\": bytes a second, from 4096 to 1099511627776" },
    { { .rates = { NULL, NULL, "0" } },
      "--device-read-iops \"0\": a number of requests a second, from 1 to 1099511627776" },
    { { .rates = { NULL, NULL, NULL, "1k" } },
      "--device-write-iops \"1k\": a number of requests a second, from 1 to 1099511627776" },
    { { .rates = { NULL, NULL, NULL, NULL, "60k" } },
      "--network-receive-bps \"60k\": bytes a second, from 65536 to 1099511627776" },
    { { .rates = { NULL, NULL, NULL, NULL, NULL, NULL, NULL, "eth0:9" } },
      "--network-send-pps \"eth0:9\": a number of packets a second, from 64 to 1099511627776" },
    { { .cpuset_cpus = "0-" }, "--cpuset-cpus \"0-\": not a list of CPUs, such as 0-3,5" },
    { { .cpuset_cpus = "3-1" }, "--cpuset-cpus \"3-1\": not a list of CPUs, such as 0-3,5" },
    { { .cpuset_cpus = "" }, "--cpuset-cpus \"\": not a list of CPUs, such as 0-3,5" },
    { { .cpuset_cpus = "0, 1" }, "--cpuset-cpus \"0, 1\": not a list of CPUs, such as 0-3,5" },
    { { .pids_limit = -2 }, "--pids-limit -2: a number of processes, or -1 for no limit" },
    { { .volumes = LIST("/data") },
      "-v /data: volumes without a host directory are not supported; write HOST:TARGET, or use "
      "--tmpfs for scratch space" },
    { { .volumes = LIST("data:/data") },
      "-v data:/data: \"data\" would be the name of a volume, which are not supported; for a "
      "directory write ./data, or its absolute path" },
    { { .volumes = LIST(":/data") }, "-v :/data: there is no path of the host in it" },
    { { .volumes = LIST("/a:data") },
      "-v /a:data: the path must be absolute and without \".\", \"..\" or \"//\"" },
    { { .volumes = LIST("/a:/./proc") },
      "-v /a:/./proc: the path must be absolute and without \".\", \"..\" or \"//\"" },
    { { .volumes = LIST("/a:/b/.") },
      "-v /a:/b/.: the path must be absolute and without \".\", \"..\" or \"//\"" },
    { { .volumes = LIST("/a:/b//") },
      "-v /a:/b//: the path must be absolute and without \".\", \"..\" or \"//\"" },
    { { .volumes = LIST("/a:") },
      "-v /a:: the path must be absolute and without \".\", \"..\" or \"//\"" },
    { { .volumes = LIST("/a:/sys/x") },
      "-v /a:/sys/x: /sys is the kernel's and must stay visible; choose another path" },
    { { .volumes = LIST("/a:/b:") }, "-v /a:/b:: \"\" is not an option of a mount; ro and rw are" },
    { { .volumes = LIST("/a:/b:ro,delegated") },
      "-v /a:/b:ro,delegated: \"delegated\" is not an option of a mount; ro and rw are" },
    { { .volumes = LIST("/a:/b"), .mounts = LIST("type=bind,src=/c,dst=/b/") },
      "/b is mounted twice (-v, --mount, --tmpfs)" },
    { { .mounts = LIST("") },
      "--mount : \"\" is not known; type, source, target, readonly, bind-recursive, tmpfs-size "
      "and tmpfs-mode are" },
    { { .mounts = LIST("type=bind,src=/a,source=/b,dst=/c") },
      "--mount type=bind,src=/a,source=/b,dst=/c: source is given twice" },
    { { .mounts = LIST("type=tmpfs,dst=/c,tmpfs-mode=9") },
      "--mount type=tmpfs,target=/c:rw,mode=9: mode=9 is not valid; write it like mode=1777" },
    { { .mounts = LIST("type=bind,src=/a,dst=/c,bind-propagation=shared") },
      "--mount type=bind,src=/a,dst=/c,bind-propagation=shared: mounts do not propagate "
      "between "
      "host and workload: bind-propagation can only be rprivate" },
    { { .tmpfs = LIST("run") },
      "--tmpfs run: the path must be absolute and without \".\", \"..\" or \"//\"" },
    { { .tmpfs = LIST("/a/../b") },
      "--tmpfs /a/../b: the path must be absolute and without \".\", \"..\" or \"//\"" },
    { { .tmpfs = LIST("/./dev") },
      "--tmpfs /./dev: the path must be absolute and without \".\", \"..\" or \"//\"" },
    { { .tmpfs = LIST("/.x/..y"), .volumes = LIST("/a:b") },
      "-v /a:b: the path must be absolute and without \".\", \"..\" or \"//\"" },
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

static void test_refused_options(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS(refused_options); i++) {
        struct run_options options = refused_options[i].options;
        options.id = "x";
        options.command = sh;
        assert_refused(NONE, &options, refused_options[i].message);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_options),
        cmocka_unit_test(test_refused_images),
        cmocka_unit_test(test_absurd_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

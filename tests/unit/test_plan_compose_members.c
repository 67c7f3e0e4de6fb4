/* What one option, or one member of an image's configuration, becomes in the OCI configuration. */
/* link: plan */
#include "test_plan_compose.h"

static const struct {
    const char *image;
    struct run_options options; /* what differs from the defaults */
    const char *path;
    const char *expected;
} members[] = {
    { NONE, { 0 }, "process/user", "{'uid':0,'gid':0,'username':'0'}" },
    { "{'config':{'User':''}}", { 0 }, "process/user", "{'uid':0,'gid':0,'username':'0'}" },
    { "{'config':{'User':'web:web'}}", { 0 }, "process/user/username", "'web:web'" },
    { "{'config':{'User':'web'}}", { .user = "1000:50" }, "process/user/username", "'1000:50'" },
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
    { NONE,
      { .rates = { "10m", NULL, NULL, "250" }, .image = "test" },
      "annotations",
      "{'hybrid.isolation':'container','hybrid.image':'test','hybrid.disk.readBps':'10485760',"
      "'hybrid.disk.writeIops':'250'}" },
    { NONE,
      { .rates = { NULL, NULL, NULL, NULL, "64k", NULL, NULL, "1000" }, .image = "test" },
      "annotations",
      "{'hybrid.isolation':'container','hybrid.image':'test','hybrid.network.receiveBps':'65536',"
      "'hybrid.network.sendPps':'1000'}" },
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

static void test_members(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS(members); i++) {
        struct run_options options = members[i].options, usual = defaults();
        options.id = usual.id;
        options.isolation = usual.isolation;
        options.image = usual.image;
        options.command = usual.command;
        json_t *config = compose_well(members[i].image, &options);
        assert_json(get(config, members[i].path), members[i].expected);
        json_decref(config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

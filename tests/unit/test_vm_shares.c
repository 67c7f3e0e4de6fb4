/* What a VM gets of the host: shares of a plan, and the configuration that names them. */
/* link: vm sandbox plan cgroup program */
#include "test_plan_json.h"

#include "runtime/plan/compose.h"
#include "runtime/vm/shares.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char directory[32];
    struct plan plan;
    struct workload_spec spec;
    struct shares shares;
    struct error err;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    (void)snprintf(f->directory, sizeof f->directory, "/tmp/shares-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    assert_int_equal(chdir(f->directory), 0);
    assert_int_equal(mkdir("rootfs", 0755), 0);
    assert_int_equal(mkdir("data", 0755), 0);
    assert_int_equal(mknod("file", S_IFREG | 0644, 0), 0);
    assert_int_equal(mkfifo("pipe", 0644), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    (void)unlink("pipe");
    (void)unlink("file");
    (void)rmdir("data");
    (void)rmdir("rootfs");
    (void)chdir("/");
    (void)rmdir(f->directory);
    free(f);
    return 0;
}

/* Parses a bundle's configuration with these mounts and lists its shares. */
static int list(struct fixture *f, const char *mounts)
{
    char text[2048];
    (void)snprintf(
        text, sizeof text,
        "{'ociVersion':'1.2.0','root':{'path':'rootfs'},'process':{'cwd':'/','args':['x'],"
        "'user':{'uid':0,'gid':0}},'mounts':[{'destination':'/proc','type':'proc',"
        "'source':'proc'}%s],'hooks':{'poststop':[{'path':'/bin/true'}]},'linux':{"
        "'cgroupsPath':'/"
        "x','namespaces':[{'type':'mount'},{'type':'pid'},{'type':'network'}],'resources':{"
        "'memory':{'limit':2,'swap':2,'reservation':1},'cpu':{'shares':2,'cpus':'0'},"
        "'pids':{'limit':3},'unified':{'memory.high':'1','memory.swap.max':'0'},"
        "'hugepageLimits':[{'pageSize':'2MB','limit':0}]}}}",
        mounts);
    if (plan_parse(load(text), 0, &f->plan, &f->err) < 0)
        fail_msg("%s", f->err.message);
    f->spec = (struct workload_spec){ .plan = &f->plan, .bundle = f->directory };
    return shares_list(&f->spec, &f->shares, &f->err);
}

static void drop(struct fixture *f)
{
    shares_free(&f->shares);
    plan_free(&f->plan);
}

static void test_bundle(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(list(f,
                          ",{'destination':'/a','type':'none','source':'data','options':['rbind']},"
                          "{'destination':'/b','source':'file','options':['bind','ro']}"),
                     0);
    static const struct {
        const char *name;
        bool read_only, recursive;
    } expected[] = { { "rootfs", false, true }, { "data", false, true }, { "file", true, false } };
    assert_int_equal(f->shares.count, 3);
    for (size_t i = 0; i < 3; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "%s/%s", f->directory, expected[i].name);
        assert_string_equal(f->shares.entries[i].path, path);
        assert_int_equal(f->shares.entries[i].read_only, expected[i].read_only);
        assert_int_equal(f->shares.entries[i].recursive, expected[i].recursive);
    }
    json_t *config = shares_rewrite(&f->spec, &f->shares, true, &f->err);
    assert_json(json_object_get(config, "root"), "{'path':'/shares/0'}");
    const json_t *mounts = json_object_get(config, "mounts");
    static const char *const sources[] = { "proc", "/shares/1", "/shares/2" };
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(json_string_value(json_object_get(json_array_get(mounts, i), "source")),
                            sources[i]);
    assert_null(json_object_get(config, "hooks"));
    const json_t *lin = json_object_get(config, "linux");
    assert_null(json_object_get(lin, "cgroupsPath"));
    assert_json(json_object_get(lin, "namespaces"),
                "[{'type':'mount'},{'type':'pid'},{'type':'network','path':'/proc/self/ns/net'}]");
    assert_json(json_object_get(lin, "resources"), "{'pids':{'limit':3}}");
    json_decref(config);
    config = shares_rewrite(&f->spec, &f->shares, false, &f->err);
    assert_json(json_object_get(json_object_get(config, "linux"), "namespaces"),
                "[{'type':'mount'},{'type':'pid'},{'type':'network'}]");
    json_decref(config);
    drop(f);
}

/* What the containers of a pod have in the guest is not the first share, nor all of it one. */
static void test_container_of_a_pod(void **state)
{
    struct fixture *f = *state;
    char shm[64], mounts[512];
    (void)snprintf(shm, sizeof shm, "%s/data", f->directory);
    const struct workload_pod pod = { .directory = "/nowhere", .shm = shm };
    (void)snprintf(mounts, sizeof mounts,
                   ",{'destination':'/dev/shm','type':'bind','source':'%s','options':['rbind']},"
                   "{'destination':'/other','type':'bind','source':'%s','options':['rbind']}",
                   shm, shm);
    (void)list(f, mounts);
    shares_free(&f->shares);
    f->spec.pod = &pod;
    assert_int_equal(shares_list(&f->spec, &f->shares, &f->err), 0);
    assert_int_equal(f->shares.count, 2);
    f->shares.first = 41;
    json_t *config = shares_rewrite(&f->spec, &f->shares, true, &f->err);
    assert_json(json_object_get(config, "root"), "{'path':'/shares/41'}");
    const json_t *copied = json_object_get(config, "mounts");
    static const char *const sources[] = { "proc", "/dev/shm", "/shares/42" };
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(json_string_value(json_object_get(json_array_get(copied, i), "source")),
                            sources[i]);
    assert_json(get(config, "linux/resources"),
                "{'memory':{'reservation':1},'cpu':{'shares':2},'pids':{'limit':3},"
                "'unified':{'memory.high':'1'}}");
    json_decref(config);
    drop(f);
}

static void test_refused(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *mounts, *message;
    } cases[] = {
        { ",{'destination':'/a','source':'pipe','options':['bind']}", "is a pipe of the host" },
        { ",{'destination':'/a','source':'/dev/null','options':['bind']}",
          "is a device of the host" },
        { ",{'destination':'/a','source':'nothing','options':['bind']}",
          "nothing on /a: No such file" },
        { ",{'destination':'/a','source':'data','options':['rbind','rslave']}",
          "do not propagate" },
        { ",{'destination':'/"
          "a','source':'data','options':['rbind'],'uidMappings':[{'containerID':0,"
          "'hostID':5,'size':1}],'gidMappings':[{'containerID':0,'hostID':5,'size':1}]}",
          "cannot be mapped" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(list(f, cases[i].mounts), -1);
        if (!strstr(f->err.message, cases[i].message))
            fail_msg("%s, but expected: %s", f->err.message, cases[i].message);
        drop(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bundle, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_container_of_a_pod, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* How large the VM of a pod is, by what is said of its sandbox; and what it cannot limit. */
/* link: engine state plan */
#include "test_plan_json.h"

#include "cleanup.h"
#include "runtime/engine/machine.h"
#include "runtime/engine/pod_machine.h"
#include "runtime/plan/compose.h"

#define MEMORY "'io.kubernetes.cri.sandbox-memory':"
#define QUOTA  "'io.kubernetes.cri.sandbox-cpu-quota':"
#define PERIOD "'io.kubernetes.cri.sandbox-cpu-period':"
#define MIB    (INT64_C(1) << 20)

static const struct row {
    const char *annotations, *resources;
    int64_t memory, quota, period;
    const char *refused; /* a part of the message; NULL: it is not */
} rows[] = {
    { "{}", "{}", 1024 * MIB, -1, -1, NULL },
    { "{" MEMORY "'536870912'}", "{}", 512 * MIB, -1, -1, NULL },
    { "{" MEMORY "'0'," QUOTA "'0'," PERIOD "'100000'}", "{}", 1024 * MIB, -1, -1, NULL },
    { "{" MEMORY "'-1'}", "{'memory':{'limit':268435456}}", 256 * MIB, -1, -1, NULL },
    { "{}", "{'memory':{'limit':-1}}", 1024 * MIB, -1, -1, NULL },
    /* A policy's floors are limits of the sandbox. */
    { "{" MEMORY "'536870912'}", "{'memory':{'limit':268435456}}", 256 * MIB, -1, -1, NULL },
    { "{" MEMORY "'134217728'}", "{'memory':{'limit':268435456}}", 128 * MIB, -1, -1, NULL },
    { "{" QUOTA "'150000'," PERIOD "'100000'}", "{}", 1024 * MIB, 150000, 100000, NULL },
    { "{" QUOTA "'150000'}", "{}", 1024 * MIB, -1, -1, NULL },
    { "{" QUOTA "'400000'," PERIOD "'100000'}", "{'cpu':{'quota':50000,'period':50000}}",
      1024 * MIB, 50000, 50000, NULL },
    { "{" QUOTA "'40000'," PERIOD "'100000'}", "{'cpu':{'quota':50000,'period':50000}}", 1024 * MIB,
      40000, 100000, NULL },
    { "{}", "{'cpu':{'shares':2}}", 1024 * MIB, -1, -1, NULL },
    { "{" MEMORY "'much'}", "{}", 0, 0, 0, "sandbox-memory must be a number" },
    { "{" MEMORY "''}", "{}", 0, 0, 0, "sandbox-memory must be a number" },
    { "{" MEMORY "'1g'}", "{}", 0, 0, 0, "sandbox-memory must be a number" },
    { "{" MEMORY "7}", "{}", 0, 0, 0, "sandbox-memory must be a number" },
    { "{" MEMORY "'99999999999999999999'}", "{}", 0, 0, 0, "sandbox-memory must be a number" },
    { "{" QUOTA "'half'}", "{}", 0, 0, 0, "sandbox-cpu-quota must be a number" },
};

static void test_size(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        const struct row *row = &rows[i];
        char changes[1024];
        struct plan plan;
        struct plan_resources resources;
        struct error err = { 0 };
        (void)snprintf(changes, sizeof changes, "{'annotations':%s,'linux':{'resources':%s}}",
                       row->annotations, row->resources);
        json_t *config = changed(changes);
        assert_int_equal(plan_parse(json_incref(config), 0, &plan, &err), 0);
        int result = pod_size_machine(config, &plan, &resources, &err);
        if (row->refused && (result == 0 || !strstr(err.message, row->refused)))
            fail_msg("row %zu: %s", i, result == 0 ? "taken" : err.message);
        if (!row->refused && (result < 0 || resources.memory_limit != row->memory ||
                              resources.cpu_quota != row->quota ||
                              resources.cpu_period != row->period || resources.cpu_shares != -1))
            fail_msg("row %zu: %s%lld bytes", i, err.message, (long long)resources.memory_limit);
        plan_free(&plan);
        json_decref(config);
    }
}

static void test_container(void **state)
{
    (void)state;
    struct error err = { 0 };
    json_t *config = changed("{'annotations':{" MEMORY "'134217728'}}");
    json_t *fits = changed("{'linux':{'resources':{'memory':{'limit':134217728}}}}");
    json_t *unlimited = changed("{'linux':{'resources':{'memory':{'limit':-1}}}}");
    json_t *larger = changed("{'linux':{'resources':{'memory':{'limit':134217729}}}}");
    assert_int_equal(pod_check_memory("pod", config, fits, &err), 0);
    assert_int_equal(pod_check_memory("pod", config, unlimited, &err), 0);
    assert_int_equal(pod_check_memory("pod", config, larger, &err), -1);
    assert_non_null(strstr(err.message, "io.kubernetes.cri.sandbox-memory"));
    json_decref(config);
    json_decref(fits);
    json_decref(unlimited);
    json_decref(larger);
}

/* Of one container; nothing that is asked for is left out without a word. */
static void test_limits(void **state)
{
    static const struct {
        const char *resources, *unheld; /* NULL: it can be held to all */
        const char *told;               /* to the guest; NULL: nobody asks */
    } limits[] = {
        { "{'memory':{'limit':9,'swap':9,'reservation':5,'disableOOMKiller':false},"
          "'cpu':{'shares':2,'quota':3,'period':4,'burst':1},'pids':{'limit':7}}",
          NULL,
          "{'memory':{'limit':9,'reservation':5},'cpu':{'shares':2,'quota':3,'period':4},"
          "'pids':{'limit':7},'unified':{'cpu.max.burst':'1'}}" },
        /* As kubelets, containerd, dockerd and podman say nothing. */
        { "{'hugepageLimits':[{'pageSize':'2MB','limit':0},{'pageSize':'1GB','limit':0}],"
          "'blockIO':{'weight':0,'throttleReadBpsDevice':[]},'unified':{},'rdma':{},"
          "'network':{'classID':0},'memory':{'swap':0,'kernel':0}}",
          NULL, "{}" },
        { "{'unified':{'memory.oom.group':'1','memory.swap.max':'0','memory.high':'9'}}", NULL,
          "{'unified':{'memory.oom.group':'1','memory.high':'9'}}" },
        { "{'hugepageLimits':[{'pageSize':'2MB','limit':2097152}]}", "hugepageLimits[0]", NULL },
        { "{'blockIO':{'weight':100}}", "blockIO.weight", NULL },
        { "{'blockIO':{'throttleReadBpsDevice':[{'major':8,'minor':0,'rate':5}]}}",
          "throttleReadBpsDevice[0]", NULL },
        { "{'unified':{'io.weight':'5'}}", "unified: io.weight", NULL },
        { "{'unified':{'cpuset.cpus':'0'}}", "unified: cpuset.cpus", NULL },
        { "{'unified':{'hugetlb.2MB.max':'4096'}}", "unified: hugetlb.2MB.max", NULL },
        { "{'rdma':{'x':{'hcaHandles':1}}}", "rdma", NULL },
        { "{'network':{'classID':1}}", "network.classID", NULL },
        { "{'memory':{'swappiness':5}}", "memory.swappiness", NULL },
        { "{'memory':{'disableOOMKiller':true}}", "memory.disableOOMKiller", NULL },
        { "{'cpu':{'realtimePeriod':5}}", "cpu.realtimePeriod", NULL },
        { "{'cpu':{'cpus':'0'}}", "resources.cpu.cpus", NULL },
        { "{'cpu':{'cpus':'','mems':'0'}}", "resources.cpu.mems", NULL },
    };
    (void)state;
    for (size_t i = 0; i < ROWS(limits); i++) {
        char changes[1024];
        struct plan plan;
        struct error err = { 0 };
        (void)snprintf(changes, sizeof changes, "{'linux':{'resources':%s}}", limits[i].resources);
        if (plan_parse(changed(changes), 0, &plan, &err) < 0)
            fail_msg("limits %zu: %s", i, err.message);
        const char *unheld = machine_find_unheld(&plan.resources);
        if (limits[i].unheld ? !unheld || !strstr(unheld, limits[i].unheld) : unheld != NULL)
            fail_msg("limits %zu: %s", i, unheld ? unheld : "can be held");
        _cleanup_free_ char *text = machine_describe_limits(&plan.resources);
        assert_non_null(text);
        json_auto_t *told = load(text);
        if (limits[i].told)
            assert_json(told, limits[i].told);
        plan_free(&plan);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_container),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

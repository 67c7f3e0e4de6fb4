/* What bundles bring beyond our own documents: hooks, schedulers, every limit, numbers of Go. */
/* link: plan */
#include "test_plan.h"

/* --- hooks, scheduler, limits that are files
 * ------------------------------------------------------
 */

static void test_hooks(void **state)
{
    static const enum plan_step_kind order[] = {
        PLAN_DEVICE, PLAN_SYMLINK, PLAN_HOOKS,        PLAN_HOOK_CREATE, PLAN_ROOT,    PLAN_UMASK,
        PLAN_USER,   PLAN_CWD,     PLAN_CAPABILITIES, PLAN_HOOK_START,  PLAN_SECCOMP, PLAN_EXEC,
    };
    (void)state;
    struct plan plan;
    parse_well(
        "{'hooks':{'createRuntime':[{'path':'/r','args':['r','x'],'env':['A=b'],'timeout':5}],"
        "'createContainer':[{'path':'/c'}],'startContainer':[{'path':'/s','env':[]}],'poststart':[{"
        "'path':'/1'},{'path':'/2'}],'poststop':[]},'linux':{'seccomp':{'defaultAction':"
        "'SCMP_ACT_ALLOW'},'namespaces':[{'type':'mount'}]}}",
        0, &plan);
    assert_order(&plan, order, ROWS(order));
    const struct plan_hook_list *runtime = &plan.hooks[PLAN_HOOKS_CREATE_RUNTIME];
    assert_int_equal(runtime->count, 1);
    assert_string_equal(runtime->hooks[0].kind, "createRuntime");
    assert_string_equal(runtime->hooks[0].argv[1], "x");
    assert_null(runtime->hooks[0].argv[2]);
    assert_string_equal(runtime->hooks[0].env[0], "A=b");
    assert_int_equal(runtime->hooks[0].timeout, 5);
    assert_int_equal(plan.hooks[PLAN_HOOKS_POSTSTART].count, 2);
    assert_int_equal(plan.hooks[PLAN_HOOKS_POSTSTOP].count, 0);
    const struct plan_hook *create = &first_step(&plan, PLAN_HOOK_CREATE)->hook;
    assert_string_equal(create->argv[0], "/c"); /* without args: the path */
    assert_null(create->argv[1]);
    assert_null(create->env); /* not given, which is not the same as empty */
    assert_null(first_step(&plan, PLAN_HOOK_START)->hook.env[0]);
    plan_free(&plan);
}

static void test_scheduler(void **state)
{
    (void)state;
    struct plan plan;
    parse_well("{'process':{'scheduler':{'policy':'SCHED_FIFO','priority':7,'flags':["
               "'SCHED_FLAG_RESET_ON_FORK']},'ioPriority':{'class':'IOPRIO_CLASS_IDLE'}},'linux':{"
               "'personality':{'domain':'LINUX32'},'namespaces':[{'type':'mount'},{'type':'time'}],"
               "'timeOffsets':{'monotonic':{'secs':-7,'nanosecs':8}}}}",
               0, &plan);
    const struct plan_scheduler *scheduler = &first_step(&plan, PLAN_SCHEDULER)->scheduler;
    assert_int_equal(scheduler->policy, 1);
    assert_int_equal(scheduler->priority, 7);
    assert_int_equal(scheduler->flags, 1);
    assert_int_equal(first_step(&plan, PLAN_IO_PRIORITY)->io_priority, 3 << 13);
    assert_int_equal(first_step(&plan, PLAN_PERSONALITY)->personality, 8);
    assert_int_equal(plan.namespaces.time_offset_count, 1);
    assert_string_equal(plan.namespaces.time_offsets[0].clock, "monotonic");
    assert_int_equal(plan.namespaces.time_offsets[0].seconds, -7);
    assert_int_equal(plan.namespaces.time_offsets[0].nanoseconds, 8);
    plan_free(&plan);
}

static void test_affinity(void **state)
{
    (void)state;
    struct plan plan;
    parse_well("{'process':{'execCPUAffinity':{'initial':'1','final':'0-2,7,9-9,64,127'}}}", 0,
               &plan);
    assert_int_equal(plan.affinity_initial->words[0], 1 << 1);
    assert_int_equal(plan.affinity_final->words[0], 7 | 1 << 7 | 1 << 9);
    assert_int_equal(plan.affinity_final->words[1], UINT64_C(1) << 63 | 1);
    plan_free(&plan);
    parse_well("{'process':{'execCPUAffinity':{'initial':''}}}", 0, &plan);
    assert_null(plan.affinity_initial);
    assert_null(plan.affinity_final);
    plan_free(&plan);
}

static void test_settings(void **state)
{
    static const struct {
        const char *resources;
        const char *controller, *v1_file, *v1_value, *v2_file, *v2_value;
    } rows[] = {
        { "'memory':{'swappiness':0}", "memory", "memory.swappiness", "0", NULL, NULL },
        { "'memory':{'kernel':4096}", "memory", "memory.kmem.limit_in_bytes", "4096", NULL, NULL },
        { "'memory':{'disableOOMKiller':true}", "memory", "memory.oom_control", "1", NULL, NULL },
        { "'cpu':{'burst':500}", "cpu", "cpu.cfs_burst_us", "500", "cpu.max.burst", "500" },
        { "'cpu':{'idle':1}", "cpu", "cpu.idle", "1", "cpu.idle", "1" },
        { "'cpu':{'idle':0}", "cpu", "cpu.idle", "0", "cpu.idle", "0" }, /* an update's way back */
        { "'cpu':{'burst':0}", "cpu", "cpu.cfs_burst_us", "0", "cpu.max.burst", "0" },
        { "'cpu':{'realtimeRuntime':5}", "cpu", "cpu.rt_runtime_us", "5", NULL, NULL },
        { "'blockIO':{'weight':10}", "blkio", "blkio.weight", "10", "io.weight", "default 1" },
        { "'blockIO':{'weight':1000}", "blkio", "blkio.weight", "1000", "io.weight",
          "default 10000" },
        { "'blockIO':{'leafWeight':20}", "blkio", "blkio.leaf_weight", "20", NULL, NULL },
        { "'blockIO':{'weightDevice':[{'major':8,'minor':1,'weight':10}]}", "blkio",
          "blkio.weight_device", "8:1 10", "io.weight", "8:1 1" },
        { "'blockIO':{'throttleReadBpsDevice':[{'major':8,'minor':0,'rate':9}]}", "blkio",
          "blkio.throttle.read_bps_device", "8:0 9", "io.max", "8:0 rbps=9" },
        { "'blockIO':{'throttleWriteIOPSDevice':[{'major':8,'minor':0,'rate':0}]}", "blkio",
          "blkio.throttle.write_iops_device", "8:0 0", "io.max", "8:0 wiops=max" },
        { "'hugepageLimits':[{'pageSize':'2MB','limit':6}]", "hugetlb",
          "hugetlb.2MB.limit_in_bytes", "6", "hugetlb.2MB.max", "6" },
        { "'network':{'classID':5}", "net_cls", "net_cls.classid", "5", NULL, NULL },
        { "'network':{'priorities':[{'name':'lo','priority':3}]}", "net_prio", "net_prio.ifpriomap",
          "lo 3", NULL, NULL },
        { "'rdma':{'mlx5_1':{'hcaHandles':3}}", "rdma", "rdma.max", "mlx5_1 hca_handle=3",
          "rdma.max", "mlx5_1 hca_handle=3" },
        { "'unified':{'memory.high':'max'}", "memory", NULL, NULL, "memory.high", "max" },
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        char text[512];
        struct plan plan;
        (void)snprintf(text, sizeof text, "{'linux':{'resources':{%s}}}", rows[i].resources);
        parse_well(text, 0, &plan);
        assert_true(plan.resources.setting_count >= 1);
        const struct plan_cgroup_setting *setting = plan.resources.settings;
        assert_string_equal(setting->controller, rows[i].controller);
        assert_string_equal(setting->v1_file ? setting->v1_file : "",
                            rows[i].v1_file ? rows[i].v1_file : "");
        assert_string_equal(setting->v1_file ? setting->v1_value : "",
                            rows[i].v1_value ? rows[i].v1_value : "");
        assert_string_equal(setting->v2_file ? setting->v2_file : "",
                            rows[i].v2_file ? rows[i].v2_file : "");
        assert_string_equal(setting->v2_file ? setting->v2_value : "",
                            rows[i].v2_value ? rows[i].v2_value : "");
        plan_free(&plan);
    }
}

/* -1 takes a limit away, 0 says nothing; devices of a running container stay as they are. */
static void test_update(void **state)
{
    (void)state;
    struct plan plan;
    struct error error = { 0 };
    json_t *resources =
        load("{'memory':{'limit':-1,'swap':5},'cpu':{'quota':-1,'shares':0},'pids':{"
             "'limit':7},'devices':null}");
    assert_int_equal(plan_parse_update(resources, &plan, &error), 0);
    assert_true(plan.resources.memory_limit == PLAN_UNLIMITED);
    assert_int_equal(plan.resources.memory_swap, 5);
    assert_true(plan.resources.cpu_quota == PLAN_UNLIMITED);
    assert_int_equal(plan.resources.cpu_shares, -1);
    assert_int_equal(plan.resources.pids_limit, 7);
    assert_int_equal(plan.resources.device_count, 0);
    plan_free(&plan);
    assert_int_equal(plan_parse_update(load("[]"), &plan, &error), -1);
    assert_string_equal(error.message, "linux.resources must be an object");
}

/* --- text ---------------------------------------------------------------------------------------
 */

static void test_large_numbers(void **state)
{
    static const struct {
        const char *text, *compact;
    } rows[] = {
        { "[9223372036854775807]", "[9223372036854775807]" },
        { "[9223372036854775808]", "['9223372036854775808']" },
        { "[18446744073709551615,1]", "['18446744073709551615',1]" },
        { "['18446744073709551615 \\' 99999999999999999999']",
          "['18446744073709551615 \\' 99999999999999999999']" },
        { "[0.12345678901234567890123]", NULL }, /* a real number stays one */
        { "[-5,1e3]", NULL },
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        char text[128], expected[128];
        (void)snprintf(text, sizeof text, "%s", rows[i].text);
        (void)snprintf(expected, sizeof expected, "%s", rows[i].compact ? rows[i].compact : "");
        char *const both[] = { text, expected };
        for (size_t n = 0; n < ROWS(both); n++)
            for (char *at = both[n]; *at; at++)
                if (*at == '\'')
                    *at = '"';
        json_error_t where;
        json_t *value = plan_load_json(text, &where);
        assert_non_null(value);
        char *dumped = json_dumps(value, JSON_COMPACT);
        if (rows[i].compact)
            assert_string_equal(dumped, expected);
        free(dumped);
        json_decref(value);
    }
    json_error_t where;
    assert_null(plan_load_json("{\"a\":1,\"a\":2}", &where));
    assert_null(plan_load_json("[\"unterminated", &where));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hooks),    cmocka_unit_test(test_scheduler),
        cmocka_unit_test(test_affinity), cmocka_unit_test(test_settings),
        cmocka_unit_test(test_update),   cmocka_unit_test(test_large_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* From an OCI configuration to a plan: the order of steps, every option. */
/* link: plan */
#include "test_plan.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* --- the order ----------------------------------------------------------------------------------
 */

static void test_order(void **state)
{
    static const enum plan_step_kind smallest[] = {
        PLAN_DEVICE, PLAN_SYMLINK, PLAN_ROOT,         PLAN_UMASK,
        PLAN_USER,   PLAN_CWD,     PLAN_CAPABILITIES, PLAN_EXEC,
    };
    static const enum plan_step_kind largest[] = {
        PLAN_MOUNT,         PLAN_FILE,          PLAN_DEVICE,       PLAN_SYMLINK,      PLAN_CONSOLE,
        PLAN_ROOT,          PLAN_HOSTNAME,      PLAN_LOOPBACK_UP,  PLAN_SYSCTL,       PLAN_MASK,
        PLAN_READONLY_PATH, PLAN_READONLY_ROOT, PLAN_OOM_SCORE,    PLAN_RLIMIT,       PLAN_UMASK,
        PLAN_USER,          PLAN_CWD,           PLAN_CAPABILITIES, PLAN_NO_NEW_PRIVS, PLAN_SECCOMP,
        PLAN_EXEC,
    };
    (void)state;
    struct plan plan;
    parse_well("{}", 0, &plan);
    assert_order(&plan, smallest, ROWS(smallest));
    plan_free(&plan);

    const char *command[] = { "sh", NULL };
    const char *limits[] = { "nofile=5" };
    const char *security[] = { "no-new-privileges" };
    struct run_options options = {
        .id = "x",
        .command = command,
        .terminal = true,
        .readonly = true,
        .ulimits = { limits, 1 },
        .security = { security, 1 },
    };
    struct error error = { 0 };
    json_t *image = json_object();
    json_t *config = oci_compose(image, &options, &error);
    assert_non_null(config);
    assert_int_equal(plan_parse(config, PLAN_PARSE_OWN, &plan, &error), 0);
    assert_order(&plan, largest, ROWS(largest));
    assert_null(plan.root_path);
    assert_null(plan.filter);
    plan_free(&plan);
    json_decref(image);
}

static void test_printed(void **state)
{
    static const char *const expected[] = {
        "namespaces   mount network \n",
        "limit        memory 67108864 bytes\n",
        "devices      deny a *:* rwm\n",
        "devices      allow c 136:* rwm\n",
        "mount        proc on /proc (nosuid)\n",
        "mount        /src on '/a b' (ro,nosuid,rbind,rslave)\n",
        "mount        tmpfs shm on /dev/shm (size=1m,mode=1777)\n",
        "device       /dev/null c 1:3 (mode 0666)\n",
        "symlink      /dev/fd -> /proc/self/fd\n",
        "root         enter the new root, leave the old one\n",
        "network      loopback up\n",
        "mask         /proc/kcore\n",
        "rlimit       RLIMIT_CORE soft 1 hard unlimited\n",
        "umask        0022\n",
        "user         uid 5 gid 6 groups 7,8\n",
        "cwd          /\n",
        "capabilities CHOWN,NET_RAW permitted none\n",
        "exec         sh -c 'echo '\\''hi'\\''\\x0aid'\n",
    };
    (void)state;
    struct plan plan;
    parse_well(
        "{'process':{'args':['sh','-c','echo \\u0027hi\\u0027\\nid'],'user':{'uid':5,'gid':6,"
        "'additionalGids':[7,8]},'rlimits':[{'type':'RLIMIT_CORE','soft':1,'hard':"
        "9223372036854775807}],'capabilities':{'bounding':['CAP_CHOWN','CAP_NET_RAW']}},'mounts':[{"
        "'destination':'/proc','type':'proc','source':'proc','options':['nosuid']},{'destination':"
        "'/a b','source':'/src','options':['rbind','ro','nosuid','rslave']},{'destination':"
        "'/dev/shm','type':'tmpfs','source':'shm','options':['size=1m','mode=1777']}],'linux':{"
        "'namespaces':[{'type':'mount'},{'type':'network'}],'maskedPaths':['/proc/kcore'],"
        "'resources':{'memory':{'limit':67108864}}}}",
        0, &plan);
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    assert_int_equal(plan_print(&plan, out), 0);
    if (out)
        (void)fclose(out);
    const char *at = text ? text : "";
    for (size_t i = 0; i < ROWS(expected); i++) {
        const char *found = strstr(at, expected[i]);
        if (!found)
            fail_msg("no line %s (or not in this order) in\n%s", expected[i], text);
        at = found ? found : at;
    }
    free(text);
    plan_free(&plan);
}

static void test_json(void **state)
{
    (void)state;
    struct plan plan;
    parse_well("{}", 0, &plan);
    json_t *json = plan_to_json(&plan);
    const json_t *steps = json_object_get(json, "steps");
    assert_int_equal(json_array_size(steps), plan.step_count);
    json_t *first = load("{'step':'device','text':'/dev/null c 1:3 (mode 0666)'}");
    assert_true(json_equal(json_array_get(steps, 0), first));
    assert_null(json_object_get(plan.document, "steps"));
    json_decref(first);
    plan_free(&plan);
    /* With its steps it is still a configuration, and the same one. */
    struct error error = { 0 };
    assert_int_equal(plan_parse(json, 0, &plan, &error), 0);
    plan_free(&plan);
}

/* A buffer that is too small must be neither overrun nor hide the length. */
static void test_describe_bounds(void **state)
{
    (void)state;
    struct plan plan;
    parse_well("{'process':{'args':['a very long argument with spaces in it']}}", 0, &plan);
    const struct plan_step *step = first_step(&plan, PLAN_EXEC);
    int length = plan_step_describe(step, NULL, 0);
    assert_int_equal(length, strlen("exec         'a very long argument with spaces in it'"));
    for (int size = 1; size <= length + 1; size++) {
        char *text = malloc((size_t)size);
        assert_int_equal(plan_step_describe(step, text, (size_t)size), length);
        assert_int_equal(strlen(text), size - 1);
        free(text);
    }
    plan_free(&plan);
}

/* --- mount options ------------------------------------------------------------------------------
 */

static void test_mount_options(void **state)
{
    static const struct {
        const char *options;
        unsigned long flags, propagation;
        uint64_t set, clear;
        const char *data;
        bool copy_up;
    } rows[] = {
        { "", 0, 0, 0, 0, NULL, false },
        { "'defaults'", 0, 0, 0, 0, NULL, false },
        { "'ro'", MS_RDONLY, 0, 0, 0, NULL, false },
        { "'ro','rw'", 0, 0, 0, 0, NULL, false },
        { "'rw','ro'", MS_RDONLY, 0, 0, 0, NULL, false },
        { "'nosuid','nodev','noexec'", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0, 0, 0, NULL, false },
        { "'nosuid','nodev','noexec','suid','dev','exec'", 0, 0, 0, 0, NULL, false },
        { "'sync','dirsync'", MS_SYNCHRONOUS | MS_DIRSYNC, 0, 0, 0, NULL, false },
        { "'sync','async'", 0, 0, 0, 0, NULL, false },
        { "'remount'", MS_REMOUNT, 0, 0, 0, NULL, false },
        { "'mand'", MS_MANDLOCK, 0, 0, 0, NULL, false },
        { "'mand','nomand'", 0, 0, 0, 0, NULL, false },
        { "'noatime'", MS_NOATIME, 0, 0, 0, NULL, false },
        { "'noatime','atime'", 0, 0, 0, 0, NULL, false },
        { "'nodiratime'", MS_NODIRATIME, 0, 0, 0, NULL, false },
        { "'nodiratime','diratime'", 0, 0, 0, 0, NULL, false },
        { "'relatime'", MS_RELATIME, 0, 0, 0, NULL, false },
        { "'relatime','norelatime'", 0, 0, 0, 0, NULL, false },
        { "'strictatime'", MS_STRICTATIME, 0, 0, 0, NULL, false },
        { "'strictatime','nostrictatime'", 0, 0, 0, 0, NULL, false },
        { "'lazytime'", MS_LAZYTIME, 0, 0, 0, NULL, false },
        { "'iversion'", MS_I_VERSION, 0, 0, 0, NULL, false },
        { "'silent'", MS_SILENT, 0, 0, 0, NULL, false },
        { "'nosymfollow'", 256, 0, 0, 0, NULL, false },
        { "'private'", 0, MS_PRIVATE, 0, 0, NULL, false },
        { "'rprivate'", 0, MS_PRIVATE | MS_REC, 0, 0, NULL, false },
        { "'shared'", 0, MS_SHARED, 0, 0, NULL, false },
        { "'rshared'", 0, MS_SHARED | MS_REC, 0, 0, NULL, false },
        { "'slave'", 0, MS_SLAVE, 0, 0, NULL, false },
        { "'rslave'", 0, MS_SLAVE | MS_REC, 0, 0, NULL, false },
        { "'unbindable'", 0, MS_UNBINDABLE, 0, 0, NULL, false },
        { "'runbindable'", 0, MS_UNBINDABLE | MS_REC, 0, 0, NULL, false },
        { "'rslave','shared'", 0, MS_SHARED, 0, 0, NULL, false },
        { "'rro'", 0, 0, MOUNT_ATTR_RDONLY, 0, NULL, false },
        { "'rrw'", 0, 0, 0, MOUNT_ATTR_RDONLY, NULL, false },
        { "'rro','rrw'", 0, 0, 0, MOUNT_ATTR_RDONLY, NULL, false },
        { "'rnosuid','rnodev','rnoexec'", 0, 0,
          MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, 0, NULL, false },
        { "'rsuid','rdev','rexec'", 0, 0, 0,
          MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, NULL, false },
        { "'rnodiratime'", 0, 0, MOUNT_ATTR_NODIRATIME, 0, NULL, false },
        { "'rdiratime'", 0, 0, 0, MOUNT_ATTR_NODIRATIME, NULL, false },
        { "'rnosymfollow'", 0, 0, MOUNT_ATTR_NOSYMFOLLOW, 0, NULL, false },
        { "'rnoatime'", 0, 0, MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME, NULL, false },
        { "'rnoatime','rstrictatime'", 0, 0, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME, NULL,
          false },
        { "'rnoatime','rrelatime'", 0, 0, 0, MOUNT_ATTR__ATIME, NULL, false },
        { "'tmpcopyup'", 0, 0, 0, 0, NULL, true },
        { "'size=1m','ro','mode=755'", MS_RDONLY, 0, 0, 0, "size=1m,mode=755", false },
        { "'','a','','b','c'", 0, 0, 0, 0, "a,b,c", false },
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        char changes[512];
        (void)snprintf(changes, sizeof changes,
                       "{'mounts':[{'destination':'/x','type':'tmpfs','options':[%s]}]}",
                       rows[i].options);
        struct plan plan;
        parse_well(changes, 0, &plan);
        const struct plan_mount *mount = &first_step(&plan, PLAN_MOUNT)->mount;
        bool same = mount->flags == rows[i].flags && mount->propagation == rows[i].propagation &&
                    mount->recursive_set == rows[i].set &&
                    mount->recursive_clear == rows[i].clear && mount->copy_up == rows[i].copy_up &&
                    strcmp(mount->data ? mount->data : "", rows[i].data ? rows[i].data : "") == 0;
        if (!same)
            fail_msg("%s: flags %lx propagation %lx set %llx clear %llx data %s", rows[i].options,
                     mount->flags, mount->propagation, (unsigned long long)mount->recursive_set,
                     (unsigned long long)mount->recursive_clear, mount->data);
        plan_free(&plan);
    }
}

static void test_binds(void **state)
{
    static const struct {
        const char *mount;
        unsigned long flags;
    } rows[] = {
        { "{'destination':'/x','source':'/y','options':['bind']}", MS_BIND },
        { "{'destination':'/x','source':'/y','type':'none','options':['rbind']}",
          MS_BIND | MS_REC },
        { "{'destination':'/x','source':'/y','type':'bind'}", MS_BIND },
        { "{'destination':'x','source':'y','type':'bind','options':['ro']}", MS_BIND | MS_RDONLY },
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        char changes[256];
        (void)snprintf(changes, sizeof changes, "{'mounts':[%s]}", rows[i].mount);
        struct plan plan;
        parse_well(changes, 0, &plan);
        const struct plan_mount *mount = &first_step(&plan, PLAN_MOUNT)->mount;
        assert_int_equal(mount->flags, rows[i].flags);
        assert_string_equal(mount->type, "bind");
        assert_string_equal(mount->target, "/x");
        plan_free(&plan);
    }
}

/* --- namespaces, devices, resources -------------------------------------------------------------
 */

static void test_namespaces(void **state)
{
    (void)state;
    struct plan plan;
    parse_well(
        "{'linux':{'namespaces':[{'type':'mount'},{'type':'pid','path':''},{'type':'network',"
        "'path':'/run/ns'},{'type':'user'},{'type':'cgroup'}],'uidMappings':[{'containerID':0"
        ",'hostID':100000,'size':65536},{'containerID':70000,'hostID':5,'size':1}],"
        "'gidMappings':[{'containerID':0,'hostID':1,'size':4294967295}]}}",
        0, &plan);
    assert_int_equal(plan.namespaces.create,
                     CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUSER | CLONE_NEWCGROUP);
    assert_string_equal(plan.namespaces.path[PLAN_NS_NETWORK], "/run/ns");
    assert_null(plan.namespaces.path[PLAN_NS_PID]);
    assert_null(first_step(&plan, PLAN_LOOPBACK_UP)); /* not ours to configure */
    assert_int_equal(plan.uid_map_count, 2);
    assert_int_equal(plan.uid_maps[1].container, 70000);
    assert_int_equal(plan.gid_maps[0].size, 4294967295U);
    plan_free(&plan);
}

static void test_devices(void **state)
{
    (void)state;
    struct plan plan;
    parse_well("{'linux':{'devices':[{'path':'/dev/null','type':'c','major':1,'minor':3,'fileMode':"
               "384,'uid':5},{'path':'/dev/sda','type':'b','major':8,'minor':0},{'path':'/pipe',"
               "'type':'p'}]}}",
               0, &plan);
    const struct plan_step *step = first_step(&plan, PLAN_DEVICE);
    assert_string_equal(step[0].device.path, "/dev/null");
    assert_int_equal(step[0].device.mode, S_IFCHR | 0600);
    assert_int_equal(step[0].device.uid, 5);
    assert_int_equal(step[1].device.mode, S_IFBLK | 0666);
    assert_int_equal(step[2].device.mode, S_IFIFO | 0666);
    assert_string_equal(step[3].device.path, "/dev/zero"); /* null is not made twice */
    plan_free(&plan);

    parse_well("{'mounts':[{'destination':'/dev','source':'/dev','options':['rbind']}]}", 0, &plan);
    assert_null(first_step(&plan, PLAN_DEVICE));
    assert_null(first_step(&plan, PLAN_SYMLINK));
    plan_free(&plan);
}

static void test_resources(void **state)
{
    (void)state;
    struct plan plan;
    parse_well("{}", 0, &plan);
    const struct plan_resources *none = &plan.resources;
    assert_true(none->memory_limit == -1 && none->memory_swap == -1 && none->cpu_quota == -1 &&
                none->cpu_period == -1 && none->cpu_shares == -1 && none->pids_limit == -1 &&
                none->memory_reservation == -1 && !none->cpuset_cpus && !none->cpuset_mems);
    assert_int_equal(none->device_count, 12); /* deny all, then what is always allowed */
    assert_false(none->devices[0].allow);
    assert_int_equal(none->devices[0].type, 'a');
    plan_free(&plan);

    parse_well(
        "{'linux':{'cgroupsPath':'/a/b','resources':{'memory':{'limit':10,'swap':20,"
        "'reservation':5,'kernel':0,'disableOOMKiller':false},'cpu':{'shares':512,'quota':-1,"
        "'period':0,'cpus':'0-1','mems':'','burst':0},'pids':{'limit':7},'blockIO':{'weight':"
        "0},'devices':[{'allow':false},{'allow':true,'type':'u','major':1,'access':'r'},"
        "{'allow':false,'access':'rwa'},{'allow':true,'access':'mra'}]}}}",
        0, &plan);
    const struct plan_resources *some = &plan.resources;
    assert_true(some->memory_limit == 10 && some->memory_swap == 20 &&
                some->memory_reservation == 5 && some->cpu_shares == 512 &&
                some->cpu_quota == PLAN_UNLIMITED && some->cpu_period == -1 &&
                some->pids_limit == 7 && !some->cpuset_mems);
    assert_string_equal(some->cpuset_cpus, "0-1");
    assert_string_equal(plan.cgroup_path, "/a/b");
    assert_true(some->devices[0].read && some->devices[0].write && some->devices[0].mknod);
    assert_int_equal(some->devices[1].type, 'c');
    assert_true(some->devices[1].major == 1 && some->devices[1].minor == -1);
    assert_true(some->devices[1].read && !some->devices[1].write);
    const struct plan_device_rule *denied = &some->devices[2], *allowed = &some->devices[3];
    assert_true(denied->read && denied->write && denied->mknod);
    assert_true(allowed->read && !allowed->write && allowed->mknod);
    plan_free(&plan);
}

/* A working directory is made before a root becomes read-only, and for no later process. */
static void test_cwd_made(void **state)
{
    static const struct {
        const char *document, *made;
    } rows[] = {
        { "{'root':{'path':'rootfs','readonly':true},'process':{'cwd':'/srv'}}", "/srv" },
        { "{'root':{'path':'rootfs','readonly':true},'process':{'cwd':'/'}}", NULL },
        { "{'root':{'path':'rootfs'},'process':{'cwd':'/srv'}}", "/srv" },
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct plan plan;
        parse_well(rows[i].document, 0, &plan);
        bool made = false;
        for (size_t n = 0; n < plan.step_count; n++) {
            if (plan.steps[n].kind == PLAN_READONLY_ROOT)
                assert_int_equal(made, rows[i].made != NULL);
            if (plan.steps[n].kind != PLAN_CWD_MAKE)
                continue;
            made = true;
            assert_string_equal(plan.steps[n].path, rows[i].made ? rows[i].made : "nowhere");
        }
        assert_int_equal(made, rows[i].made != NULL);
        plan_free(&plan);
    }
}

static void test_process_members(void **state)
{
    (void)state;
    struct plan plan;
    parse_well("{'process':{'terminal':true,'consoleSize':{'height':24,'width':80},'user':{'umask':"
               "63,'username':'ignored'},'cwd':'/srv','env':['A=','B=c=d'],'oomScoreAdj':-5,"
               "'capabilities':{'ambient':['CAP_KILL','CAP_OF_THE_FUTURE'],'bounding':null}}}",
               0, &plan);
    assert_true(plan.terminal && plan.terminal_rows == 24 && plan.terminal_columns == 80);
    assert_int_equal(first_step(&plan, PLAN_UMASK)->umask, 077);
    assert_null(first_step(&plan, PLAN_USER)->user.name);
    assert_string_equal(first_step(&plan, PLAN_CWD)->path, "/srv");
    assert_int_equal(first_step(&plan, PLAN_OOM_SCORE)->oom_score.score, -5);
    assert_true(first_step(&plan, PLAN_CAPABILITIES)->capabilities.ambient == 1 << CAP_KILL);
    const struct plan_exec *exec = &first_step(&plan, PLAN_EXEC)->exec;
    assert_string_equal(exec->argv[0], "sh");
    assert_null(exec->argv[1]);
    assert_string_equal(exec->env[1], "B=c=d");
    assert_null(exec->env[2]);
    plan_free(&plan);
}

/* Extensions are for hybrid's own documents: of a bundle, only limits of networks hold; those of
 * disks are refused. */
static void test_extensions(void **state)
{
    static const char *const own =
        "{'process':{'user':{'username':'web:web'}},'mounts':[{'destination':'/etc/hosts','type':"
        "'file','source':'text','options':['ro']}],'annotations':{'hybrid.init':'true',"
        "'hybrid.disk.readBps':'4096','hybrid.disk.writeIops':'1',"
        "'hybrid.network.sendBps':'65536'}}";
    static const char *const bundle =
        "{'process':{'user':{'username':'web:web'}},'mounts':[{'destination':'/etc/hosts','type':"
        "'file','source':'text','options':['ro']}],'annotations':{'hybrid.init':'true',"
        "'hybrid.network.sendBps':'65536'}}";
    (void)state;
    struct plan plan;
    parse_well(own, PLAN_PARSE_OWN, &plan);
    assert_int_equal(plan.resources.rates[PLAN_DISK_READ_BYTES], 4096);
    assert_int_equal(plan.resources.rates[PLAN_DISK_WRITE_BYTES], 0);
    assert_int_equal(plan.resources.rates[PLAN_DISK_WRITE_REQUESTS], 1);
    assert_string_equal(first_step(&plan, PLAN_USER)->user.name, "web:web");
    const struct plan_file *file = &first_step(&plan, PLAN_FILE)->file;
    assert_string_equal(file->content, "text");
    assert_int_equal(file->length, 4);
    assert_int_equal(file->mode, 0644);
    assert_string_equal(first_step(&plan, PLAN_READONLY_PATH)->path, "/etc/hosts");
    assert_true(plan.init);
    assert_null(plan.root_path);
    plan_free(&plan);

    parse_well(bundle, 0, &plan);
    assert_int_equal(plan.resources.rates[PLAN_NETWORK_SEND_BYTES], 65536);
    assert_null(first_step(&plan, PLAN_USER)->user.name);
    assert_null(first_step(&plan, PLAN_FILE));
    assert_string_equal(first_step(&plan, PLAN_MOUNT)->mount.type, "file");
    assert_false(plan.init);
    assert_string_equal(plan.root_path, "rootfs");
    plan_free(&plan);
}

/* Of a pod's sandbox nothing of what a program would need, or could use, makes a step. */
static void test_sandbox(void **state)
{
    static const enum plan_step_kind order[] = {
        PLAN_HOOKS,        PLAN_HOOK_CREATE,   PLAN_ROOT,      PLAN_HOSTNAME, PLAN_LOOPBACK_UP,
        PLAN_SYSCTL,       PLAN_READONLY_ROOT, PLAN_OOM_SCORE, PLAN_USER,     PLAN_CAPABILITIES,
        PLAN_NO_NEW_PRIVS, PLAN_SECCOMP,       PLAN_PAUSE,
    };
    (void)state;
    struct plan plan;
    parse_well("{'hostname':'pod','root':{'path':'/etc'},'mounts':[{'destination':'/x',"
               "'type':'bind','source':'/'}],'process':{'args':['sh'],'terminal':true,"
               "'oomScoreAdj':-9,'user':{'uid':0},'capabilities':{'effective':['CAP_SYS_ADMIN']},"
               "'rlimits':[{'type':'RLIMIT_CORE','soft':1,'hard':1}]},'linux':{'namespaces':"
               "[{'type':'uts'},{'type':'network'},{'type':'mount'}],'sysctl':{'net.core.somaxconn'"
               ":'5'},'devices':"
               "[{'path':'/dev/mem','type':'c','major':1,'minor':1}],'maskedPaths':['/x']},"
               "'hooks':{'prestart':[{'path':'/h'}],'createContainer':[{'path':'/c'}]}}",
               PLAN_PARSE_SANDBOX, &plan);
    assert_order(&plan, order, ROWS(order));
    assert_null(plan.root_path);
    assert_false(plan.terminal);
    assert_int_equal(first_step(&plan, PLAN_USER)->user.uid, 65534);
    assert_int_equal(first_step(&plan, PLAN_CAPABILITIES)->capabilities.effective, 0);
    assert_int_equal(first_step(&plan, PLAN_CAPABILITIES)->capabilities.bounding, 0);
    assert_int_equal(first_step(&plan, PLAN_OOM_SCORE)->oom_score.score, -9);
    plan_free(&plan);
}

/* --- exec ---------------------------------------------------------------------------------------
 */

static void test_exec_process(void **state)
{
    static const enum plan_step_kind order[] = {
        PLAN_UMASK, PLAN_USER, PLAN_CWD, PLAN_CAPABILITIES, PLAN_SECCOMP, PLAN_EXEC,
    };
    (void)state;
    struct plan base, plan;
    struct error error = { 0 };
    parse_well(
        "{'process':{'capabilities':{'bounding':['CAP_KILL']}},'linux':{'seccomp':{"
        "'defaultAction':'SCMP_ACT_ALLOW'},'namespaces':[{'type':'mount'},{'type':'user'}],"
        "'uidMappings':[{'containerID':0,'hostID':7,'size':1}],'gidMappings':[{'containerID':"
        "0,'hostID':8,'size':1}]}}",
        0, &base);
    assert_int_equal(plan_parse_process(load("{'cwd':'/srv','args':['id'],'terminal':true}"), &base,
                                        0, &plan, &error),
                     0);
    assert_order(&plan, order, ROWS(order));
    assert_true(plan.terminal);
    assert_int_equal(plan.namespaces.create, base.namespaces.create);
    assert_int_equal(plan.uid_maps[0].host, 7);
    assert_int_equal(plan.gid_maps[0].host, 8);
    assert_true(first_step(&plan, PLAN_CAPABILITIES)->capabilities.bounding == 1 << CAP_KILL);
    plan_free(&base); /* the exec plan stands on its own */
    assert_int_equal(plan.uid_maps[0].host, 7);
    plan_free(&plan);

    parse_well("{}", 0, &base);
    assert_int_equal(plan_parse_process(load("[]"), &base, 0, &plan, &error), -1);
    assert_string_equal(error.message, "the process must be a JSON object");
    assert_int_equal(plan_parse_process(load("{'cwd':'/'}"), &base, 0, &plan, &error), -1);
    assert_string_equal(error.message, "process.args must be a list with at least the command");
    plan_free(&base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_printed),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_describe_bounds),
        cmocka_unit_test(test_mount_options),
        cmocka_unit_test(test_binds),
        cmocka_unit_test(test_namespaces),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_resources),
        cmocka_unit_test(test_cwd_made),
        cmocka_unit_test(test_process_members),
        cmocka_unit_test(test_extensions),
        cmocka_unit_test(test_exec_process),
        cmocka_unit_test(test_sandbox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* OCI configurations that must be refused, each with its message; and what must not be. */
/* link: plan */
#include "test_plan_json.h"

#include "runtime/plan/compose.h"

static const struct {
    const char *changes;
    const char *message;
} refused[] = {
    { "[]", "the configuration must be a JSON object" },
    { "{'ociVersion':null}", "ociVersion is missing; is this an OCI runtime configuration?" },
    { "{'ociVersion':'2.0.0'}", "ociVersion 2.0.0 is not supported; 1.x is" },
    { "{'root':null}", "root is missing; it says where the root file system is" },
    { "{'root':{'path':''}}", "root.path must be the path of a directory" },
    { "{'root':{'readonly':'yes'}}", "root.readonly must be true or false" },
    { "{'hooks':[]}", "hooks must be an object" },
    { "{'hooks':{'prestart':[{'path':'x'}]}}", "hooks.prestart[0].path must be an absolute path" },
    { "{'hooks':{'poststop':[{'path':'/x'},{'path':'/x','timeout':0}]}}",
      "hooks.poststop[1].timeout must be a whole number from 1 to 86400" },
    { "{'hooks':{'startContainer':[{'path':'/x','args':[1]}]}}",
      "hooks.startContainer[0].args[0] must be a string" },
    { "{'vm':{'kernel':{'path':'/x'}}}", "vm is not supported; remove it from the configuration" },
    { "{'linux':null}", "linux.namespaces must have a mount namespace: the mounts would be made "
                        "on the host" },
    { "{'linux':{'timeOffsets':{'boottime':{'secs':1}}}}",
      "linux.timeOffsets needs a time namespace without a path in linux.namespaces" },
    { "{'linux':{'personality':{'domain':'LINUX64'}}}",
      "linux.personality.domain \"LINUX64\" is unknown; did you mean LINUX" },
    { "{'linux':{'personality':{'flags':['ADDR_NO_RANDOMIZE']}}}",
      "linux.personality.flags \"ADDR_NO_RANDOMIZE\" is unknown" },
    { "{'linux':{'rootfsPropagation':'ro'}}", "linux.rootfsPropagation must be shared, slave, "
                                              "private or unbindable, or one of them with "
                                              "r" },
    { "{'process':{'apparmorProfile':5}}", "process.apparmorProfile must be a string" },
    { "{'process':{'selinuxLabel':5}}", "process.selinuxLabel must be a string" },
    { "{'process':{'selinuxLabel':'\\nsystem_u:system_r:container_t:s0'}}",
      "process.selinuxLabel must be a name without control characters" },
    { "{'process':{'selinuxLabel':'a\\u007f'}}",
      "process.selinuxLabel must be a name without control characters" },
    { "{'process':{'apparmorProfile':'docker-default\\n'}}",
      "process.apparmorProfile must be a name without control characters" },
    { "{'process':{'ioPriority':{'class':'IOPRIO_CLASS_BB'}}}",
      "process.ioPriority.class \"IOPRIO_CLASS_BB\" is unknown; did you mean IOPRIO_CLASS_BE" },
    { "{'process':{'ioPriority':{'class':'IOPRIO_CLASS_BE','priority':8}}}",
      "process.ioPriority.priority must be a whole number from 0 to 7" },
    { "{'process':{'scheduler':{'policy':'SCHED_OTHER','nice':20}}}",
      "process.scheduler.nice must be a whole number from -20 to 19" },
    { "{'process':{'scheduler':{'policy':'SCHED_FAIR'}}}",
      "process.scheduler.policy \"SCHED_FAIR\" is unknown; did you mean SCHED_FIFO" },
    { "{'process':{'execCPUAffinity':{'initial':'0,'}}}",
      "process.execCPUAffinity.initial must be a list of processors such as 0-3,7" },
    { "{'process':{'execCPUAffinity':{'final':'3-1'}}}",
      "process.execCPUAffinity.final must be a list of processors such as 0-3,7" },
    { "{'process':{'execCPUAffinity':{'final':'0-1024'}}}",
      "process.execCPUAffinity.final must be a list of processors such as 0-3,7" },
    { "{'process':{'args':[]}}", "process.args must be a list with at least the command" },
    { "{'process':{'args':['sh',5]}}", "process.args[1] must be a string" },
    { "{'process':{'args':['a\\u0000b']}}", "process.args[0] must be a string without NUL bytes" },
    { "{'process':{'env':['A']}}", "process.env[0] is \"A\", not NAME=VALUE" },
    { "{'process':{'cwd':'srv'}}", "process.cwd must be an absolute path" },
    { "{'process':{'user':{'uid':-1}}}",
      "process.user.uid must be a whole number from 0 to 4294967294" },
    { "{'process':{'user':{'uid':1.5}}}",
      "process.user.uid must be a whole number from 0 to 4294967294" },
    { "{'process':{'user':{'additionalGids':[1,'x']}}}",
      "process.user.additionalGids must be a list of group ids" },
    { "{'process':{'oomScoreAdj':2000}}",
      "process.oomScoreAdj must be a whole number from -1000 to 1000" },
    { "{'process':{'rlimits':[{'type':'RLIMIT_X','soft':1,'hard':1}]}}",
      "process.rlimits[0].type \"RLIMIT_X\" is no resource limit" },
    { "{'process':{'rlimits':[{'type':'RLIMIT_CORE','soft':1}]}}",
      "process.rlimits[0].hard must be given" },
    { "{'process':{'rlimits':[{'type':'RLIMIT_CORE','soft':2,'hard':1}]}}",
      "process.rlimits[0]: the soft limit of RLIMIT_CORE is above its hard limit" },
    { "{'process':{'rlimits':[{'type':'RLIMIT_CORE','soft':1,'hard':1},{'type':'RLIMIT_CORE',"
      "'soft':1,'hard':1}]}}",
      "process.rlimits[1].type RLIMIT_CORE appears twice" },
    { "{'annotations':{'hybrid.disk.writeIops':'100'}}",
      "annotations.hybrid.disk.writeIops: a bundle's files are directories of the host, on which "
      "hybrid has no disk to limit; name their devices in linux.resources.blockIO" },
    { "{'annotations':{'run.oci.handler':'krun'}}",
      "annotations.run.oci.handler=krun is not supported; leave it out, and for a VM name the "
      "runtime hybrid-vm" },
    { "{'annotations':{'run.oci.keep_original_groups':'1'}}",
      "annotations.run.oci.keep_original_groups=1 is not supported; name the groups instead of "
      "keeping the caller's (podman: --group-add)" },
    { "{'annotations':{'hybrid.network.sendBps':'65535'}}",
      "annotations.hybrid.network.sendBps must be bytes a second, from 65536 to 1099511627776" },
    { "{'annotations':{'hybrid.network.receivePps':'many'}}",
      "annotations.hybrid.network.receivePps must be a number of packets a second, from 64 to "
      "1099511627776" },
    { "{'mounts':{}}", "mounts must be an array" },
    { "{'mounts':[5]}", "mounts[0] must be an object" },
    { "{'mounts':[{'type':'proc'}]}", "mounts[0].destination must be an absolute path" },
    { "{'mounts':[{'destination':'/x'}]}", "mounts[0].type must be the type of a file system" },
    { "{'mounts':[{'destination':'/x','type':'bind'}]}",
      "mount on /x: a bind mount needs a source" },
    { "{'mounts':[{'destination':'/x','source':'/y','options':['bind','noexce']}]}",
      "mount on /x: noexce is not an option of a bind mount; did you mean noexec" },
    { "{'mounts':[{'destination':'/x','source':'/y','options':['bind','idmap']}]}",
      "mount on /x: option idmap needs mappings, or a user namespace in linux.namespaces" },
    { "{'mounts':[{'destination':'/"
      "x','type':'tmpfs','uidMappings':[{'containerID':0,'hostID':1,'size':1}],"
      "'gidMappings':[{'containerID':0,'hostID':1,'size':1}]}]}",
      "mount on /x: only ids of bind mounts can be mapped" },
    { "{'mounts':[{'destination':'/x','source':'/"
      "y','options':['bind'],'uidMappings':[{'containerID':0,"
      "'hostID':1,'size':1}]}]}",
      "mounts[0] must have both uidMappings and gidMappings, or neither" },
    { "{'mounts':[{'destination':'/x','type':'tmpfs','uidMappings':[{'size':1}]}]}",
      "mounts[0].uidMappings[0] must have containerID, hostID and size" },
    { "{'linux':{'namespaces':[{'type':'mount'},{'type':'mount'}]}}",
      "linux.namespaces[1].type mount appears twice" },
    { "{'linux':{'namespaces':[{'type':'net'}]}}",
      "linux.namespaces[0].type \"net\" is unknown; did you mean network" },
    { "{'linux':{'namespaces':[{'type':'pid','path':'ns'}]}}",
      "linux.namespaces[0].path must be an absolute path" },
    { "{'linux':{'namespaces':[{'type':'mount'},{'type':'user'}]}}",
      "linux.namespaces has a user namespace, but linux.uidMappings or gidMappings is empty" },
    { "{'linux':{'uidMappings':[{'containerID':0,'hostID':1,'size':1}]}}",
      "linux.uidMappings and gidMappings need a user namespace in linux.namespaces" },
    { "{'linux':{'uidMappings':[{'containerID':0,'hostID':1,'size':0}]}}",
      "linux.uidMappings[0].size must be a whole number from 1 to 4294967295" },
    { "{'linux':{'devices':[{'path':'/dev/x','type':'z'}]}}",
      "linux.devices[0].type must be c, u, b or p" },
    { "{'linux':{'devices':[{'path':'/dev/x','type':'c','major':1}]}}",
      "linux.devices[0] must have major and minor" },
    { "{'linux':{'devices':[{'path':'dev/x','type':'p'}]}}",
      "linux.devices[0].path must be an absolute path" },
    { "{'mounts':[{'destination':'/dev','source':'/dev','type':'bind'}],'linux':{'devices':[{"
      "'path':'/dev/x','type':'p'}]}}",
      "linux.devices: /dev is a bind mount, so the nodes would be made on the host; remove one "
      "of them" },
    { "{'hostname':'x'}",
      "hostname needs a uts namespace in linux.namespaces: it would rename the host" },
    { "{'linux':{'sysctl':{'net.ipv4.ip_forward':'1'}}}",
      "linux.sysctl: net.ipv4.ip_forward needs a network namespace in linux.namespaces: it "
      "would "
      "change the host" },
    { "{'linux':{'sysctl':{'kernel.panic':'1'}}}",
      "linux.sysctl: kernel.panic does not belong to a namespace: it would change the host; "
      "remove it from the configuration" },
    { "{'linux':{'namespaces':[{'type':'mount'},{'type':'network'}],'sysctl':{"
      "'net...kernel.panic':'1'}}}",
      "linux.sysctl: net...kernel.panic does not belong to a namespace: it would change the "
      "host; remove it from the configuration" },
    { "{'linux':{'namespaces':[{'type':'mount'},{'type':'network'}],'sysctl':{"
      "'net./../kernel/panic':'1'}}}",
      "linux.sysctl.net./../kernel/panic must be a dotted name with a string" },
    { "{'domainname':'a','linux':{'namespaces':[{'type':'mount'},{'type':'uts'}],'sysctl':{"
      "'kernel.domainname':'b'}}}",
      "linux.sysctl: kernel.domainname contradicts domainname; leave one of them out" },
    { "{'linux':{'maskedPaths':['proc']}}", "linux.maskedPaths must be a list of absolute paths" },
    { "{'linux':{'cgroupsPath':'/a/../b'}}", "linux.cgroupsPath must be a path without \"..\"" },
    { "{'linux':{'resources':{'unified':{'cgroup.procs':'1'}}}}",
      "linux.resources.unified: \"cgroup.procs\" is not a limit of a cgroup v2 controller, "
      "such "
      "as memory.high, with a string" },
    { "{'linux':{'resources':{'unified':{'../memory.high':'1'}}}}",
      "linux.resources.unified: \"../memory.high\" is not a limit of a cgroup v2 controller, "
      "such "
      "as memory.high, with a string" },
    { "{'linux':{'resources':{'unified':{'memory.high':1}}}}",
      "linux.resources.unified.memory.high must be a string" },
    { "{'linux':{'resources':{'blockIO':{'weight':9}}}}",
      "linux.resources.blockIO.weight must be a whole number from 10 to 1000" },
    { "{'linux':{'resources':{'blockIO':{'throttleReadBpsDevice':[{'major':8,'rate':1}]}}}}",
      "linux.resources.blockIO.throttleReadBpsDevice[0] must have major and minor" },
    { "{'linux':{'resources':{'hugepageLimits':[{'pageSize':'../2MB','limit':1}]}}}",
      "linux.resources.hugepageLimits[0].pageSize must be a size such as 2MB" },
    { "{'linux':{'resources':{'network':{'priorities':[{'name':'a b','priority':1}]}}}}",
      "linux.resources.network.priorities[0].name must be the name of an interface" },
    { "{'linux':{'resources':{'memory':{'limit':10,'swap':5}}}}",
      "linux.resources.memory.swap is below .limit; it counts memory plus swap" },
    { "{'linux':{'resources':{'devices':[{'access':'r'}]}}}",
      "linux.resources.devices[0].allow must be given" },
    { "{'linux':{'resources':{'devices':[{'allow':true,'access':'rx'}]}}}",
      "linux.resources.devices[0].access must be made of the letters r, w and m" },
    { "{'linux':{'resources':{'devices':[{'allow':true,'access':'a'}]}}}",
      "linux.resources.devices[0].access must be made of the letters r, w and m" },
    { "{'linux':{'resources':{'devices':[{'allow':true,'type':'bc'}]}}}",
      "linux.resources.devices[0].type must be a, b, c or u" },
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS(refused); i++) {
        struct plan plan;
        struct error error = { 0 };
        if (plan_parse(changed(refused[i].changes), 0, &plan, &error) == 0)
            fail_msg("accepted: %s", refused[i].changes);
        assert_string_equal(error.message, refused[i].message);
        assert_int_equal(error.exit_code, EXIT_OURS);
        plan_free(&plan); /* safe after a failure */
    }
}

/* What the specification does not know must not be an error. */
static void test_unknown_ignored(void **state)
{
    (void)state;
    struct plan plan;
    struct error error = { 0 };
    json_t *document = changed(
        "{'future':{'x':1},'process':{'future':1},'linux':{'future':[1]},'hooks':{},"
        "'annotations':{'a':'b'},'mounts':[{'destination':'/x','type':'tmpfs','future':1},{"
        "'destination':'/y','source':'/y','type':'bind','options':['z','size=1m','U','Z','ro']}]}");
    if (plan_parse(document, 0, &plan, &error) < 0)
        fail_msg("%s", error.message);
    plan_free(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_unknown_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

"""What a bundle's files are to mounts, hooks and joined namespaces: as other runtimes have it, and engines and hooks expect."""

import glob
import os
import subprocess

from harness import Skip, descendants, process_stat
from table import test
from table.bundles import CONTAINERS, Bundle, cgroup_file, in_vm

CGROUPS = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}


def bind(source, destination, *options):
    return {"destination": destination, "type": "bind", "source": source, "options": ["bind", *options]}


def make_file(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def map_users(bundle):
    """Root in there is user 100000 here, who finds what he needs in the root file system."""
    for directory in ("proc", "dev", "sys", "mnt"):
        os.makedirs(f"{bundle.path}/rootfs/{directory}", exist_ok=True)
    linux = bundle.config["linux"]
    linux["namespaces"].append({"type": "user"})
    for kind in ("uid", "gid"):
        linux[kind + "Mappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000}]


@test("bundle/hooks-mount-into-the-root", **CONTAINERS)
def hooks(t):
    """Before it is entered, the root and all that is mounted in it lies at its path, in the container's mount namespace."""
    bundle = Bundle(t, "cat /mnt/runtime /mnt/container /mnt/relative; echo $(grep -c ' /mnt' /proc/mounts)")
    root = bundle.path + "/rootfs"
    for name in ("runtime", "container", "relative"):
        make_file(f"{bundle.path}/{name}", name + "\n")
        make_file(f"{root}/mnt/{name}", "covered\n")
    runtime = f"pid=$(grep -o '\"pid\":[0-9]*' | cut -d: -f2); nsenter -m -t $pid mount --bind {bundle.path}/runtime {root}/mnt/runtime" \
              f" && nsenter -m -t $pid test -e {root}/proc/version"
    given = bundle.path + "/given"
    container = f"env >{given}; mount --bind {bundle.path}/container {root}/mnt/container && mount --bind {bundle.path}/relative mnt/relative"
    script = {kind: {"path": "/bin/sh", "args": ["sh", "-c", text]} for kind, text in (
        ("createRuntime", runtime), ("createContainer", container), ("startContainer", "echo $MINE $HOME >/environment"))}
    bundle.config["hooks"] = {kind: [hook] for kind, hook in script.items()}
    bundle.config["process"]["env"] += ["MINE=mine", "LD_LIBRARY_PATH=.", "PATH=.:/bin"]
    caller = {**t.host.env, "MINE": "the caller's", "PATH": ":" + t.host.env["PATH"]}
    t.equal("what the workload sees", "runtime\ncontainer\nrelative\n3\n", bundle.run(env=caller))
    with open(given, encoding="utf-8") as file:
        seen = dict(line.rstrip("\n").split("=", 1) for line in file)
    t.equal("environment of a hook of the host's that begins in the image's files", {"PATH"}, set(seen) - {"PWD", "SHLVL", "_", "OLDPWD"})
    t.check(all(each.startswith("/") for each in seen["PATH"].split(":")), f"its PATH is {seen['PATH']}")
    t.equal("environment of a hook that names none, inside", "mine /\n", bundle.read("environment"))
    bundle = Bundle(t, ["true"])
    seen = bundle.path + "/environment"
    bundle.config["hooks"] = {"prestart": [{"path": "/bin/sh", "args": ["sh", "-c", f"echo $MINE >{seen}"]}]}
    bundle.run(env={**t.host.env, "MINE": "the caller's"})
    with open(seen, encoding="utf-8") as file:
        t.equal("the same, outside", "the caller's\n", file.read())


@test("bundle/sources-of-mounts", **CONTAINERS)
def sources(t):
    """Relative to the bundle, whatever was mounted before; in the root, with what was; where its own root may not go."""
    bundle = Bundle(t, "cat /relative /again/inner /private")
    make_file(bundle.path + "/here/file", "here\n")
    make_file(bundle.path + "/closed/file", "private\n")
    os.chmod(bundle.path + "/closed", 0o700)
    os.makedirs(bundle.path + "/rootfs/mnt")
    mounts = [CGROUPS, bind("here/file", "/relative"), {"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"},
              bind("./here/file", "/mnt/inner"), bind(bundle.path + "/rootfs/mnt", "/again", "rbind"),
              bind(bundle.path + "/closed/file", "/private")]
    bundle.config["mounts"] += mounts
    t.equal("as the host's root", "here\nhere\nprivate\n", bundle.run())
    # The directory of the bundle is closed as well: there it finds neither the root nor another source.
    map_users(bundle)
    bundle.config["mounts"] = [each for each in bundle.config["mounts"] if each is not CGROUPS and each["destination"] != "/again"]
    bundle.config["process"]["args"][2] = "cat /relative /mnt/inner /private"
    bundle.id = t.name()
    t.equal("in a user namespace", "here\nhere\nprivate\n", bundle.run())


def run_below_readonly(t, bundle, path):
    """Runs it where a directory is a mount that is read-only and nosuid, in a mount namespace of its own, which ends with it."""
    bundle.write()
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro,nosuid "$0" && exec "$@"'
    return t.finish(["unshare", "-m", "sh", "-c", script, path, *t.command("run", "--bundle", bundle.path, bundle.id)], None, 20, None)


def give_users_and_mounts(bundle):
    map_users(bundle)
    bundle.config["process"]["capabilities"] = {kind: ["CAP_SYS_ADMIN"] for kind in ("bounding", "effective", "permitted", "inheritable")}


def check_source(t, *options, joined=None, **mappings):
    bundle = Bundle(t, "busybox mount -o remount,bind,rw /private; echo changed >/private; cat /private")
    make_file(bundle.path + "/closed/file", "as it was\n")
    make_file(bundle.path + "/rootfs/private", "")
    os.chmod(bundle.path + "/closed/file", 0o666)
    os.chmod(bundle.path + "/closed", 0o700)
    give_users_and_mounts(bundle)
    bundle.config["mounts"].append({**bind(bundle.path + "/closed/file", "/private", *options), **mappings})
    if joined:
        linux = bundle.config["linux"]
        for namespace in linux["namespaces"]:
            if namespace["type"] in ("user", "pid"):
                namespace["path"] = f"/proc/{joined}/ns/{namespace['type']}"
        del linux["uidMappings"], linux["gidMappings"]
    result = run_below_readonly(t, bundle, bundle.path + "/closed")
    if "its file system may not know how" in result.err:
        raise Skip(result.err.strip())
    t.equal("what is in the file", "as it was\n", result.out, result)
    t.match("why", "permission denied", result.err.lower())
    t.match("and", "read-only file system", result.err.lower())


@test("bundle/source-stays-read-only", **CONTAINERS)
def stays_readonly(t):
    """What is read-only on the host root of a user namespace cannot make writable, also where its own root may not go."""
    check_source(t)


@test("bundle/mapped-source-stays-read-only", **CONTAINERS)
def mapped_stays_readonly(t):
    """The same where the ids of its files are mapped, which only the host's root can do; also in a user namespace that is joined."""
    check_source(t, "idmap")
    first = Bundle(t, "exec sleep 1000")
    map_users(first)
    first.create()
    mapping = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    check_source(t, joined=first.state()["pid"], uidMappings=mapping, gidMappings=mapping)


@test("bundle/root-stays-read-only", **CONTAINERS)
def root_stays_readonly(t):
    """The same of its own root directory, also where that user may not go to it; and of what else the host forbids there."""
    for mode in (0o700, 0o755):
        bundle = Bundle(t, "busybox mount -o remount,bind,rw /; echo changed >/file; busybox mount -o remount,bind,ro /; "
                           "cat /file; grep -o ' / .* ro,[^ ]*' /proc/mounts")
        make_file(bundle.path + "/rootfs/file", "as it was\n")
        os.chmod(bundle.path + "/rootfs/file", 0o666)
        give_users_and_mounts(bundle)
        os.chmod(bundle.path, mode)
        result = run_below_readonly(t, bundle, bundle.path + "/rootfs")
        t.match("what is in the file, and the root's flags", "^as it was\n.* ro,nosuid", result.out)
        t.match("why", "permission denied", result.err.lower())
        t.match("and", "read-only file system", result.err.lower())


@test("bundle/modes-of-tmpfs", **CONTAINERS)
def modes(t):
    """A tmpfs without a mode has that of the directory it covers; a read-only one can be filled by the mounts that follow."""
    bundle = Bundle(t, "stat -c %a /covered /new /given; touch /covered/x /dev/x; cat /covered/file; ls /dev/null /dev/pts/ptmx")
    os.makedirs(bundle.path + "/rootfs/covered")
    os.chmod(bundle.path + "/rootfs/covered", 0o710)
    make_file(bundle.path + "/file", "filled\n")
    bundle.config["mounts"][1]["options"].append("ro")
    bundle.config["mounts"] += [
        {"destination": "/covered", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]},
        {"destination": "/new", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/given", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "mode=0700"]},
        bind("file", "/covered/file")]
    bundle.write()
    result = t.hybrid("run", "--bundle", bundle.path, bundle.id)
    t.equal("modes, and what is there", "710\n1777\n700\nfilled\n/dev/null\n/dev/pts/ptmx\n", result.out)
    t.equal("writes that were refused", 2, result.err.count("Read-only file system"))


@test("bundle/overlay-of-long-paths", **CONTAINERS)
def overlay(t):
    """As podman has them for `-v DIRECTORY:/x:O`: more than one string of fsconfig(2) takes."""
    bundle = Bundle(t, "cat /both/file /both/other; echo new >/both/file; touch /both/x")
    directories = {}
    for name in ("lower", "second", "upper", "work"):
        directories[name] = f"{bundle.path}/{name}-{'x' * 200}"
        os.makedirs(directories[name])
    make_file(directories["lower"] + "/file", "file\n")
    make_file(directories["second"] + "/other", "other\n")
    os.mkdir(bundle.path + "/rootfs/both")
    bundle.config["mounts"].append({"destination": "/both", "type": "overlay", "source": "overlay", "options": [
        "nosuid", f"lowerdir={directories['lower']}:{directories['second']}",
        f"upperdir={directories['upper']}", f"workdir={directories['work']}"]})
    t.equal("what is in it", "file\nother\n", bundle.run())
    t.equal("written", ["file", "x"], sorted(os.listdir(directories["upper"])))


@test("bundle/mount-on-a-dangling-link", **CONTAINERS)
def dangling(t):
    """Such as /etc/resolv.conf often is in images: the file is made where it leads, in the root."""
    bundle = Bundle(t, "cat /etc/resolv.conf /run/systemd/resolv.conf /etc/up /out; cat /etc/d/x/y /made/x/y")
    root = bundle.path + "/rootfs"
    os.mkdir(root + "/etc")
    make_file(bundle.path + "/file", "it\n")
    for name, target in (("resolv.conf", "/run/systemd/resolv.conf"), ("up", "../../../../out"), ("d", "../made"), ("loop", "loop")):
        os.symlink(target, f"{root}/etc/{name}")
    bundle.config["mounts"] += [bind("file", "/etc/" + name) for name in ("resolv.conf", "up", "d/x/y")]
    t.equal("what is there", "it\n" * 6, bundle.run())
    t.equal("made in the root", ["made", "out", "run"], sorted({"made", "out", "run"} & set(os.listdir(root))))
    bundle.id = t.name()
    bundle.config["mounts"].append(bind("file", "/etc/loop"))
    bundle.write()
    t.match("a loop", "symbolic link", t.hybrid("run", "--bundle", bundle.path, bundle.id).err)


@test("bundle/joins-user-and-time", **CONTAINERS)
def joins(t):
    """All namespaces of another container, also the time namespace, which is older than its user namespace."""
    if not os.path.exists("/proc/self/ns/time"):
        raise Skip("this kernel has no time namespaces")
    first = Bundle(t, ["sleep", "1000"])
    map_users(first)
    first.config["linux"]["namespaces"].append({"type": "time"})
    first.config["linux"]["timeOffsets"] = {"boottime": {"secs": 500000000}}
    first.create()
    pid = first.state()["pid"]
    second = Bundle(t, "cat /proc/uptime /proc/self/uid_map")
    map_users(second)
    second.config["mounts"] = first.config["mounts"]
    files = {"mount": None, "network": "net"}
    second.config["linux"] = {"namespaces": [
        {"type": each["type"], **({} if each["type"] == "mount" else {"path": f"/proc/{pid}/ns/{files.get(each['type'], each['type'])}"})}
        for each in first.config["linux"]["namespaces"]]}
    uptime, _, *maps = second.run().split()
    t.check(float(uptime) > 500000000, f"it is up for {uptime} s")
    t.equal("its users", ["0", "100000", "1000"], maps)


@test("bundle/devices-of-a-user-namespace", **CONTAINERS)
def devices(t):
    """A listed device is what the list says, also of another name than the host's, for users of the container's own
    namespace or of one that is joined. The host's own node is there, and nobody's, where the list says just that, or has
    an owner who is not mapped, or hybrid may make none either."""
    commands = "stat -c '%n %t:%T %a %u:%g' /dev/it /dev/full /dev/null; head -c 2 /dev/it | wc -c; chmod 600 /dev/full; stat -c %a /dev/full"
    listed = [{"path": "/dev/it", "type": "c", "major": 1, "minor": 5, "uid": 10, "gid": 11, "fileMode": 0o444},
              {"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "uid": 0, "gid": 0, "fileMode": 0o640}]
    mode = os.stat("/dev/full").st_mode
    first = Bundle(t, "exec sleep 1000")
    map_users(first)
    first.create()
    joined = {"type": "user", "path": f"/proc/{first.state()['pid']}/ns/user"}
    for user in ({"type": "user"}, joined):
        bundle = Bundle(t, commands)
        map_users(bundle)
        linux = bundle.config["linux"]
        linux["namespaces"][-1] = user
        linux["devices"] = listed
        if "path" in user:
            del linux["uidMappings"], linux["gidMappings"]
        t.equal("the devices", "/dev/it 1:5 444 10:11\n/dev/full 1:7 640 0:0\n/dev/null 1:3 666 65534:65534\n2\n600\n", bundle.run())
    t.equal("the host's", mode, os.stat("/dev/full").st_mode)
    bundle = Bundle(t, "stat -c '%n %t:%T %u' /dev/full; chmod 600 /dev/full")
    map_users(bundle)
    linux = bundle.config["linux"]
    linux["devices"] = [{"path": "/dev/nothing", "type": "c", "major": 1, "minor": 5, "uid": 1000}]
    t.match("without such a user", "owner of the device /dev/nothing: the user namespace has no id 1000", bundle.create(status=125))
    host = os.stat("/dev/full")
    for name, device in (("just as the host has it", {"fileMode": host.st_mode & 0o7777, "uid": host.st_uid, "gid": host.st_gid}),
                         ("whose owner nobody is there", {"fileMode": 0o640, "uid": 0, "gid": 5000})):
        linux["devices"] = [{**listed[1], **device}]
        bundle.write()
        result = t.hybrid("run", "--bundle", bundle.path, f"{bundle.id}-{device['gid']}")
        t.equal(name, "/dev/full 1:7 65534\n", result.out, result)
    linux["devices"] = listed[1:]
    bundle.write()
    line = ["setpriv", "--bounding-set=-mknod", "--inh-caps=-mknod", *t.command("run", "--bundle", bundle.path, bundle.id + "-without")]
    result = t.finish(line, None, 60, None)
    t.equal("without CAP_MKNOD", "/dev/full 1:7 65534\n", result.out, result)
    t.match("why not", "(not permitted|read-only)", result.err.lower())


@test("bundle/empty-cpuset-above", **CONTAINERS)
def empty_cpuset(t):
    """On v1, in a cgroup that somebody else made and gave no processors."""
    if not os.path.exists("/sys/fs/cgroup/cpuset/cpuset.cpus"):
        raise Skip("this host has no cpuset of cgroup v1")
    bundle = Bundle(t, ["true"])
    above = f"/sys/fs/cgroup/cpuset/{bundle.id}-above"
    bundle.config["linux"]["cgroupsPath"] = f"/{bundle.id}-above/it"
    bundle.config["linux"]["resources"] = {"cpu": {"cpus": "0"}}
    os.mkdir(above)
    try:
        bundle.run()
    finally: # in each hierarchy, a runtime makes what is above
        for directory in glob.glob(f"/sys/fs/cgroup/*/{os.path.basename(above)}"):
            os.rmdir(directory)


@test("bundle/cgroup-above-has-processes", **CONTAINERS)
def crowded(t):
    """As the root that hybrid sees in a container: it hands on no controllers, and becomes no threaded domain."""
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        raise Skip("this host has cgroup v1, where any cgroup may have processes")
    bundle = Bundle(t, ["cat", "/proc/self/cgroup"])
    above = f"/sys/fs/cgroup/{bundle.id}-above"
    bundle.config["linux"]["cgroupsPath"] = f"/{bundle.id}-above/it"
    bundle.config["linux"]["namespaces"].remove({"type": "cgroup"})
    os.mkdir(above)
    t.closers.append(lambda: os.rmdir(above))
    with subprocess.Popen(["sleep", "1000"]) as sleep:
        try:
            with open(above + "/cgroup.procs", "w", encoding="ascii") as file:
                file.write(str(sleep.pid))
            t.equal("without limits", f"0::/{bundle.id}-above/it\n", bundle.run())
            bundle.config["linux"]["resources"] = {"memory": {"limit": 64 << 20}}
            errors = bundle.create(status=125)
            t.match("with one", "memory limit to 67108864: a cgroup above .* has processes.*move them", errors)
            del bundle.config["linux"]["resources"]
            bundle.config["process"]["args"] = ["sleep", "1000"]
            bundle.create()
            update = t.hybrid("update", "--memory", "64m", bundle.id)
            t.equal("exit status of the update", 125, update.exit, update)
            t.match("the update", "a cgroup above .* has processes.*move them", update.err)
            with open(above + "/cgroup.type", encoding="ascii") as file:
                t.equal("what it is still", "domain\n", file.read())
        finally:
            sleep.kill()
    t.verb("update", "--memory", "64m", bundle.id)
    t.equal("when they are gone", str(64 << 20), cgroup_file(f"{bundle.id}-above/it", "memory.none", "memory.max"))


@test("bundle/quota-keeps-the-period", **CONTAINERS)
def quota(t):
    bundle = Bundle(t, ["sleep", "1000"])
    bundle.config["linux"]["cgroupsPath"] = "/" + bundle.id
    bundle.config["linux"]["resources"] = {"cpu": {"quota": 50000, "period": 90000}}
    bundle.create()
    t.verb("update", "--cpu-quota", "60000", bundle.id)
    t.match("the period", r"(^|\s)90000$", cgroup_file(bundle.id, "cpu.cfs_period_us", "cpu.max"))


@test("bundle/frozen-cgroup", **CONTAINERS)
def frozen(t):
    """Nothing could start in there: it is refused, and nobody waits for ever."""
    bundle = Bundle(t, ["true"])
    bundle.config["linux"]["cgroupsPath"] = "/" + bundle.id
    for directory, file, text in (("/sys/fs/cgroup/freezer", "freezer.state", "FROZEN"), ("/sys/fs/cgroup", "cgroup.freeze", "1")):
        place = f"{directory}/{bundle.id}"
        if os.path.isdir(directory):
            os.mkdir(place)
            if os.path.exists(f"{place}/{file}"):
                break
            os.rmdir(place)
    else:
        raise Skip("this host has no cgroup to freeze")
    try:
        with open(f"{place}/{file}", "w", encoding="ascii") as state:
            state.write(text)
        t.match("stderr of create", f"the cgroup {bundle.id} is frozen", bundle.create(status=125))
        t.check(os.path.isdir(place), "somebody else's cgroup has gone")
    finally:
        with open(f"{place}/{file}", "w", encoding="ascii") as state:
            state.write("THAWED" if text == "FROZEN" else "0")
        os.rmdir(place)


@test("engine/processors-are-those-of-the-cgroup", processors=2, seconds=60)
def processors(t):
    """Those that the caller is bound to, as the daemon of an engine may be, bind no container and no machine."""
    def allowed(process):
        with open(f"/proc/{process}/status", encoding="ascii") as file:
            return next(line.split()[1] for line in file if line.startswith("Cpus_allowed_list"))
    first = min(os.sched_getaffinity(0))
    bound = {"preexec_fn": lambda: os.sched_setaffinity(0, {first})}
    if t.isolation == "container":
        bundle = Bundle(t, ["grep", "Cpus_allowed_list", "/proc/self/status"])
        t.equal("of a container", allowed("self"), bundle.run(**bound).split()[1])
        return
    bundle = in_vm(t, ["sleep", "1000"])
    bundle.create(**bound)
    t.hybrid("start", bundle.id, seconds=60, **bound)
    monitors = [each for each in descendants(bundle.state()["pid"]) if (process_stat(each) or ("",))[0] == "hybrid-vmm"]
    t.equal("of the machine", [allowed("self")], [allowed(each) for each in monitors])

#include "run_options.h"

#include "run_image.h"

#define OPTION(long_name, short_name, of_kind, argument_name, member, text)                        \
    CLI_OPTION(of_kind, struct run_settings, member, long_name, short_name, argument_name, text)
#define FLAG(long_name, short_name, member, text)                                                  \
    CLI_OPTION_FLAG(struct run_settings, member, long_name, short_name, text)
#define CHOICE(long_name, argument_name, member, list, text)                                       \
    CLI_OPTION_CHOICE(struct run_settings, member, long_name, argument_name, list, text)
#define RATE(long_name, argument_name, rate, text)                                                 \
    CLI_OPTION(CLI_TEXT, struct run_settings, run.rates[rate], long_name, 0, argument_name, text)
#define REFUSED CLI_OPTION_REFUSED

static const char *const isolations[] = { "auto", "container", "vm", NULL };

static const char no_volumes[] =
    "volumes have no names here; mount a directory with -v HOST:TARGET";
static const char no_network[] =
    "hybrid makes no networks yet; --network=ns:PATH joins one that is there";
static const char no_privileges[] =
    "a workload is never given the host's devices; --cap-add grants single capabilities";
static const char no_restart[] =
    "there is no daemon that would do it; `hybrid start` starts a stopped workload again";
static const char no_sharing[] = "every workload has namespaces of its own";
static const char no_swap[] = "a workload has no swap, in either isolation; -m is its limit";
static const char no_log_driver[] = "output is kept in one form, which `hybrid logs` reads";

const struct cli_option run_option_table[] = {
    CHOICE("isolation", "KIND", run.isolation, isolations,
           "auto (the default: by policy, else container), container, or vm"),
    OPTION("name", 0, CLI_TEXT, "NAME", name, "Name of the workload (default: 12 hex digits)"),
    FLAG("rm", 0, remove, "Remove the workload and what it wrote when it ends"),
    FLAG("detach", 'd', detach, "Run in the background and print the name"),
    FLAG("interactive", 'i', interactive, "Pass this standard input on"),
    FLAG("tty", 't', run.terminal, "Give the command a terminal"),
    OPTION("env", 'e', CLI_LIST, "NAME[=VALUE]", env,
           "Set a variable; without value, to the one it has here"),
    OPTION("env-file", 0, CLI_LIST, "FILE", env_files, "Read variables from a file, one a line"),
    OPTION("workdir", 'w', CLI_TEXT, "DIR", run.workdir, "Working directory, made if absent"),
    OPTION("user", 'u', CLI_TEXT, "USER[:GROUP]", run.user,
           "Run as this user; names are those of the image"),
    OPTION("entrypoint", 0, CLI_TEXT, "PROGRAM", run.entrypoint,
           "In place of the image's entry point; empty: none"),
    OPTION("hostname", 'h', CLI_TEXT, "NAME", run.hostname, "Host name (default: the name)"),
    OPTION("memory", 'm', CLI_SIZE, "SIZE", run.memory,
           "Limit of memory, such as 64m (in a vm: 256m by default)"),
    OPTION("cpus", 0, CLI_DECIMAL, "NUMBER", run.cpus, "Processors to use at most, such as 1.5"),
    OPTION("cpuset-cpus", 0, CLI_TEXT, "LIST", run.cpuset_cpus,
           "Processors to run on, such as 0-2,5"),
    { .name = "pids-limit",
      .kind = CLI_NUMBER,
      .argument = "NUMBER",
      .offset = offsetof(struct run_settings, run.pids_limit),
      .minimum = -1,
      .maximum = INT64_MAX,
      .help = "Processes and threads at most; -1: no limit" },
    RATE("device-read-bps", "BYTES", PLAN_DISK_READ_BYTES,
         "Bytes a second, such as 10m, read from all its disks together"),
    RATE("device-write-bps", "BYTES", PLAN_DISK_WRITE_BYTES, "The same for writing"),
    RATE("device-read-iops", "NUMBER", PLAN_DISK_READ_REQUESTS,
         "Requests a second to read from all its disks together"),
    RATE("device-write-iops", "NUMBER", PLAN_DISK_WRITE_REQUESTS, "The same for writing"),
    RATE("network-receive-bps", "BYTES", PLAN_NETWORK_RECEIVE_BYTES,
         "Bytes a second, such as 10m, that it receives on each network (in a vm)"),
    RATE("network-send-bps", "BYTES", PLAN_NETWORK_SEND_BYTES, "The same for sending"),
    RATE("network-receive-pps", "NUMBER", PLAN_NETWORK_RECEIVE_PACKETS,
         "Packets a second that it receives on each network (in a vm)"),
    RATE("network-send-pps", "NUMBER", PLAN_NETWORK_SEND_PACKETS, "The same for sending"),
    OPTION("ulimit", 0, CLI_LIST, "NAME=SOFT[:HARD]", run.ulimits,
           "A resource limit, such as nofile=1024:4096"),
    FLAG("read-only", 0, run.readonly, "Make the root file system read-only"),
    OPTION("volume", 'v', CLI_LIST, "HOST:TARGET[:ro]", run.volumes,
           "Mount a file or directory of the host"),
    OPTION("mount", 0, CLI_LIST, "KEY=VALUE,...", run.mounts,
           "The same in words: type=bind,source=HOST,target=TARGET,readonly; or type=tmpfs"),
    OPTION("tmpfs", 0, CLI_LIST, "PATH[:OPTIONS]", run.tmpfs, "An empty file system in memory"),
    OPTION("cap-add", 0, CLI_LIST, "CAPABILITY", run.cap_add, "Add a capability; ALL: every one"),
    OPTION("cap-drop", 0, CLI_LIST, "CAPABILITY", run.cap_drop,
           "Take a capability away; ALL: every one"),
    OPTION("security-opt", 0, CLI_LIST, "OPTION", run.security,
           "seccomp=FILE, seccomp=unconfined, no-new-privileges"),
    OPTION("userns", 0, CLI_TEXT, "MODE", run.userns,
           "host (the default), or 0:HOST:SIZE: a user namespace"),
    OPTION("network", 0, CLI_TEXT, "none|ns:PATH", network,
           "none (the default): loopback only; or a network namespace to join"),
    FLAG("init", 0, run.init, "Put an init before the command that reaps orphans"),
    OPTION("stop-signal", 0, CLI_TEXT, "SIGNAL", run.stop_signal,
           "What `hybrid stop` sends (default: the image's, or TERM)"),
    OPTION("label", 'l', CLI_LIST, "KEY[=VALUE]", run.labels, "Keep a label with the workload"),
    OPTION("annotation", 0, CLI_LIST, "KEY=VALUE", run.annotations,
           "Put an annotation into the OCI configuration"),
    FLAG("dry-run", 0, dry_run, "Print what would be done, step by step, and do nothing"),
    CHOICE("format", "FORMAT", format, cli_formats,
           "Of --dry-run: table (the default), or json: the OCI configuration"),
    OPTION("bundle", 'b', CLI_TEXT, "DIR", bundle.create.bundle,
           "Run an OCI bundle, as engines have it: run --bundle=DIR ID"),
    OPTION("pid-file", 0, CLI_TEXT, "FILE", bundle.create.pid_file,
           "With --bundle: write the first process's number to FILE"),
    OPTION("console-socket", 0, CLI_TEXT, "PATH", bundle.create.console_socket,
           "With --bundle: send the terminal's master to this socket"),
    { .name = "preserve-fds",
      .kind = CLI_NUMBER,
      .argument = "N",
      .offset = offsetof(struct run_settings, bundle.create.preserve_fds),
      .maximum = 1024,
      .help = "With --bundle: pass descriptors 3 to N+2 on to the command" },
    FLAG("no-pivot", 0, bundle.create.no_pivot, "With --bundle: accepted, changes nothing"),
    FLAG("no-new-keyring", 0, bundle.create.no_new_keyring,
         "With --bundle: keep the caller's session keyring"),
    FLAG("keep", 0, bundle.keep, "With --bundle: do not delete the container at its end"),
    FLAG("no-subreaper", 0, bundle.no_subreaper, "With --bundle: accepted, changes nothing"),
    CHOICE("pull", "POLICY", pull, run_image_policies,
           "Pull the image if it is missing (the default), always, or never"),
    FLAG("quiet", 'q', quiet, "Do not show a pull, nor explain how the workload ended"),
    REFUSED("volumes-from", 0, no_volumes),
    REFUSED("volume-driver", 0, no_volumes),
    REFUSED("publish", 'p', no_network),
    REFUSED("publish-all", 'P', no_network),
    REFUSED("expose", 0, no_network),
    REFUSED("link", 0, no_network),
    REFUSED("net", 0, "it is called --network here"),
    REFUSED("ip", 0, no_network),
    REFUSED("mac-address", 0, no_network),
    REFUSED("dns", 0, no_network),
    REFUSED("add-host", 0, no_network),
    REFUSED("privileged", 0, no_privileges),
    REFUSED("device", 0, no_privileges),
    REFUSED("gpus", 0, no_privileges),
    REFUSED("pid", 0, no_sharing),
    REFUSED("ipc", 0, no_sharing),
    REFUSED("uts", 0, no_sharing),
    REFUSED("cgroupns", 0, no_sharing),
    REFUSED("cgroup-parent", 0, "cgroups are named after the workload"),
    REFUSED("restart", 0, no_restart),
    REFUSED("health-cmd", 0, no_restart),
    REFUSED("memory-swap", 0, no_swap),
    REFUSED("memory-reservation", 0, "not supported yet; -m is the limit"),
    REFUSED("cpu-shares", 'c', "not supported yet; --cpus is the limit"),
    REFUSED("cpu-quota", 0, "write --cpus=QUOTA/PERIOD as one number"),
    REFUSED("cpu-period", 0, "write --cpus=QUOTA/PERIOD as one number"),
    REFUSED("shm-size", 0, "/dev/shm has 64 MiB; use --tmpfs /dev/shm:size=SIZE"),
    REFUSED("sysctl", 0, "not supported yet"),
    REFUSED("group-add", 0, "groups are those of the image's files, or -u USER:GROUP"),
    REFUSED("oom-score-adj", 0, "not supported yet; -m is the limit"),
    REFUSED("log-driver", 0, no_log_driver),
    REFUSED("log-opt", 0, no_log_driver),
    REFUSED("attach", 'a', "output is attached without -d, input with -i"),
    REFUSED("platform", 0,
            "an image runs on this machine's own architecture only; `hybrid pull --platform` "
            "fetches others"),
    REFUSED("runtime", 0, "choose with --isolation=container or vm"),
    { 0 },
};

const struct run_settings run_defaults = {
    .run = { .memory = -1, .memory_swap = -1, .pids_limit = -1, .isolation = "auto" },
    .network = "none",
    .format = "table",
    .pull = "missing",
};

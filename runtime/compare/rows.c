#include "rows.h"

#include <string.h>

const struct compare_isolation_info compare_isolations[ISOLATIONS] = {
    [IN_CONTAINER] = { "container", "container" },
    [IN_UNFILTERED] = { "container-without-seccomp", "no seccomp" },
    [IN_VM] = { "vm", "vm" },
};

const char *const compare_units[] = {
    [UNIT_TIME] = "ns",
    [UNIT_BYTES] = "bytes",
    [UNIT_COUNT] = "count",
    [UNIT_TEXT] = "text",
};

const struct compare_row compare_rows[] = {
    { TOPIC_START, "total", "start to end", UNIT_TIME, "from fork to the end of `hybrid run`" },
    { TOPIC_START, "first_byte", "start to first byte", UNIT_TIME,
      "from fork until the command's first byte of output arrives" },
    { TOPIC_START, "cli", " cli", UNIT_TIME,
      "fork, exec, the program's read-only copy of itself, the command line" },
    { TOPIC_START, "image", " image", UNIT_TIME,
      "the image is looked up, configuration, policy and seccomp program made" },
    { TOPIC_START, "namespaces", " namespaces", UNIT_TIME,
      "monitor forked, layers mounted, cgroup, clone3, the sandbox set up" },
    { TOPIC_START, "monitor", " monitor", UNIT_TIME,
      "monitor forked, hybrid-vmm executed, jailed, machine built, guest about to be entered" },
    { TOPIC_START, "kernel", " kernel", UNIT_TIME,
      "the guest's kernel boots, until hybrid-init says that it is ready" },
    { TOPIC_START, "init", " init", UNIT_TIME,
      "hybrid-init mounts layers and sets up the sandbox" },
    { TOPIC_START, "command", " command", UNIT_TIME,
      "the command is executed, until its first byte arrives" },
    { TOPIC_START, "run", " run", UNIT_TIME,
      "from its first byte until the monitor knows that it has ended" },
    { TOPIC_START, "reaped", " reaped", UNIT_TIME,
      "what was made is removed, until `hybrid run` has been waited for" },
    { TOPIC_STOP, "stop", "stop and clean-up", UNIT_TIME,
      "`hybrid stop` of an idle workload that ends at the first signal" },
    { TOPIC_MEMORY, "ours", "PSS of our processes", UNIT_BYTES,
      "of `hybrid run`, the monitor, and hybrid-vmm without the guest's RAM" },
    { TOPIC_MEMORY, "workload", "workload, guest RAM", UNIT_BYTES,
      "of the idle command's processes; in a VM, RAM of the guest that the host has really given" },
    { TOPIC_MEMORY, "programs", "programs on disk", UNIT_BYTES,
      "size of hybrid, and for a VM of hybrid-vmm and the guest's root" },
    { TOPIC_MEMORY, "kernel", "kernel on disk", UNIT_BYTES, "size of the guest's kernel" },
    { TOPIC_COST, "syscall", "system call", UNIT_TIME, "getppid(2); 200 a sample" },
    { TOPIC_COST, "fault", "page fault", UNIT_TIME,
      "first touch of a page of memory; 64 a sample, with mmap and munmap" },
    { TOPIC_COST, "fork_exec", "fork, exec, wait", UNIT_TIME, "of a static program" },
    { TOPIC_COST, "fsync", "4 KiB write, fsync", UNIT_TIME,
      "into a file of the writable layer that is kept (no --rm)" },
    { TOPIC_COST, "stat", "stat", UNIT_TIME, "of 50 files in turn" },
    { TOPIC_COST, "tcp", "TCP round trip", UNIT_TIME, "a byte to another process over loopback" },
    { TOPIC_REACH, "calls", "system calls reached", UNIT_COUNT,
      "of numbers 0 to 470: those that neither ENOSYS, EPERM nor SIGSYS answered" },
    { TOPIC_REACH, "refused", " refused (EPERM)", UNIT_COUNT,
      "answered with EPERM: by the filter, or by a check of capabilities" },
    { TOPIC_REACH, "absent", " absent (ENOSYS)", UNIT_COUNT,
      "answered with ENOSYS: the kernel lacks them, or the filter says so" },
    { TOPIC_REACH, "killed", " killed (SIGSYS)", UNIT_COUNT, "the filter ended the caller" },
    { TOPIC_REACH, "kernel_is", "kernel reached", UNIT_TEXT,
      "whose boot_id it is that the workload reads" },
    { TOPIC_REACH, "release", " release", UNIT_TEXT, "osrelease as the workload reads it" },
    { TOPIC_REACH, "cpuinfo", " cpuinfo", UNIT_TEXT, "model, flags and number of processors" },
    { TOPIC_REACH, "loadavg", " loadavg", UNIT_TEXT, "the three averages" },
    { TOPIC_REACH, "uptime", " uptime", UNIT_TEXT, "seconds since boot" },
    { TOPIC_REACH, "capabilities", "capabilities", UNIT_COUNT, "of the command, of 41" },
    { TOPIC_REACH, "devices", "device nodes", UNIT_COUNT, "below /dev" },
    { TOPIC_REACH, "writable_proc", "writable in /proc", UNIT_COUNT,
      "files that can be opened for writing, but those of single processes" },
    { TOPIC_REACH, "writable_sys", "writable in /sys", UNIT_COUNT,
      "files that can be opened for writing" },
    { TOPIC_REACH, "door.af_packet", "AF_PACKET", UNIT_TEXT, "a raw packet socket can be made" },
    { TOPIC_REACH, "door.userns", "user namespaces", UNIT_TEXT, "unshare(CLONE_NEWUSER)" },
    { TOPIC_REACH, "door.io_uring", "io_uring", UNIT_TEXT, "io_uring_setup(2)" },
    { TOPIC_REACH, "door.bpf", "bpf", UNIT_TEXT, "BPF_MAP_CREATE" },
    { TOPIC_REACH, "door.keyctl", "keys", UNIT_TEXT, "add_key(2)" },
    { TOPIC_REACH, "door.nf_tables", "nf_tables", UNIT_TEXT,
      "a request to it, in a user namespace where one can be had" },
    { TOPIC_HOST, "calls", "distinct host calls", UNIT_COUNT,
      "system calls that our processes make while the load runs; in a container the load's too" },
    { TOPIC_HOST, "calls_ours", " of hybrid alone", UNIT_COUNT,
      "those of `hybrid run`, monitor and hybrid-vmm" },
    { TOPIC_HOST, "functions", "host kernel functions", UNIT_COUNT,
      "distinct functions of the host's kernel that those processes executed meanwhile" },
    { TOPIC_HOST, "allowed", "monitor's allow-list", UNIT_COUNT,
      "system calls that the seccomp filters of the running hybrid-vmm let through" },
    { TOPIC_HOST, "exits", "KVM exits", UNIT_COUNT, "while the load runs" },
    { TOPIC_HOST, "exit_reasons", " most often", UNIT_TEXT,
      "the most frequent reason; the JSON has others" },
    { TOPIC_NEIGHBOURS, "quiet", "victim alone", UNIT_TIME, "no aggressor" },
    { TOPIC_NEIGHBOURS, "cpu", " beside cpu", UNIT_TIME, "endless loops" },
    { TOPIC_NEIGHBOURS, "memory", " beside memory", UNIT_TIME, "48 MiB mapped, touched, unmapped" },
    { TOPIC_NEIGHBOURS, "dentries", " beside dentries", UNIT_TIME, "names that do not exist" },
    { TOPIC_NEIGHBOURS, "fsync", " beside fsync", UNIT_TIME, "4 KiB writes, each with fsync" },
    { TOPIC_NEIGHBOURS, "forks", " beside forks", UNIT_TIME, "fork and exit" },
    { TOPIC_NEIGHBOURS, "crash", "its kernel panics", UNIT_TEXT,
      "what a panic of the workload's kernel does to host and siblings" },
    { 0 },
};

const struct compare_topic_info compare_topics[TOPICS] = {
    [TOPIC_START] = { "start", "Start",
                      "How long a workload takes to start, and where the time goes.\n\n"
                      "Measured: `hybrid run --rm` is executed n times, one after the other, "
                      "each stage ended by a stamp of CLOCK_MONOTONIC that the running code "
                      "itself writes (HYBRID_STAMPS). A VM's stages are stamped when "
                      "hybrid-vmm's or hybrid-init's message arrives at the monitor on the "
                      "host: no clock of the guest is used, and the time that a message "
                      "travels belongs to the stage it ends. Stages add up to the total. A "
                      "first run that is not counted warms the caches.\n\n"
                      "Where it misleads: without COMMAND it is a static program of ours that "
                      "writes one line; your command's own start-up comes on top, and its "
                      "layer is one mount more. With few runs p99 is the slowest one. A cold "
                      "page cache or a pull costs far more than any stage here. The first "
                      "byte is seen by `hybrid compare`: if the monitor saw the end earlier, "
                      "\"run\" is 0." },
    [TOPIC_STOP] = { "stop", "Stop",
                     "How long an idle workload takes to be stopped and removed.\n\n"
                     "Measured: from the start of `hybrid stop` until it returns, for a "
                     "program that ends at the first signal. It includes a start of `hybrid` "
                     "itself (see \"cli\" and \"image\" of start for what that costs).\n\n"
                     "Where it misleads: a workload that ignores its stop signal takes the "
                     "whole grace period (10 s by default), whatever the isolation. A VM "
                     "with a kept writable layer also unmounts it; this one, with --rm, has "
                     "none." },
    [TOPIC_MEMORY] = { "memory", "Memory",
                       "What an idle workload costs the host.\n\n"
                       "Measured: smaps of every process below `hybrid run` while a sleeping "
                       "program is the workload. PSS shares pages that several processes map "
                       "among them, so that sums are right. In hybrid-vmm the mapping of the "
                       "guest's RAM is counted apart, by what of it the host has really given "
                       "(Rss), not by its size (-m).\n\n"
                       "Where it misleads: kernel memory (page tables, sockets, dentries, "
                       "mounts) is in no process; cgroup accounting would show more for both. "
                       "A VM's page cache is in its RAM, a container's is the host's and in "
                       "none of these numbers. Guest RAM only grows until the VM ends. `run "
                       "-d` saves one process." },
    [TOPIC_COST] = { "cost", "Operations",
                     "What single operations cost inside, as distributions.\n\n"
                     "Measured: by the probe inside the workload, with its CLOCK_MONOTONIC, "
                     "up to 400 samples or 0.4 s each. Cheap operations are repeated within "
                     "a sample. fsync works on the writable layer that a workload keeps: a "
                     "directory of the host for a container, a sparse disk file with ext4 "
                     "for a VM.\n\n"
                     "Where it misleads: averages within a sample hide single slow calls. A "
                     "container pays its seccomp program on every call, a VM's page fault "
                     "pays nested page tables. What fsync costs is the host's disk first of "
                     "all; with a host that lies about flushes both columns lie. Loopback "
                     "never leaves the kernel that it runs on." },
    [TOPIC_REACH] = { "reach", "What code can reach",
                      "How much of which kernel the code in the workload can talk to.\n\n"
                      "Measured: a child per system call, numbers 0 to 470, makes it once "
                      "with arguments that none accepts, and reports the errno. Doors are the "
                      "first steps of known exploits, tried for real. Names of the kernel are "
                      "compared with the host's, read before and after.\n\n"
                      "Where it misleads: reached is not exploitable, and a call that is "
                      "refused may still be reached through another. EPERM can come from the "
                      "filter or from a check of capabilities inside the call. Above all: in "
                      "a VM these are calls of the guest's kernel; how little of the host's "
                      "is behind it, topic host tells. loadavg of an idle machine can equal "
                      "an idle guest's by chance: boot_id decides." },
    [TOPIC_HOST] = { "host", "Use of the host",
                     "What the processes of a workload ask of the host's kernel.\n\n"
                     "Measured: an instance of tracefs of our own follows `hybrid run` and "
                     "all of its children (sys_enter, kvm_exit, the function tracer) while "
                     "the probe does a little of everything: calls, faults, fork, exec, "
                     "fsync, stat, TCP. Nothing else is traced, and the instance is removed "
                     "afterwards. The allow-list is what hybrid-vmm's table of seccomp rules "
                     "lets a running machine do.\n\n"
                     "Where it misleads: coverage is not reachability. More host functions "
                     "executed does not mean more can be attacked (a VM runs much of KVM), "
                     "and a load that runs few calls proves nothing about those it could "
                     "have made. Tracing changes timing, not what is called. Inlined "
                     "functions are not seen, interrupts are counted." },
    [TOPIC_NEIGHBOURS] = { "neighbours", "Neighbours",
                           "What a workload beside it does to another one.\n\n"
                           "Measured: a victim serves a small request (page faults, a path, its "
                           "timer) twice each millisecond; the latency counts from when the "
                           "request was due. The aggressor runs in the isolation of the column, "
                           "one process a processor, 256 MiB at most; the victim runs in the other "
                           "isolation, or in a container where no VM can run (the JSON says "
                           "which). The panic is made in a VM only, by a guest kernel that was "
                           "told to panic when memory runs out: it has no sysrq.\n\n"
                           "Where it misleads: with as many busy processes as processors any "
                           "scheduler makes the victim wait; --cpus and --cpuset-cpus are the "
                           "remedy in both isolations. Half a second shows no slow leak of shared "
                           "caches. Processor caches, memory bandwidth and the disk are shared "
                           "whatever the isolation." },
};

int compare_find_topic(const char *name)
{
    for (int i = 0; i < TOPICS; i++)
        if (strcmp(compare_topics[i].name, name) == 0)
            return i;
    return -1;
}

/* From a workload's description to a guest that awaits its orders: files, arguments, hybrid-vmm. */
#include "parts.h"
#include "vm.h"

#include "cleanup.h"
#include "description.h"
#include "scratch.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum {
    /* Milliseconds without any progress. A guest boots in well under a second on hardware, but an
     * emulated or overloaded host takes its time. */
    READY_TIMEOUT = VM_STEP_SECONDS * 1000,
    CONTROL_SEND_SECONDS = 10, /* for hybrid-vmm to take a message */
};

/* User ids of monitors: far beyond those of users and of user namespaces' usual ranges. The
 * process id that is added is unique among all that live. */
static const uid_t MONITOR_FIRST_UID = 2000000000;

/* The files of a machine, in the order in which hybrid-vmm gets them. */
struct machine_files {
    int *fds;
    uint64_t *disk_sizes; /* of the files of the read-only disk */
    size_t count;         /* descriptors open so far */
    size_t disk_first, disk_count;
    size_t net_first;
    bool own_frames_only; /* of the guest: see --net of include/machine.h */
};

static void machine_files_close(struct machine_files *files)
{
    for (size_t i = 0; i < files->count; i++)
        cleanup_close(&files->fds[i]);
    free(files->fds);
    free(files->disk_sizes);
}

/* Adds a descriptor, which the set owns then. Returns its number in the program, or -1. */
static int add_fd(struct machine_files *files, int fd)
{
    if (fd < 0)
        return -1;
    files->fds[files->count++] = fd;
    return SPAWN_FIRST_FD + (int)files->count - 1;
}

/* remedy: what follows the cause in the message; "" if nothing does. */
static int open_file(const char *path, const char *what, const char *remedy, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, EXIT_OURS, "cannot open %s %s: %s%s", what, path, strerror(errno),
                         remedy);
    return fd;
}

static int open_own_file(const struct workload_spec *spec, const char *name, const char *what,
                         struct error *err)
{
    _cleanup_free_ char *path = NULL;
    if (asprintf(&path, "%s/%s", spec->paths.exe_dir, name) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    int fd =
        open_file(path, what, "; it belongs beside hybrid-vmm: run make, or make install", err);
    return fd < 0 ? error_see_doctor(err, "guest") : fd;
}

static int add_disk_file(struct machine_files *files, int fd, struct error *err)
{
    struct stat status;
    if (fd < 0)
        return -1;
    (void)add_fd(files, fd);
    if (fstat(fd, &status) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot look at a layer");
    files->disk_sizes[files->disk_count++] = (uint64_t)status.st_size;
    return 0;
}

static int open_disk(const struct workload_spec *spec, struct machine_files *files,
                     struct error *err)
{
    files->disk_first = files->count;
    if (spec->layer_count + 1 > MACHINE_MAX_DISK_FILES)
        return error_set(err, EXIT_OURS,
                         "the image has %zu layers; a VM takes at most %d; squash the image, or "
                         "use --isolation=container",
                         spec->layer_count, MACHINE_MAX_DISK_FILES - 1);
    if (add_disk_file(files, open_own_file(spec, "guest-root.erofs", "the guest's init", err),
                      err) < 0)
        return -1;
    for (size_t i = 0; i < spec->layer_count; i++) {
        if (add_disk_file(files, open_file(spec->layer_files[i], "the image layer", "", err), err) <
            0)
            return -1;
    }
    return 0;
}

struct machine_numbers { /* descriptors as hybrid-vmm sees them */
    int kvm, kernel, control, console, scratch, share;
};

/* Opens everything that the machine consists of. control_fd and console_fd are taken over. */
static int open_files(const struct workload_spec *spec, int control_fd, int console_fd,
                      struct machine_files *files, struct machine_numbers *numbers,
                      struct error *err)
{
    size_t most = spec->layer_count + 9 + NETWORK_MAX_INTERFACES;
    files->fds = calloc(most, sizeof *files->fds);
    files->disk_sizes = calloc(most, sizeof *files->disk_sizes);
    if (!files->fds || !files->disk_sizes) {
        (void)close(control_fd);
        (void)close(console_fd);
        return error_set(err, EXIT_OURS, "out of memory");
    }
    numbers->control = add_fd(files, control_fd);
    numbers->console = add_fd(files, console_fd);
    numbers->kvm = add_fd(files, vm_open_kvm(&spec->paths, err));
    if (numbers->kvm < 0)
        return error_see_doctor(err, "kvm");
    numbers->kernel = add_fd(files, open_own_file(spec, "vmlinux", "the guest kernel", err));
    if (numbers->kernel < 0)
        return -1;
    if (spec->keep_writable) {
        numbers->scratch = add_fd(files, scratch_open(spec->paths.data_dir, err));
        if (numbers->scratch < 0)
            return -1;
    }
    return open_disk(spec, files, err);
}

/* Without these two capabilities a container sends no frame that its kernel has not made. */
static bool forges_no_frames(const struct plan *plan)
{
    const uint64_t raw = UINT64_C(1) << CAP_NET_RAW | UINT64_C(1) << CAP_NET_ADMIN;
    for (size_t i = 0; i < plan->step_count; i++) {
        if (plan->steps[i].kind == PLAN_CAPABILITIES)
            return (plan->steps[i].capabilities.bounding & raw) == 0;
    }
    return false;
}

_Static_assert(NETWORK_MAX_INTERFACES == (int)MACHINE_MAX_NETS, "a machine takes all of them");

/*
 * What a namespace that was made for the workload has got before its start. Where that is nothing,
 * the guest's kernel makes one, which belongs to the workload's user namespace if it has one. The
 * guest's own, in which interfaces are, cannot.
 */
static int check_made_network(struct network *network, const struct plan *plan, struct error *err)
{
    if (network->description.interface_count == 0)
        network_detach(network);
    else if (plan->namespaces.create & CLONE_NEWUSER)
        return error_set(err, EXIT_OURS,
                         VM_REFUSES
                         "linux.namespaces: user: its network "
                         "namespace has been given the interface %s, and the network of a VM "
                         "cannot belong to a user namespace; leave one of the two out, or use "
                         "--isolation=container",
                         network->description.interfaces[0].name);
    return 0;
}

/*
 * Joins the VM to the namespace that its plan names, or that we hold for it. The taps become files
 * of the machine. What capabilities the containers of a pod will have is not known when its machine
 * boots: none of them forges frames.
 */
static int open_network(struct workload *vm, const struct workload_spec *spec,
                        struct machine_files *files, struct error *err)
{
    const char *path = spec->plan->namespaces.path[PLAN_NS_NETWORK];
    if (!path && !vm->held)
        return 0;
    if ((vm->held ? network_attach_own(&vm->machine.network, err)
                  : network_attach(path, &vm->machine.network, err)) < 0 ||
        (!path && vm->kind == VM_SOLO &&
         check_made_network(&vm->machine.network, spec->plan, err) < 0))
        return -1;
    files->net_first = files->count;
    files->own_frames_only = vm->kind == VM_POD || forges_no_frames(spec->plan);
    for (uint32_t i = 0; i < vm->machine.network.description.interface_count; i++)
        (void)add_fd(files, take_fd(&vm->machine.network.tap_fds[i]));
    return 0;
}

/* "--disk-fds=7,8,9". Returns a string to free, or NULL. */
static char *disk_option(const struct machine_files *files)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (!out)
        return NULL;
    for (size_t i = 0; i < files->disk_count; i++)
        (void)fprintf(out, "%s%zu", i == 0 ? "--disk-fds=" : ",",
                      SPAWN_FIRST_FD + files->disk_first + i);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

enum { MAX_ARGUMENTS = 30 };

struct arguments {
    char *values[MAX_ARGUMENTS + 1];
    size_t count;
    bool failed;
};

__attribute__((format(printf, 2, 3))) static void add_argument(struct arguments *arguments,
                                                               const char *format, ...)
{
    va_list values;
    va_start(values, format);
    if (arguments->count == MAX_ARGUMENTS ||
        vasprintf(&arguments->values[arguments->count], format, values) < 0)
        arguments->failed = true;
    else
        arguments->count++;
    va_end(values);
}

static void add_rates(struct arguments *arguments, const struct plan_resources *resources)
{
    static const char *const OPTIONS[PLAN_RATES] = {
        [PLAN_DISK_READ_BYTES] = "disk-read-bps",
        [PLAN_DISK_WRITE_BYTES] = "disk-write-bps",
        [PLAN_DISK_READ_REQUESTS] = "disk-read-iops",
        [PLAN_DISK_WRITE_REQUESTS] = "disk-write-iops",
        [PLAN_NETWORK_RECEIVE_BYTES] = "net-receive-bps",
        [PLAN_NETWORK_SEND_BYTES] = "net-send-bps",
        [PLAN_NETWORK_RECEIVE_PACKETS] = "net-receive-pps",
        [PLAN_NETWORK_SEND_PACKETS] = "net-send-pps",
    };
    for (int i = 0; i < PLAN_RATES; i++)
        if (resources->rates[i] > 0)
            add_argument(arguments, "--%s=%" PRId64, OPTIONS[i], resources->rates[i]);
}

/* "--net=9,1500,02:00:00:00:00:01" for each tap. */
static void add_net_arguments(struct arguments *arguments, const struct machine_files *files,
                              const struct network *network)
{
    for (uint32_t i = 0; network->netlink_fd >= 0 && i < network->description.interface_count;
         i++) {
        const struct network_interface *interface = &network->description.interfaces[i];
        const uint8_t *mac = interface->mac;
        add_argument(arguments, "--net=%zu,%u,%02x:%02x:%02x:%02x:%02x:%02x%s",
                     SPAWN_FIRST_FD + files->net_first + i, interface->mtu, mac[0], mac[1], mac[2],
                     mac[3], mac[4], mac[5], files->own_frames_only ? ",own" : "");
    }
}

static void make_arguments(struct arguments *arguments, const struct machine_files *files,
                           const struct machine_numbers *numbers, uint64_t ram, int cpus,
                           const char *command_line)
{
    _cleanup_free_ char *disk = disk_option(files);
    uid_t uid = MONITOR_FIRST_UID + (uid_t)getpid();
    add_argument(arguments, "hybrid-vmm");
    add_argument(arguments, "--kvm-fd=%d", numbers->kvm);
    add_argument(arguments, "--kernel-fd=%d", numbers->kernel);
    add_argument(arguments, "--control-fd=%d", numbers->control);
    add_argument(arguments, "--console-fd=%d", numbers->console);
    add_argument(arguments, "--memory=%" PRIu64, ram);
    add_argument(arguments, "--cpus=%d", cpus);
    add_argument(arguments, "--command-line=%s", command_line);
    add_argument(arguments, "%s", disk ? disk : "");
    if (numbers->scratch >= 0)
        add_argument(arguments, "--scratch-fd=%d", numbers->scratch);
    if (numbers->share >= 0) {
        add_argument(arguments, "--share-fd=%d", numbers->share);
        add_argument(arguments, "--share-tag=%s", WIRE_SHARE_TAG);
    }
    add_argument(arguments, "--uid=%u", uid);
    add_argument(arguments, "--gid=%u", uid);
    if (!disk)
        arguments->failed = true;
}

int boot_keep_config(struct workload *vm, const struct workload_spec *spec,
                     const struct shares *shares, struct error *err)
{
    bool networked = vm->kind == VM_CONTAINER || vm->machine.network.netlink_fd >= 0;
    json_t *config = shares_rewrite(spec, shares, networked, err);
    if (!config)
        return -1;
    vm->guest_config = json_dumps(config, JSON_COMPACT);
    json_decref(config);
    return vm->guest_config ? 0 : error_set(err, EXIT_OURS, "out of memory");
}

/* Starts the server of the host's files, where the workload asks for any. */
static int start_shares(struct workload *vm, const struct workload_spec *spec,
                        const struct shares *shares, struct machine_files *files,
                        struct machine_numbers *numbers, struct error *err)
{
    int socket = -1;
    if (vm->kind == VM_SOLO && boot_keep_config(vm, spec, shares, err) < 0)
        return -1;
    if (boot_serves(shares) &&
        share_server_start(&vm->machine.server, shares, spec->paths.state_dir, vm->cgroup, &socket,
                           err) < 0)
        return -1;
    numbers->share = add_fd(files, socket);
    return 0;
}

/* Starts what asks for names, where the namespace that the VM is joined to has a name server. */
static int start_names(struct workload *vm, const struct workload_spec *spec,
                       const struct machine_files *files, const struct machine_numbers *numbers,
                       struct error *err)
{
    if (vm->machine.network.netlink_fd < 0 || vm->machine.network.name_server.s_addr == 0)
        return 0;
    return name_helper_start(&vm->machine.names, &vm->machine.network, spec->paths.exe_dir,
                             files->fds[numbers->console - SPAWN_FIRST_FD], vm->cgroup, err);
}

static int execute_monitor(struct workload *vm, const struct workload_spec *spec,
                           struct arguments *arguments, const struct machine_files *files,
                           const struct machine_numbers *numbers, struct error *err)
{
    _cleanup_free_ char *program = NULL;
    if (arguments->failed || asprintf(&program, "%s/hybrid-vmm", spec->paths.exe_dir) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    struct spawn_request request = {
        .path = program,
        .argv = arguments->values,
        .fds = files->fds,
        .fd_count = files->count,
        .stdout_fd = -1,
        /* What it says before it has its control socket belongs into the same diagnosis. */
        .stderr_fd = files->fds[numbers->console - SPAWN_FIRST_FD],
        .namespaces = CLONE_NEWPID, /* the monitor need not double itself for it */
        .cgroup = vm->cgroup,
    };
    if (spawn_program(&request, &vm->machine.monitor, err) < 0)
        return -1;
    machine_open_threads(&vm->machine);
    return 0;
}

/* Starts hybrid-vmm, and the server of its shares, in the cgroup. */
static int start_processes(struct workload *vm, const struct workload_spec *spec,
                           const struct shares *shares, struct machine_files *files,
                           struct machine_numbers *numbers, struct error *err)
{
    const struct plan_resources *resources = &spec->plan->resources;
    struct arguments arguments = { 0 };
    int cpus = boot_count_cpus(vm, resources, err);
    if (cpus < 0)
        return -1;
    if (start_shares(vm, spec, shares, files, numbers, err) < 0 ||
        start_names(vm, spec, files, numbers, err) < 0)
        return -1;
    _cleanup_free_ char *command_line = vm_command_line(files->disk_sizes, files->disk_count,
                                                        getenv("HYBRID_VM_KERNEL_ARGUMENTS"), err);
    if (!command_line)
        return -1;
    make_arguments(&arguments, files, numbers, vm_ram_size(vm_memory_limit(resources)), cpus,
                   command_line);
    add_rates(&arguments, resources);
    add_net_arguments(&arguments, files, &vm->machine.network);
    int result = execute_monitor(vm, spec, &arguments, files, numbers, err);
    for (size_t i = 0; i < arguments.count; i++)
        free(arguments.values[i]);
    return result;
}

static int start_monitor(struct workload *vm, const struct workload_spec *spec,
                         struct machine_files *files, struct machine_numbers *numbers,
                         struct error *err)
{
    struct shares shares = { 0 };
    int result = boot_list_shares(vm, spec, &shares, err);
    if (result == 0 && !vm->cgroup)
        result = boot_make_cgroup(vm, spec, &shares, err);
    if (result == 0)
        result = start_processes(vm, spec, &shares, files, numbers, err);
    if (result == 0)
        result = cgroup_settle(vm->cgroup, err);
    shares_free(&shares);
    return result;
}

/* A socket pair: ours is returned by *ours, the other end by value. Returns -1 with *err. */
static int make_pair(int type, int *ours, struct error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a socket pair");
    *ours = pair[0];
    return pair[1];
}

static int make_console(struct workload *vm, struct error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pipe");
    vm->machine.console.fd = ends[0];
    return ends[1];
}

/* All for which the host's files are needed. */
static int start_machine(struct workload *vm, const struct workload_spec *spec, struct error *err)
{
    struct machine_files files = { 0 };
    struct machine_numbers numbers = { .scratch = -1, .share = -1 };
    struct timeval patience = { .tv_sec = CONTROL_SEND_SECONDS };
    int control = make_pair(SOCK_SEQPACKET, &vm->machine.control_fd, err);
    if (control < 0)
        return -1;
    int console = make_console(vm, err);
    if (console < 0) {
        (void)close(control);
        return -1;
    }
    (void)setsockopt(vm->machine.control_fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    int result = open_files(spec, control, console, &files, &numbers, err);
    if (result == 0)
        result = open_network(vm, spec, &files, err);
    if (result == 0)
        result = start_monitor(vm, spec, &files, &numbers, err);
    machine_files_close(&files);
    return result;
}

/* What stands in for its workload leaves that for no longer than it must: others look at it. */
static int start_held_machine(struct workload *vm, const struct workload_spec *spec,
                              struct error *err)
{
    struct error ignored; /* the first cause counts */
    int result = stand_in_leave(vm, err);
    if (result == 0)
        result = start_machine(vm, spec, err);
    return stand_in_return(vm, result < 0 ? &ignored : err) < 0 ? -1 : result;
}

int boot_machine(struct workload *vm, const struct workload_spec *spec, struct error *err)
{
    bool stands_in = vm->stand_in.own_mounts >= 0;
    if ((stands_in ? start_held_machine(vm, spec, err) : start_machine(vm, spec, err)) < 0)
        return -1;
    int wire = make_pair(SOCK_STREAM, &vm->wire_fd, err);
    if (wire < 0 || link_offer(vm, WIRE_CONTROL_PORT, 0, wire, err) < 0)
        return -1;
    vm->reader = (struct wire_reader){ .fd = vm->wire_fd };
    return link_wait_for(vm, VM_READY, READY_TIMEOUT, err);
}

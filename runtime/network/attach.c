/* From a network namespace to taps that a VM can be given. */
#include "network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "netlink.h"
#include "runtime/cgroup/cgroup.h"

enum {
    VIRTIO_HEADER = 12, /* struct virtio_net_hdr_v1: what hybrid-vmm expects before each frame */
    /* Bytes of a guest's frames that may wait in the host for a slow device; then the guest waits.
     */
    SEND_BUFFER = 1 << 20,
    /* Whoever holds a namespace's lock is done in a moment, unless it is stopped or starved. */
    LOCK_SECONDS = 10,
    LOCK_TRIES_A_SECOND = 100,
};

/* How a tap is called beside the interface that it is tied to. */
static const char TAP_NAME[] = "hybrid%d";

/* Whatever the state directory of a caller is: all that join a namespace must meet here. */
static const char LOCK_DIRECTORY[] = "/run/hybrid";
static const char LOCK_FILE[] = "/run/hybrid/.networks"; /* no workload's name has a dot first */

static const struct network NO_NETWORK = {
    .netlink_fd = -1, .lock_fd = -1, .ports.fd = -1, .tap_fds = { -1, -1, -1, -1 }
};

/* --- the namespace -------------------------------------------------------------------------------
 */

static bool same_file(int fd, const char *path)
{
    struct stat one, other;
    return fstat(fd, &one) == 0 && stat(path, &other) == 0 && one.st_ino == other.st_ino &&
           one.st_dev == other.st_dev;
}

/* Opens a namespace, and nothing else: a FIFO would keep us waiting. Returns the descriptor, or -1
 * with errno; EINVAL: it is none. */
static int open_found(int found)
{
    char link[32];
    struct statfs status;
    if (fstatfs(found, &status) < 0)
        return -1;
    if (status.f_type != NSFS_MAGIC) {
        errno = EINVAL;
        return -1;
    }
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", found);
    return open(link, O_RDONLY | O_CLOEXEC);
}

/* Opens a network namespace that is not the host's. Returns the descriptor, or -1 with *err. */
static int open_namespace(const char *path, struct error *err)
{
    _cleanup_close_ int found = open(path, O_PATH | O_CLOEXEC);
    _cleanup_close_ int fd = found < 0 ? -1 : open_found(found);
    if (found < 0 || (fd < 0 && errno != EINVAL))
        return error_set(err, EXIT_OURS,
                         "cannot open the network namespace %s: %s; `ip netns list` names those "
                         "below /run/netns",
                         path, strerror(errno));
    if (fd < 0 || ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
        return error_set(err, EXIT_OURS,
                         "%s is not a network namespace; one is made with `ip netns add NAME`, and "
                         "is /run/netns/NAME then",
                         path);
    if (same_file(fd, "/proc/self/ns/net") || same_file(fd, "/proc/1/ns/net"))
        return error_set(err, EXIT_OURS,
                         "%s is the host's own network: no workload is given that; make a "
                         "namespace with `ip netns add NAME`",
                         path);
    return take_fd(&fd);
}

int network_check_path(const char *path, struct error *err)
{
    _cleanup_close_ int fd = open_namespace(path, err);
    return fd < 0 ? -1 : 0;
}

int network_enter(const char *path, struct error *err)
{
    _cleanup_close_ int fd = open_namespace(path, err);
    if (fd < 0)
        return -1;
    if (setns(fd, CLONE_NEWNET) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot enter the network namespace %s",
                               path);
    return 0;
}

/*
 * Runs `inside` in the namespace of the descriptor and comes back. Returns its result, or -1 with
 * *err.
 */
static int visit(int namespace_fd, int (*inside)(struct network *network, struct error *err),
                 struct network *network, struct error *err)
{
    _cleanup_close_ int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (own < 0 || setns(namespace_fd, CLONE_NEWNET) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot enter the network namespace");
    int result = inside(network, err);
    if (setns(own, CLONE_NEWNET) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot leave the network namespace");
    return result;
}

/* --- one at a time ------------------------------------------------------------------------------
 */

/*
 * Opens the file of the locks, on the host's files. Not the namespace itself is locked: whoever can
 * open it, and each of its workloads can, could keep us waiting. Returns the descriptor, or -1 with
 * *err.
 */
static int open_lock(struct error *err)
{
    if (mkdir(LOCK_DIRECTORY, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make %s", LOCK_DIRECTORY);
    int fd = open(LOCK_FILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open %s", LOCK_FILE);
    return fd;
}

/*
 * Locks or unlocks the namespace that the netlink socket is in: the byte of the file that has the
 * number of its inode, which is one by whatever path it is opened. Returns 0, or -1 with errno.
 */
static int set_lock(const struct network *network, short type)
{
    ino_t number;
    if (netlink_namespace(network->netlink_fd, &number) < 0)
        return -1;
    struct flock byte = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)number, .l_len = 1
    };
    return fcntl(network->lock_fd, F_OFD_SETLK, &byte);
}

/*
 * Between looking at the filters of a namespace and changing them nobody else may do that. Returns
 * 0, or -1 with *err.
 */
static int lock_namespace(const struct network *network, struct error *err)
{
    const struct timespec pause = { .tv_nsec = 1000 * 1000 * 1000 / LOCK_TRIES_A_SECOND };
    for (int i = 0; set_lock(network, F_WRLCK) < 0; i++) {
        if (errno != EAGAIN && errno != EACCES)
            return error_set_errno(err, EXIT_OURS, errno, "cannot lock the network namespace");
        if (i == LOCK_SECONDS * LOCK_TRIES_A_SECOND)
            return error_set(err, EXIT_OURS,
                             "another process of hybrid has had the network namespace locked for "
                             "%d seconds, in %s; it may be stopped: `lslocks` shows it",
                             LOCK_SECONDS, LOCK_FILE);
        (void)nanosleep(&pause, NULL);
    }
    return 0;
}

static void unlock_namespace(const struct network *network)
{
    (void)set_lock(network, F_UNLCK);
}

/* --- taps ----------------------------------------------------------------------------------------
 */

/* Tells a tap what hybrid-vmm expects. Returns 0, or -1 with errno. */
static int configure_tap(int fd)
{
    const int header = VIRTIO_HEADER, buffer = SEND_BUFFER;
    /* The kernel may leave these to the guest, which takes frames of 64 KiB then. */
    const unsigned offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
    if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0 || ioctl(fd, TUNSETOFFLOAD, offloads) < 0)
        return -1;
    return ioctl(fd, TUNSETSNDBUF, &buffer);
}

/* Makes a tap in the current namespace, which its name is written to. The descriptor, or -1. */
static int make_tap(char name[IFNAMSIZ], struct error *err)
{
    struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
    (void)snprintf(request.ifr_name, sizeof request.ifr_name, "%s", TAP_NAME);
    _cleanup_close_ int fd = cgroup_open_device("/dev/net/tun", O_RDWR | O_NONBLOCK);
    if (fd < 0) {
        (void)error_set(err, EXIT_OURS,
                        "cannot open /dev/net/tun: %s; a VM with a network needs it: modprobe tun",
                        strerror(errno));
        return error_see_doctor(err, "network");
    }
    if (ioctl(fd, TUNSETIFF, &request) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a tap");
    memcpy(name, request.ifr_name, IFNAMSIZ);
    if (configure_tap(fd) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot configure the tap %s", name);
    return take_fd(&fd);
}

/*
 * The namespace shall not speak to the guest in its own name: no IPv6 address is made for the tap.
 * A kernel without IPv6 has nothing to switch off.
 */
static void silence_tap(int netlink_fd, int index)
{
    const struct ifinfomsg head = { .ifi_index = index };
    const uint8_t mode = IN6_ADDR_GEN_MODE_NONE;
    struct netlink_message message;
    netlink_begin(&message, RTM_NEWLINK, 0, &head, sizeof head);
    size_t families = netlink_nest(&message, IFLA_AF_SPEC);
    size_t family = netlink_nest(&message, AF_INET6);
    netlink_put(&message, IFLA_INET6_ADDR_GEN_MODE, &mode, sizeof mode);
    netlink_end(&message, family);
    netlink_end(&message, families);
    (void)netlink_request(netlink_fd, &message);
}

static int bring_up_tap(int netlink_fd, int index, const struct network_interface *interface,
                        struct error *err)
{
    const struct ifinfomsg head = { .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
    struct netlink_message message;
    silence_tap(netlink_fd, index);
    netlink_begin(&message, RTM_NEWLINK, 0, &head, sizeof head);
    netlink_put_u32(&message, IFLA_MTU, interface->mtu);
    int cause = netlink_request(netlink_fd, &message);
    if (cause != 0)
        return error_set_errno(err, EXIT_OURS, cause,
                               "cannot bring up a tap with the MTU of %s, %u", interface->name,
                               interface->mtu);
    return 0;
}

/* Nobody else's filters are taken away, and no other VM's interface. */
static int claim_interface(int netlink_fd, int index, const char *name, struct error *err)
{
    int found = network_filters_of(netlink_fd, index, err);
    if (found < 0)
        return -1;
    if (found == NETWORK_FILTERS_OURS)
        return error_set(err, EXIT_OURS,
                         "%s of the network namespace belongs to another VM already: one VM a "
                         "namespace",
                         name);
    if (found == NETWORK_FILTERS_FOREIGN)
        return error_set(err, EXIT_OURS,
                         "%s of the network namespace has filters of its own (tc filter show dev "
                         "%s ingress): they and a VM exclude each other; use "
                         "--isolation=container",
                         name, name);
    (void)network_remove_filters(netlink_fd, index); /* ENOENT, EINVAL: there is none */
    return 0;
}

/*
 * Describes the namespace, once its interfaces are nobody else's: the tap of a VM that is just
 * ending may be among those that are seen first, but not after the filter that led to it was stale.
 */
static int claim_interfaces(struct network *network, int *indices, struct error *err)
{
    struct network_description *description = &network->description;
    if (network_describe(network->netlink_fd, description, indices, err) < 0)
        return -1;
    for (uint32_t i = 0; i < description->interface_count; i++) {
        if (claim_interface(network->netlink_fd, indices[i], description->interfaces[i].name, err) <
            0)
            return -1;
    }
    return network_describe(network->netlink_fd, description, indices, err);
}

/* What is to be asked before all that comes in on the one is handed to the other. */
static int put_exceptions(const struct network *network, uint32_t number, int index, int tap_index,
                          struct error *err)
{
    const char *name = network->description.interfaces[number].name;
    if (network->name_server.s_addr != 0 &&
        network_share_answers(network->netlink_fd, index, tap_index, name, err) < 0)
        return -1;
    if (network->mesh.address.s_addr == 0)
        return 0;
    return network_obey_mesh(network->netlink_fd, &network->mesh, &network->description, number,
                             index, tap_index, err);
}

/*
 * index: of the interface. It is noted in *network once there is something to undo. What comes in
 * on it is handed on last: frames wait in a tap until the guest is there.
 */
static int tie_interface(struct network *network, uint32_t number, int index, struct error *err)
{
    const struct network_interface *interface = &network->description.interfaces[number];
    int netlink_fd = network->netlink_fd;
    char tap[IFNAMSIZ];
    network->tap_fds[number] = make_tap(tap, err);
    if (network->tap_fds[number] < 0)
        return -1;
    int tap_index = (int)if_nametoindex(tap);
    if (bring_up_tap(netlink_fd, tap_index, interface, err) < 0 ||
        network_begin_filters(netlink_fd, tap_index, tap, err) < 0 ||
        network_begin_filters(netlink_fd, index, interface->name, err) < 0)
        return -1;
    network->indices[number] = index;
    if (put_exceptions(network, number, index, tap_index, err) < 0 ||
        network_redirect(netlink_fd, tap_index, index, tap, err) < 0)
        return -1;
    return network_redirect(netlink_fd, index, tap_index, interface->name, err);
}

/* Rules that are about no interface's address are not those of a task. */
static int find_mesh(const struct network *network, struct error *err)
{
    char text[INET_ADDRSTRLEN] = "";
    bool found = network->mesh.address.s_addr == 0;
    for (uint32_t i = 0; !found && i < network->description.interface_count; i++)
        found = network_has_address(&network->description, i, network->mesh.address);
    if (found)
        return 0;
    (void)inet_ntop(AF_INET, &network->mesh.address, text, sizeof text);
    return error_set(err, EXIT_OURS,
                     "the network namespace has packet filter rules of a Swarm's routing mesh for "
                     "%s, and no interface with that address: remove them, or use "
                     "--isolation=container",
                     text);
}

static int tie_interfaces(struct network *network, struct error *err)
{
    int indices[NETWORK_MAX_INTERFACES] = { 0 };
    if (network_read_rules(&network->name_server, &network->mesh, err) < 0 ||
        claim_interfaces(network, indices, err) < 0 || find_mesh(network, err) < 0)
        return -1;
    bool shared = network->name_server.s_addr != 0 && network->description.interface_count > 0;
    if (shared && network_claim_ports(&network->ports, err) < 0)
        return -1;
    for (uint32_t i = 0; i < network->description.interface_count; i++) {
        if (tie_interface(network, i, indices[i], err) < 0)
            return -1;
    }
    return 0;
}

static int attach_inside(struct network *network, struct error *err)
{
    network->netlink_fd = netlink_open(err);
    if (network->netlink_fd < 0 || lock_namespace(network, err) < 0)
        return -1;
    int result = tie_interfaces(network, err);
    if (result < 0) /* another VM may claim them as soon as the lock is free */
        network_release_ports(&network->ports);
    unlock_namespace(network);
    return result;
}

int network_attach_own(struct network *network, struct error *err)
{
    *network = NO_NETWORK;
    network->lock_fd = open_lock(err);
    if (network->lock_fd >= 0 && attach_inside(network, err) == 0)
        return 0;
    network_detach(network);
    return -1;
}

int network_attach(const char *path, struct network *network, struct error *err)
{
    *network = NO_NETWORK;
    _cleanup_close_ int namespace_fd = open_namespace(path, err);
    if (namespace_fd < 0)
        return -1;
    network->lock_fd = open_lock(err);
    if (network->lock_fd >= 0 && visit(namespace_fd, attach_inside, network, err) == 0)
        return 0;
    network_detach(network);
    return -1;
}

/*
 * With its tap, a VM gives the interface up: another one may have it already. What cannot be taken
 * away now is taken away by the next that comes.
 */
static void release_interfaces(struct network *network)
{
    struct error ignored;
    if (lock_namespace(network, &ignored) < 0)
        return;
    bool taken = false;
    for (size_t i = 0; i < NETWORK_MAX_INTERFACES; i++) {
        int index = network->indices[i];
        int found = index > 0 ? network_filters_of(network->netlink_fd, index, &ignored) : -1;
        taken |= found == NETWORK_FILTERS_OURS;
        if (found >= 0 && found != NETWORK_FILTERS_OURS)
            (void)network_remove_filters(network->netlink_fd, index);
    }
    if (!taken)
        network_release_ports(&network->ports);
    unlock_namespace(network);
}

void network_detach(struct network *network)
{
    bool tied = false;
    for (size_t i = 0; i < NETWORK_MAX_INTERFACES; i++) {
        cleanup_close(&network->tap_fds[i]);
        network->tap_fds[i] = -1;
        tied |= network->indices[i] > 0;
    }
    if (tied && network->netlink_fd >= 0) /* or it has no ports either */
        release_interfaces(network);
    memset(network->indices, 0, sizeof network->indices);
    cleanup_close(&network->ports.fd);
    cleanup_close(&network->netlink_fd);
    cleanup_close(&network->lock_fd);
    network->ports.fd = network->netlink_fd = network->lock_fd = -1;
}

/* --- what a killed one left ----------------------------------------------------------------------
 */

static int remove_stale(const struct network *network, struct error *err)
{
    struct if_nameindex *all = if_nameindex();
    bool taken = false;
    int result = 0;
    if (!all)
        return error_set_errno(err, EXIT_OURS, errno,
                               "cannot list the interfaces of the network namespace");
    for (const struct if_nameindex *at = all; result == 0 && at->if_index != 0; at++) {
        int found = network_filters_of(network->netlink_fd, (int)at->if_index, err);
        if (found < 0)
            result = -1;
        else if (found == NETWORK_FILTERS_STALE)
            (void)network_remove_filters(network->netlink_fd, (int)at->if_index);
        taken |= found == NETWORK_FILTERS_OURS;
    }
    if_freenameindex(all);
    /* Also without a filter: the ports are claimed before the first one is made. */
    if (result == 0 && !taken)
        network_release_left_ports();
    return result;
}

/* What cannot be taken away, because another one is at work there, is left to the next that comes:
 * it keeps nobody from its end. */
static int remove_inside(struct network *network, struct error *err)
{
    struct error ignored;
    network->netlink_fd = netlink_open(err);
    if (network->netlink_fd < 0)
        return -1;
    if (lock_namespace(network, &ignored) < 0)
        return 0;
    int result = remove_stale(network, err);
    unlock_namespace(network);
    return result;
}

int network_remove_leftovers(const char *path, struct error *err)
{
    struct network network = NO_NETWORK;
    _cleanup_close_ int namespace_fd = open_namespace(path, NULL);
    if (namespace_fd < 0)
        return 0;
    network.lock_fd = open_lock(err);
    int result = network.lock_fd < 0 ? -1 : visit(namespace_fd, remove_inside, &network, err);
    network_detach(&network);
    return result;
}

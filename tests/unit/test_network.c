/* Netlink messages, the description of a network on the wire, and, as root, namespaces of our own.
 */
/* link: network cgroup program */
#include "runtime/network/netlink.h"
#include "runtime/network/network.h"
#include "test_namespace.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void test_message(void **state)
{
    (void)state;
    struct netlink_message message;
    const struct ifinfomsg head = { .ifi_index = 7 };
    const struct rtattr *outer[8], *inner[8];
    netlink_begin(&message, RTM_NEWLINK, NLM_F_CREATE, &head, sizeof head);
    netlink_put_text(&message, 3, "eth0");
    size_t nest = netlink_nest(&message, 5);
    netlink_put_u32(&message, 1, 0x01020304);
    netlink_put(&message, 2, "abc", 3);
    netlink_end(&message, nest);
    netlink_put_u32(&message, 6, 9);
    assert_false(message.overflow);
    assert_int_equal(message.head.nlmsg_len, NLMSG_LENGTH(sizeof head) + 12 + 20 + 8);
    assert_int_equal(message.head.nlmsg_flags, NLM_F_REQUEST | NLM_F_CREATE);
    netlink_parse_message(&message.head, sizeof head, outer, 8);
    assert_string_equal(RTA_DATA(outer[3]), "eth0");
    assert_int_equal(netlink_u32(outer[6], 0), 9);
    assert_int_equal(netlink_u32(outer[4], 77), 77);
    assert_null(outer[1]);
    netlink_parse(RTA_DATA(outer[5]), RTA_PAYLOAD(outer[5]), inner, 8);
    assert_int_equal(netlink_u32(inner[1], 0), 0x01020304);
    assert_int_equal(RTA_PAYLOAD(inner[2]), 3);
    assert_true(netlink_has(inner[2], 3));
    assert_false(netlink_has(inner[2], 4));
}

static void test_message_too_long(void **state)
{
    (void)state;
    struct netlink_message message;
    static const char much[NETLINK_MAX_MESSAGE];
    netlink_begin(&message, RTM_NEWLINK, 0, much, sizeof(struct ifinfomsg));
    netlink_put(&message, 1, much, sizeof much);
    assert_true(message.overflow);
    size_t nest = netlink_nest(&message, 2);
    netlink_end(&message, nest);
    assert_int_equal(netlink_request(-1, &message), EMSGSIZE);
}

/* Attributes that end beyond the message, or nowhere, are not looked at. */
static void test_attributes_cut(void **state)
{
    (void)state;
    static const uint8_t cases[][12] = {
        { 8, 0, 1, 0, 1, 2, 3, 4, 9, 0, 2, 0 }, /* the second one is too long */
        { 8, 0, 1, 0, 1, 2, 3, 4, 3, 0, 2, 0 }, /* shorter than its own head */
        { 8, 0, 1, 0, 1, 2, 3, 4, 0, 0, 2, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t length = 0; length <= sizeof cases[i]; length++) {
            const struct rtattr *table[4];
            void *copy = malloc(length + 1); /* so that a sanitizer sees what is beyond */
            assert_non_null(copy);
            memcpy(copy, cases[i], length);
            netlink_parse(copy, length, table, 4);
            assert_int_equal(table[1] != NULL, length >= 8);
            assert_null(table[2]);
            free(copy);
        }
    }
}

static struct network_description *make_description(void)
{
    struct network_description *made = calloc(1, sizeof *made);
    assert_non_null(made);
    made->interface_count = 2;
    made->address_count = 2;
    made->route_count = 2;
    made->interfaces[0] = (struct network_interface){ .name = "eth0", .mtu = 1500 };
    made->interfaces[1] = (struct network_interface){ .name = "123456789012345", .mtu = 9000 };
    made->addresses[0] = (struct network_address){ .family = AF_INET, .prefix = 32 };
    made->addresses[1] = (struct network_address){ .interface = NETWORK_LOOPBACK,
                                                   .family = AF_INET6,
                                                   .prefix = 128 };
    made->routes[0] = (struct network_route){ .interface = 1, .family = AF_INET };
    made->routes[1] =
        (struct network_route){ .interface = NETWORK_NO_INTERFACE, .family = AF_INET6 };
    return made;
}

static void test_pack(void **state)
{
    (void)state;
    struct error err;
    static uint8_t data[NETWORK_MAX_BYTES + 1];
    struct network_description *made = make_description(), *read = calloc(1, sizeof *read);
    assert_non_null(read);
    size_t length = network_pack(made, data);
    assert_int_equal(length, 16 + 2 * sizeof(struct network_interface) +
                                 2 * sizeof(struct network_address) +
                                 2 * sizeof(struct network_route));
    assert_int_equal(network_unpack(data, length, read, &err), 0);
    assert_memory_equal(read, made, sizeof *made);
    for (size_t cut = 0; cut < length; cut++)
        assert_int_equal(network_unpack(data, cut, read, &err), -1);
    assert_int_equal(network_unpack(data, length + 1, read, &err), -1);
    free(made);
    free(read);
}

/* Numbers that the setting-up would use as indices or lengths. */
static void test_unpack_refuses(void **state)
{
    (void)state;
    static uint8_t data[NETWORK_MAX_BYTES];
    for (int i = 0;; i++) {
        struct error err;
        struct network_description *made = make_description(), *read = calloc(1, sizeof *read);
        assert_non_null(read);
        const struct {
            uint8_t *byte, value;
        } changes[] = {
            { (uint8_t *)&made->reserved, 1 },
            { &made->addresses[0].interface, 2 },
            { &made->addresses[0].interface, NETWORK_NO_INTERFACE },
            { &made->addresses[0].prefix, 33 },
            { &made->addresses[1].prefix, 129 },
            { &made->addresses[0].family, AF_UNIX },
            { &made->routes[0].interface, 2 },
            { &made->routes[0].prefix, 33 },
            { &made->routes[0].family, 0 },
            { (uint8_t *)&made->interfaces[0].name[0], 0 },
            { (uint8_t *)&made->interfaces[0].name[0], '/' },
            { (uint8_t *)&made->interfaces[0].name[0], '.' },
            { (uint8_t *)&made->interfaces[1].name[15], 'x' },
        };
        bool end = i == sizeof changes / sizeof *changes;
        if (!end) {
            *changes[i].byte = changes[i].value;
            size_t length = network_pack(made, data);
            assert_int_equal(network_unpack(data, length, read, &err), -1);
        }
        free(made);
        free(read);
        if (end)
            break;
    }
    struct error err;
    static struct network_description read;
    const uint32_t counts[4] = { 0, NETWORK_MAX_ADDRESSES + 1, 0, 0 };
    memset(data, 0, sizeof data);
    memcpy(data, counts, sizeof counts);
    assert_int_equal(network_unpack(data, sizeof data, &read, &err), -1);
    const uint32_t huge[4] = { UINT32_MAX, UINT32_MAX, UINT32_MAX, 0 };
    memcpy(data, huge, sizeof huge);
    assert_int_equal(network_unpack(data, sizeof data, &read, &err), -1);
}

static void test_resolver_of_nobody(void **state)
{
    (void)state;
    struct error err;
    char *text = network_read_resolver("/run/netns/../../etc/shadow", &err);
    assert_non_null(text); /* the host's own, without servers on its loopback */
    assert_null(strstr(text, "nameserver 127."));
    assert_null(strstr(text, "root:"));
    free(text);
}

/* --- in namespaces of our own --------------------------------------------------------------------
 */

/* A veth pair, both ends here: "net0" with an address and "peer0". Returns 0, or -1. */
static int make_pair(int netlink_fd)
{
    struct netlink_message message;
    const struct ifinfomsg head = { .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
    netlink_begin(&message, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &head, sizeof head);
    netlink_put_text(&message, IFLA_IFNAME, "net0");
    size_t info = netlink_nest(&message, IFLA_LINKINFO);
    netlink_put_text(&message, IFLA_INFO_KIND, "veth");
    size_t data = netlink_nest(&message, IFLA_INFO_DATA);
    size_t peer = netlink_nest(&message, 1); /* VETH_INFO_PEER: a header, then attributes */
    message.head.nlmsg_len += (uint32_t)sizeof head;
    memset((uint8_t *)&message + message.head.nlmsg_len - sizeof head, 0, sizeof head);
    netlink_put_text(&message, IFLA_IFNAME, "peer0");
    netlink_end(&message, peer);
    netlink_end(&message, data);
    netlink_end(&message, info);
    if (netlink_request(netlink_fd, &message) != 0)
        return -1;
    const struct ifaddrmsg address = { .ifa_family = AF_INET,
                                       .ifa_prefixlen = 24,
                                       .ifa_index = if_nametoindex("net0") };
    const uint8_t bytes[4] = { 10, 9, 0, 2 };
    netlink_begin(&message, RTM_NEWADDR, NLM_F_CREATE, &address, sizeof address);
    netlink_put(&message, IFA_LOCAL, bytes, sizeof bytes);
    netlink_put(&message, IFA_ADDRESS, bytes, sizeof bytes);
    return netlink_request(netlink_fd, &message) == 0 ? 0 : -1;
}

static int describe_inside(void)
{
    static struct network_description description;
    struct error err;
    int indices[NETWORK_MAX_INTERFACES];
    int fd = netlink_open(&err);
    if (fd < 0 || make_pair(fd) < 0)
        return NOT_HERE;
    if (network_describe(fd, &description, indices, &err) < 0)
        return 1;
    /* peer0 is down: it is not carried. */
    if (description.interface_count != 1 || strcmp(description.interfaces[0].name, "net0") != 0 ||
        description.interfaces[0].mtu != 1500)
        return 2;
    if (indices[0] != (int)if_nametoindex("net0") || description.address_count != 1 ||
        description.addresses[0].local[3] != 2 || description.addresses[0].prefix != 24)
        return 3;
    /* The route to 10.9.0.0/24 comes with the address. */
    if (description.route_count != 0 || description.addresses[0].flags != 0 ||
        description.interfaces[0].ipv6 != 0)
        return 4;
    const struct rtmsg route = { .rtm_family = AF_INET,
                                 .rtm_dst_len = 24,
                                 .rtm_table = RT_TABLE_MAIN,
                                 .rtm_scope = RT_SCOPE_NOWHERE };
    const uint8_t prefix[4] = { 10, 9, 0, 0 };
    struct netlink_message message;
    netlink_begin(&message, RTM_DELROUTE, 0, &route, sizeof route);
    netlink_put(&message, RTA_DST, prefix, sizeof prefix);
    if (netlink_request(fd, &message) != 0 || network_describe(fd, &description, indices, &err) < 0)
        return 5;
    if (description.route_count != 0 || description.addresses[0].flags != NETWORK_ADDRESS_NO_ROUTE)
        return 6;
    return 0;
}

static void test_describe(void **state)
{
    (void)state;
    run_in_namespace(describe_inside);
}

/* flags: IFF_UP, or 0: down */
static int set_link(int fd, const char *name, unsigned flags)
{
    const struct ifinfomsg head = { .ifi_index = (int)if_nametoindex(name),
                                    .ifi_flags = flags,
                                    .ifi_change = IFF_UP };
    struct netlink_message message;
    netlink_begin(&message, RTM_NEWLINK, 0, &head, sizeof head);
    return netlink_request(fd, &message);
}

static int add_address(int fd, const char *name, uint8_t family, const char *text, uint8_t prefix)
{
    uint8_t bytes[16];
    const struct ifaddrmsg head = { .ifa_family = family,
                                    .ifa_prefixlen = prefix,
                                    .ifa_flags = IFA_F_NODAD,
                                    .ifa_index = if_nametoindex(name) };
    struct netlink_message message;
    size_t length = family == AF_INET ? 4 : 16;
    if (inet_pton(family, text, bytes) != 1)
        return -1;
    netlink_begin(&message, RTM_NEWADDR, NLM_F_CREATE, &head, sizeof head);
    netlink_put(&message, IFA_LOCAL, bytes, length);
    netlink_put(&message, IFA_ADDRESS, bytes, length);
    return netlink_request(fd, &message);
}

/* gateway: NULL for a route that leads nowhere. */
static int add_route(int fd, uint8_t family, const char *to, uint8_t prefix, const char *gateway,
                     uint32_t priority, unsigned flags)
{
    uint8_t bytes[16];
    const struct rtmsg head = { .rtm_family = family,
                                .rtm_dst_len = prefix,
                                .rtm_table = RT_TABLE_MAIN,
                                .rtm_protocol = RTPROT_STATIC,
                                .rtm_flags = flags,
                                .rtm_type = gateway ? RTN_UNICAST : RTN_UNREACHABLE };
    struct netlink_message message;
    size_t length = family == AF_INET ? 4 : 16;
    netlink_begin(&message, RTM_NEWROUTE, NLM_F_CREATE, &head, sizeof head);
    if (inet_pton(family, to, bytes) == 1)
        netlink_put(&message, RTA_DST, bytes, length);
    if (gateway && inet_pton(family, gateway, bytes) == 1) {
        netlink_put(&message, RTA_GATEWAY, bytes, length);
        netlink_put_u32(&message, RTA_OIF, if_nametoindex("net0"));
        size_t metrics = netlink_nest(&message, RTA_METRICS);
        netlink_put_u32(&message, RTAX_MTU, 1300);
        netlink_end(&message, metrics);
    }
    netlink_put_u32(&message, RTA_PRIORITY, priority);
    return netlink_request(fd, &message);
}

/*
 * What one namespace is described as is what another is that the description was applied to: the
 * way of a network into a guest, whose devices are others under other names.
 */
static int apply_inside(void)
{
    static struct network_description first, second;
    struct error err;
    int indices[NETWORK_MAX_INTERFACES];
    int fd = netlink_open(&err);
    if (fd < 0 || make_pair(fd) < 0)
        return NOT_HERE;
    if (set_link(fd, "lo", IFF_UP) || set_link(fd, "peer0", IFF_UP) ||
        add_address(fd, "net0", AF_INET, "10.9.0.3", 24) ||
        add_address(fd, "net0", AF_INET, "10.7.7.7", 32) ||
        add_address(fd, "lo", AF_INET, "10.8.8.8", 32) ||
        add_address(fd, "peer0", AF_INET, "10.10.0.1", 16) ||
        add_route(fd, AF_INET, "0.0.0.0", 0, "10.9.0.1", 7, 0) ||
        add_route(fd, AF_INET, "10.77.0.0", 16, "192.168.9.9", 3, RTNH_F_ONLINK) ||
        add_route(fd, AF_INET, "10.78.0.0", 16, NULL, 0, 0))
        return 1;
    if (add_address(fd, "net0", AF_INET6, "fd09::2", 64) == 0 &&
        add_route(fd, AF_INET6, "::", 0, "fd09::1", 1024, 0) != 0)
        return 2;
    if (network_describe(fd, &first, indices, &err) < 0 || first.interface_count != 2)
        return 3;
    if (unshare(CLONE_NEWNET) < 0 || (fd = netlink_open(&err)) < 0 || make_pair(fd) < 0)
        return NOT_HERE;
    if (set_link(fd, "net0", 0) != 0 || network_apply(&first, &err) < 0)
        return 4;
    if (network_describe(fd, &second, indices, &err) < 0)
        return 5;
    for (uint32_t i = 0; i < second.interface_count; i++)
        memcpy(second.interfaces[i].mac, first.interfaces[i].mac, 6);
    return memcmp(&first, &second, sizeof first) == 0 ? 0 : 6;
}

static void test_apply(void **state)
{
    (void)state;
    run_in_namespace(apply_inside);
}

/* Filters of each kind, and that only our dead ones are taken for dead. */
static int filter_inside(void)
{
    struct error err;
    int fd = netlink_open(&err);
    if (fd < 0 || make_pair(fd) < 0)
        return NOT_HERE;
    int net = (int)if_nametoindex("net0"), peer = (int)if_nametoindex("peer0");
    if (network_filters_of(fd, net, &err) != NETWORK_FILTERS_NONE)
        return 1;
    if (network_begin_filters(fd, net, "net0", &err) < 0 ||
        network_redirect(fd, net, peer, "net0", &err) < 0)
        return NOT_HERE; /* a kernel without these parts */
    if (network_filters_of(fd, net, &err) != NETWORK_FILTERS_OURS ||
        network_begin_filters(fd, net, "net0", &err) == 0)
        return 2;
    if (network_remove_filters(fd, net) != 0 || network_begin_filters(fd, net, "net0", &err) < 0 ||
        network_share_answers(fd, net, peer, "net0", &err) < 0 ||
        network_redirect(fd, net, peer, "net0", &err) < 0 ||
        network_filters_of(fd, net, &err) != NETWORK_FILTERS_OURS)
        return 5; /* with exceptions before it */
    if (network_remove_filters(fd, net) != 0 ||
        network_filters_of(fd, net, &err) != NETWORK_FILTERS_NONE)
        return 3;
    struct netlink_message message;
    const struct tcmsg head = { .tcm_ifindex = net,
                                .tcm_handle = 0xffff0000U,
                                .tcm_parent = 0xfffffff1U };
    netlink_begin(&message, RTM_NEWQDISC, NLM_F_CREATE, &head, sizeof head);
    netlink_put_text(&message, TCA_KIND, "clsact"); /* what eBPF programs are attached to */
    if (netlink_request(fd, &message) == 0 &&
        network_filters_of(fd, net, &err) != NETWORK_FILTERS_FOREIGN)
        return 4;
    return 0;
}

static void test_filters(void **state)
{
    (void)state;
    run_in_namespace(filter_inside);
}

/* Goes to another namespace from the one that it makes a pair in. Returns that one's path in
 * path[64], and 0, or a status. */
static int leave_pair(char *path)
{
    struct network network;
    struct error err;
    int fd = netlink_open(&err);
    if (fd < 0 || make_pair(fd) < 0)
        return NOT_HERE;
    (void)snprintf(path, 64, "/proc/%d/ns/net", (int)getpid());
    if (network_attach(path, &network, &err) == 0 || !strstr(err.message, "the host's own"))
        return 1; /* we are in it ourselves */
    int namespace_fd = open(path, O_RDONLY | O_CLOEXEC);
    (void)snprintf(path, 64, "/proc/self/fd/%d", namespace_fd);
    if (flock(namespace_fd, LOCK_EX) < 0) /* anybody who can open it may, and is in nobody's way */
        return 1;
    return unshare(CLONE_NEWNET) < 0 ? NOT_HERE : 0;
}

/* The same by who has entered the namespace, which it cannot enter again. */
static int attach_own(const char *path)
{
    struct network network;
    struct error err;
    if (network_enter(path, &err) < 0 || if_nametoindex("net0") == 0 ||
        network_enter(path, &err) == 0 || network_attach_own(&network, &err) < 0)
        return 11;
    bool tied =
        network.tap_fds[0] >= 0 &&
        network_filters_of(network.netlink_fd, network.indices[0], &err) == NETWORK_FILTERS_OURS;
    network_detach(&network);
    return tied && if_nametoindex("hybrid0") == 0 ? 0 : 11;
}

/* From a namespace by its path to a tap, twice: what the first left when it was killed is no
 * obstacle, while it lives it is. */
static int attach_inside(void)
{
    struct network network, second;
    struct error err;
    char path[64];
    int status = leave_pair(path);
    if (status != 0)
        return status;
    if (network_attach(path, &network, &err) < 0)
        return strstr(err.message, "/dev/net/tun") ? NOT_HERE : 2;
    if (if_nametoindex("net0") != 0 || network.tap_fds[0] < 0 || network.tap_fds[1] >= 0)
        return 3; /* we are not back in our own */
    if (network_attach(path, &second, &err) == 0 || !strstr(err.message, "another VM"))
        return 4;
    (void)close(network.tap_fds[0]); /* as if hybrid-vmm had been killed */
    network.tap_fds[0] = -1;
    if (network_attach(path, &second, &err) < 0)
        return 5;
    network_detach(&network); /* somebody else has its interface */
    if (network_filters_of(second.netlink_fd, second.indices[0], &err) != NETWORK_FILTERS_OURS)
        return 6;
    int index = second.indices[0];
    int netlink_fd = dup(second.netlink_fd);
    network_detach(&second);
    return network_filters_of(netlink_fd, index, &err) == NETWORK_FILTERS_NONE ? attach_own(path)
                                                                               : 7;
}

enum { RACERS = 3, RACES = 40 };

/* Gets the interface RACES times, in competition; it is nobody else's then. Returns a status. */
static int race(const char *path)
{
    for (int won = 0; won < RACES;) {
        struct network network;
        struct error err;
        if (network_attach(path, &network, &err) < 0) {
            if (!strstr(err.message, "belongs to another VM") &&
                !strstr(err.message, "changed while they were read")) /* a tap came or went */
                return strstr(err.message, "/dev/net/tun") ? NOT_HERE : 8;
            continue;
        }
        for (int looks = 0; looks < 3; looks++) {
            if (network_filters_of(network.netlink_fd, network.indices[0], &err) !=
                NETWORK_FILTERS_OURS)
                return 9;
            (void)usleep(200);
        }
        network_detach(&network);
        won++;
    }
    return 0;
}

static int race_inside(void)
{
    char path[64];
    int result = leave_pair(path);
    pid_t racers[RACERS];
    if (result != 0)
        return result;
    for (int i = 0; i < RACERS; i++) {
        racers[i] = fork();
        if (racers[i] == 0)
            _exit(race(path));
    }
    for (int i = 0; i < RACERS; i++) {
        int status;
        if (waitpid(racers[i], &status, 0) != racers[i] || !WIFEXITED(status))
            result = 10;
        else if (WEXITSTATUS(status) != 0)
            result = WEXITSTATUS(status);
    }
    return result;
}

static void test_attach(void **state)
{
    (void)state;
    run_in_namespace(attach_inside);
}

/* VMs that are started on one namespace at once, and end. */
static void test_attach_at_once(void **state)
{
    (void)state;
    run_in_namespace(race_inside);
}

/* Whatever is no network namespace is refused without being opened: a FIFO would block. */
static void test_no_namespace(void **state)
{
    (void)state;
    char directory[] = "/tmp/test-network-XXXXXX", fifo[64];
    struct error err = { 0 };
    assert_non_null(mkdtemp(directory));
    (void)snprintf(fifo, sizeof fifo, "%s/fifo", directory);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    const char *const paths[] = { fifo, directory, "/dev/null", "/proc/self/ns/uts" };
    (void)alarm(20);
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        assert_int_equal(network_check_path(paths[i], &err), -1);
        assert_non_null(strstr(err.message, "is not a network namespace"));
    }
    (void)alarm(0);
    (void)unlink(fifo);
    (void)rmdir(directory);
    assert_int_equal(network_check_path(fifo, &err), -1);
    assert_non_null(strstr(err.message, "cannot open the network namespace"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message),        cmocka_unit_test(test_message_too_long),
        cmocka_unit_test(test_attributes_cut), cmocka_unit_test(test_pack),
        cmocka_unit_test(test_unpack_refuses), cmocka_unit_test(test_resolver_of_nobody),
        cmocka_unit_test(test_describe),       cmocka_unit_test(test_apply),
        cmocka_unit_test(test_filters),        cmocka_unit_test(test_attach),
        cmocka_unit_test(test_attach_at_once), cmocka_unit_test(test_no_namespace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

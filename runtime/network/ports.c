/*
 * What a namespace with a name server of its own asks others goes out by the same interface, from
 * the same address as what its VM sends. Their answers are told apart by the port that they come
 * to: the namespace's kernel takes those of a range that guests' kernels take none of.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "network.h"

static const char SYSCTL[] = "/proc/sys/net/ipv4/ip_local_port_range";

/* What every namespace has from its kernel (Linux: net/ipv4/af_inet.c). */
static const char KERNELS_RANGE[] = "32768\t60999\n";

static bool is_ours(const char *text)
{
    unsigned first = 0, last = 0;
    return sscanf(text, "%u %u", &first, &last) == 2 && first == NETWORK_FIRST_PORT &&
           last == NETWORK_LAST_PORT;
}

/* Opens the sysctl of the current namespace and reads it. Returns 0, or -1 with errno. */
static int open_range(struct network_ports *ports)
{
    ports->fd = open(SYSCTL, O_RDWR | O_CLOEXEC);
    ssize_t n = ports->fd < 0 ? -1 : pread(ports->fd, ports->before, sizeof ports->before - 1, 0);
    ports->before[n < 0 ? 0 : n] = '\0';
    return n < 0 ? -1 : 0;
}

static int write_range(const struct network_ports *ports, const char *text)
{
    return pwrite(ports->fd, text, strlen(text), 0) < 0 ? -1 : 0;
}

int network_claim_ports(struct network_ports *ports, struct error *err)
{
    char ours[32];
    (void)snprintf(ours, sizeof ours, "%d %d\n", NETWORK_FIRST_PORT, NETWORK_LAST_PORT);
    if (open_range(ports) < 0 || write_range(ports, ours) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot change %s of the network namespace",
                               SYSCTL);
    if (is_ours(ports->before)) /* of one that was killed */
        (void)snprintf(ports->before, sizeof ports->before, "%s", KERNELS_RANGE);
    return 0;
}

void network_release_ports(struct network_ports *ports)
{
    if (ports->fd >= 0)
        (void)write_range(ports, ports->before);
    cleanup_close(&ports->fd);
    ports->fd = -1;
}

void network_release_left_ports(void)
{
    struct network_ports ports;
    if (open_range(&ports) == 0 && is_ours(ports.before))
        (void)write_range(&ports, KERNELS_RANGE);
    cleanup_close(&ports.fd);
}

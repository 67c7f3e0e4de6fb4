/* The network of a workload that is joined to one on the host: our own network namespace. */
#include "guest.h"

#include "cleanup.h"
#include "runtime/network/network.h"

#include <stdio.h>

/* States of net/tcp in which a connection has bytes, or its end, to deliver yet (tcp_states.h). */
enum { TCP_FIN_WAIT1 = 4, TCP_LAST_ACK = 9, TCP_CLOSING = 11 };

int guest_network_set_up(struct guest *guest, const uint8_t *data, size_t length, struct error *err)
{
    _cleanup_free_ struct network_description *description = malloc(sizeof *description);
    if (!description)
        return error_set(err, EXIT_OURS, "out of memory");
    if (guest->networked || guest->workload.configured)
        // cppcheck-suppress memleak ; released by its _cleanup_*
        return error_set(err, EXIT_OURS, "the host described a second network");
    guest->networked = true;
    if (network_unpack(data, length, description, err) < 0)
        return -1;
    return network_apply(description, err);
}

int guest_network_take_names(struct guest *guest, const struct wire_names *request,
                             struct error *err)
{
    struct in_addr address;
    memcpy(&address, request->address, sizeof address);
    if (!guest->networked)
        return error_set(err, EXIT_OURS, "the host described a name server without a network");
    if (guest->names.on || guest->workload.configured)
        return error_set(err, EXIT_OURS, "the host described a second name server, or too late");
    int host = stream_connect(request->port, err);
    return host < 0 ? -1 : names_open(&guest->names, host, address, err);
}

int guest_network_adopt(struct guest *guest, struct error *err)
{
    const char **path = &guest->workload.plan.namespaces.path[PLAN_NS_NETWORK];
    if ((*path != NULL) != guest->networked)
        return error_set(err, EXIT_OURS, "the host and the document disagree about a network");
    *path = NULL;
    return 0;
}

/* Whether a connection in one of these states is listed. */
static bool has_closing(const char *path)
{
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    char line[512];
    while (file && fgets(line, sizeof line, file)) {
        unsigned state = 0;
        /* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers */
        if (sscanf(line, " %*u: %*[0-9A-F]:%*X %*[0-9A-F]:%*X %X", &state) == 1 &&
            (state == TCP_FIN_WAIT1 || state == TCP_LAST_ACK || state == TCP_CLOSING))
            return true;
    }
    return false;
}

bool guest_network_is_busy(const struct guest *guest)
{
    return guest->networked && (has_closing("/proc/net/tcp") || has_closing("/proc/net/tcp6"));
}

/* The description on the wire: its head, then as many interfaces, addresses and routes as it says.
 */
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "network.h"

enum { HEAD_BYTES = offsetof(struct network_description, interfaces) };

struct part {
    size_t offset, size, count, most;
};

static void find_parts(const struct network_description *description, struct part parts[3])
{
    parts[0] = (struct part){ offsetof(struct network_description, interfaces),
                              sizeof description->interfaces[0], description->interface_count,
                              NETWORK_MAX_INTERFACES };
    parts[1] = (struct part){ offsetof(struct network_description, addresses),
                              sizeof description->addresses[0], description->address_count,
                              NETWORK_MAX_ADDRESSES };
    parts[2] =
        (struct part){ offsetof(struct network_description, routes), sizeof description->routes[0],
                       description->route_count, NETWORK_MAX_ROUTES };
}

size_t network_pack(const struct network_description *description, uint8_t *data)
{
    struct part parts[3];
    size_t length = HEAD_BYTES;
    find_parts(description, parts);
    memcpy(data, description, HEAD_BYTES);
    for (size_t i = 0; i < 3; i++) {
        memcpy(data + length, (const uint8_t *)description + parts[i].offset,
               parts[i].size * parts[i].count);
        length += parts[i].size * parts[i].count;
    }
    return length;
}

static bool is_interface(const struct network_description *description, uint8_t number)
{
    return number < description->interface_count || number == NETWORK_LOOPBACK;
}

static bool is_prefix(uint8_t family, uint8_t prefix)
{
    return (family == AF_INET && prefix <= 32) || (family == AF_INET6 && prefix <= 128);
}

/* What the setting-up relies on; all else is the kernel's to refuse. */
static bool is_consistent(const struct network_description *description)
{
    for (size_t i = 0; i < description->interface_count; i++) {
        const char *name = description->interfaces[i].name;
        size_t length = strnlen(name, NETWORK_NAME);
        if (length == 0 || length == NETWORK_NAME || strchr(name, '/') || name[0] == '.')
            return false;
    }
    for (size_t i = 0; i < description->address_count; i++) {
        const struct network_address *address = &description->addresses[i];
        if (!is_interface(description, address->interface) ||
            !is_prefix(address->family, address->prefix))
            return false;
    }
    for (size_t i = 0; i < description->route_count; i++) {
        const struct network_route *route = &description->routes[i];
        if ((!is_interface(description, route->interface) &&
             route->interface != NETWORK_NO_INTERFACE) ||
            !is_prefix(route->family, route->prefix))
            return false;
    }
    return true;
}

int network_unpack(const uint8_t *data, size_t length, struct network_description *description,
                   struct error *err)
{
    struct part parts[3];
    memset(description, 0, sizeof *description);
    if (length < HEAD_BYTES)
        return error_set(err, EXIT_OURS, "the description of the network is cut short");
    memcpy(description, data, HEAD_BYTES);
    data += HEAD_BYTES;
    length -= HEAD_BYTES;
    find_parts(description, parts);
    for (size_t i = 0; i < 3; i++) {
        if (parts[i].count > parts[i].most || parts[i].size * parts[i].count > length)
            return error_set(err, EXIT_OURS,
                             "the description of the network names more than it holds");
        memcpy((uint8_t *)description + parts[i].offset, data, parts[i].size * parts[i].count);
        data += parts[i].size * parts[i].count;
        length -= parts[i].size * parts[i].count;
    }
    if (length != 0 || description->reserved != 0 || !is_consistent(description))
        return error_set(err, EXIT_OURS, "the description of the network contradicts itself");
    return 0;
}

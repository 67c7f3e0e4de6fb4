#include "vmm/virtio/vhost_user.h"

#include "io.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

enum {
    REQUEST_GET_FEATURES = 1,
    REQUEST_SET_FEATURES = 2,
    REQUEST_SET_OWNER = 3,
    REQUEST_SET_MEM_TABLE = 5,
    REQUEST_SET_VRING_NUM = 8,
    REQUEST_SET_VRING_ADDR = 9,
    REQUEST_SET_VRING_BASE = 10,
    REQUEST_GET_VRING_BASE = 11,
    REQUEST_SET_VRING_KICK = 12,
    REQUEST_SET_VRING_CALL = 13,
    REQUEST_GET_PROTOCOL_FEATURES = 15,
    REQUEST_SET_PROTOCOL_FEATURES = 16,
    REQUEST_SET_VRING_ENABLE = 18,
};

enum {
    FLAG_VERSION = 1,
    FLAG_VERSION_MASK = 3,
    FLAG_REPLY = 1 << 2,
    FLAG_NEED_REPLY = 1 << 3,
    FEATURE_PROTOCOL_FEATURES = 30, /* bit of the device features */
    PROTOCOL_REPLY_ACK = 3,         /* bit of the protocol features */
};

struct message_head {
    uint32_t request, flags, size;
};

struct ring_state {
    uint32_t index, value;
};

struct ring_addresses {
    uint32_t index, flags;
    uint64_t descriptors, used, available, log;
};

struct memory_table {
    uint32_t count, padding;
    struct {
        uint64_t guest_address, size, user_address, offset;
    } regions[MEMORY_MAX_REGIONS];
};

struct message {
    struct message_head head;
    union {
        uint64_t number;
        struct ring_state state;
        struct ring_addresses addresses;
        struct memory_table memory;
    } body;
};

_Static_assert(offsetof(struct message, body) == 16, "the body is aligned, the head is not padded");

static int vhost_user_fail(uint32_t request, const char *what, struct error *err)
{
    return error_set(err, EXIT_OURS, "vhost-user: the back end %s (request %u)", what, request);
}

/* Sends head and body, which lie apart in memory but not on the wire. */
static int vhost_user_send(const struct vhost_user *peer, const struct message *message,
                           const int *fds, size_t fd_count, struct error *err)
{
    char bytes[sizeof *message];
    size_t size = message->head.size;
    memcpy(bytes, &message->head, sizeof message->head);
    memcpy(bytes + sizeof message->head, &message->body, size);
    if (io_send_fds(peer->fd, bytes, sizeof message->head + size, fds, fd_count) < 0)
        return vhost_user_fail(message->head.request, "is gone", err);
    return 0;
}

/* Reads `length` bytes; each wait is bounded. */
static int vhost_user_read(const struct vhost_user *peer, uint32_t request, void *data,
                           size_t length, struct error *err)
{
    char *at = data;
    while (length > 0) {
        struct pollfd readable = { .fd = peer->fd, .events = POLLIN };
        /* Not poll(2): one that was stopped goes on by restart_syscall(2), which is not allowed. */
        struct timespec wait = { .tv_sec = peer->timeout / 1000,
                                 .tv_nsec = peer->timeout % 1000 * 1000000L };
        int ready = ppoll(&readable, 1, &wait, NULL);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return vhost_user_fail(request, "does not answer", err);
        struct iovec part = { .iov_base = at, .iov_len = length };
        struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 }; /* takes no descriptors */
        ssize_t n = recvmsg(peer->fd, &header, MSG_DONTWAIT);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0)
            return vhost_user_fail(request, "is gone", err);
        at += n;
        length -= (size_t)n;
    }
    return 0;
}

/* Receives the answer to a request: a body of exactly `size` bytes. */
static int vhost_user_receive(const struct vhost_user *peer, uint32_t request, void *body,
                              size_t size, struct error *err)
{
    struct message_head head = { 0 };
    if (vhost_user_read(peer, request, &head, sizeof head, err) < 0)
        return -1;
    if (head.request != request || (head.flags & FLAG_VERSION_MASK) != FLAG_VERSION ||
        !(head.flags & FLAG_REPLY) || head.size != size)
        return vhost_user_fail(request, "gives an answer that is none", err);
    return vhost_user_read(peer, request, body, size, err);
}

static int vhost_user_get(const struct vhost_user *peer, uint32_t request, uint64_t *number,
                          struct error *err)
{
    struct message message = { .head = { .request = request, .flags = FLAG_VERSION } };
    if (vhost_user_send(peer, &message, NULL, 0, err) < 0)
        return -1;
    return vhost_user_receive(peer, request, number, sizeof *number, err);
}

/* Sends a request that has no answer of its own, and waits for its acknowledgement if it has one.
 */
static int vhost_user_set(const struct vhost_user *peer, struct message *message, const int *fds,
                          size_t fd_count, struct error *err)
{
    uint64_t refused = 0;
    uint32_t request = message->head.request;
    message->head.flags = FLAG_VERSION | (peer->acknowledges ? FLAG_NEED_REPLY : 0U);
    if (vhost_user_send(peer, message, fds, fd_count, err) < 0)
        return -1;
    if (!peer->acknowledges)
        return 0;
    if (vhost_user_receive(peer, request, &refused, sizeof refused, err) < 0)
        return -1;
    return refused ? vhost_user_fail(request, "refuses", err) : 0;
}

static int vhost_user_set_number(const struct vhost_user *peer, uint32_t request, uint64_t number,
                                 const int *fd, struct error *err)
{
    struct message message = { .head = { .request = request, .size = sizeof number },
                               .body.number = number };
    return vhost_user_set(peer, &message, fd, fd ? 1 : 0, err);
}

static int vhost_user_set_state(const struct vhost_user *peer, uint32_t request, uint32_t index,
                                uint32_t value, struct error *err)
{
    struct message message = { .head = { .request = request, .size = sizeof message.body.state },
                               .body.state = { index, value } };
    return vhost_user_set(peer, &message, NULL, 0, err);
}

int vhost_user_open(struct vhost_user *peer, int fd, int timeout, struct error *err)
{
    uint64_t protocol = 0;
    struct message owner = { .head = { .request = REQUEST_SET_OWNER } };
    *peer = (struct vhost_user){ .fd = fd, .timeout = timeout };
    if (vhost_user_set(peer, &owner, NULL, 0, err) < 0 ||
        vhost_user_get(peer, REQUEST_GET_FEATURES, &peer->features, err) < 0)
        return -1;
    /* Without it, there is no telling when the back end has let go of a ring. */
    if (!(peer->features & 1ULL << FEATURE_PROTOCOL_FEATURES))
        return vhost_user_fail(REQUEST_GET_FEATURES, "is too old", err);
    if (vhost_user_get(peer, REQUEST_GET_PROTOCOL_FEATURES, &protocol, err) < 0 ||
        vhost_user_set_number(peer, REQUEST_SET_PROTOCOL_FEATURES,
                              protocol & 1ULL << PROTOCOL_REPLY_ACK, NULL, err) < 0)
        return -1;
    peer->acknowledges = protocol & 1ULL << PROTOCOL_REPLY_ACK;
    return 0;
}

/* The back end translates ring addresses by user_address: here they are the guest's own. */
static int vhost_user_set_memory(struct vhost_user *peer, const struct guest_memory *memory,
                                 struct error *err)
{
    int fds[MEMORY_MAX_REGIONS];
    struct message message = { .head = { .request = REQUEST_SET_MEM_TABLE } };
    struct memory_table *table = &message.body.memory;
    if (peer->has_memory)
        return 0;
    table->count = (uint32_t)memory->region_count;
    for (size_t i = 0; i < memory->region_count; i++) {
        const struct memory_region *region = &memory->regions[i];
        table->regions[i].guest_address = table->regions[i].user_address = region->start;
        table->regions[i].size = region->size;
        table->regions[i].offset = region->file_offset;
        fds[i] = memory->file_fd;
    }
    message.head.size = (uint32_t)(offsetof(struct memory_table, regions) +
                                   memory->region_count * sizeof table->regions[0]);
    if (vhost_user_set(peer, &message, fds, memory->region_count, err) < 0)
        return -1;
    peer->has_memory = true;
    return 0;
}

static int vhost_user_start_ring(const struct vhost_user *peer, const struct vhost_user_ring *ring,
                                 struct error *err)
{
    struct message addresses = { .head = { .request = REQUEST_SET_VRING_ADDR,
                                           .size = sizeof addresses.body.addresses },
                                 .body.addresses = { .index = ring->index,
                                                     .descriptors = ring->descriptors,
                                                     .used = ring->used,
                                                     .available = ring->available } };
    if (vhost_user_set_state(peer, REQUEST_SET_VRING_NUM, ring->index, ring->size, err) < 0 ||
        vhost_user_set_state(peer, REQUEST_SET_VRING_BASE, ring->index, 0, err) < 0 ||
        vhost_user_set(peer, &addresses, NULL, 0, err) < 0 ||
        vhost_user_set_number(peer, REQUEST_SET_VRING_CALL, ring->index, &ring->call_fd, err) < 0 ||
        vhost_user_set_number(peer, REQUEST_SET_VRING_KICK, ring->index, &ring->kick_fd, err) < 0)
        return -1;
    return vhost_user_set_state(peer, REQUEST_SET_VRING_ENABLE, ring->index, 1, err);
}

int vhost_user_start(struct vhost_user *peer, const struct guest_memory *memory, uint64_t features,
                     const struct vhost_user_ring *rings, unsigned count, struct error *err)
{
    uint64_t chosen = features | 1ULL << FEATURE_PROTOCOL_FEATURES;
    if (vhost_user_set_number(peer, REQUEST_SET_FEATURES, chosen, NULL, err) < 0 ||
        vhost_user_set_memory(peer, memory, err) < 0)
        return -1;
    for (unsigned i = 0; i < count; i++) {
        if (vhost_user_start_ring(peer, &rings[i], err) < 0)
            return -1;
    }
    return 0;
}

int vhost_user_stop(struct vhost_user *peer, const struct vhost_user_ring *rings, unsigned count,
                    struct error *err)
{
    for (unsigned i = 0; i < count; i++) {
        struct ring_state state = { .index = rings[i].index };
        struct message message = { .head = { .request = REQUEST_GET_VRING_BASE,
                                             .flags = FLAG_VERSION,
                                             .size = sizeof state },
                                   .body.state = state };
        if (vhost_user_send(peer, &message, NULL, 0, err) < 0 ||
            vhost_user_receive(peer, REQUEST_GET_VRING_BASE, &state, sizeof state, err) < 0)
            return -1;
    }
    return 0;
}

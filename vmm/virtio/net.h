/*
 * virtio network device (Virtual I/O Device 1.2, section 5.1) over a tap: one queue each way, on
 * the event loop. The tap is not blocking and has headers of NET_HEADER bytes (TUNSETVNETHDRSZ).
 */
#ifndef HYBRID_VMM_VIRTIO_NET_H
#define HYBRID_VMM_VIRTIO_NET_H

#include "vmm/loop.h"
#include "vmm/virtio/mmio.h"
#include "vmm/virtio/rate.h"

#include <linux/if_ether.h>
#include <linux/virtio_net.h>

enum {
    NET_QUEUE_RX, /* to the guest */
    NET_QUEUE_TX, /* from the guest */
    NET_QUEUES,
    NET_HEADER = sizeof(struct virtio_net_hdr_v1),
    NET_MIN_MTU = 68,
    NET_MAX_MTU = 65535,
    NET_FRAME_EXTRA = ETH_HLEN + 4,  /* a VLAN's tag comes on top of the MTU, as in Linux */
    NET_BATCH = 64,                  /* frames of one direction until others have their turn */
    NET_BATCH_BYTES = 4 * 64 * 1024, /* likewise */
};

/* What hybrid decided about one interface. */
struct net_options {
    int fd; /* the tap; the caller's */
    uint64_t mtu;
    uint8_t mac[ETH_ALEN];
    bool own_source_only; /* frames with another sender's address than mac are dropped */
};

struct net {
    struct virtio_device device; /* first: the ops find the rest from it */
    struct virtio_net_config config;
    struct net_options options;
    struct loop *loop;
    struct loop_source tap, doorbells[NET_QUEUES];
    struct loop_deferred again;
    struct rate_limiter limiter;
    bool limited;
    uint64_t wait;      /* nanoseconds until the limiter lets a direction go on; 0: none waits */
    uint32_t watched;   /* events of the tap that the loop waits for */
    bool guest_full;    /* the guest has no buffer: its next notification comes first */
    bool held_back;     /* the limiter lets nothing in: frames wait in the tap, which drops more */
    bool host_full;     /* the tap takes no frame now */
    bool gone;          /* the tap was taken away: no frame goes anywhere */
    uint64_t discarded; /* frames; for tests */
    /* Of the frame in progress. */
    struct queue_chain chain;
    struct iovec parts[QUEUE_MAX_SIZE + 2]; /* between our copy of its head and a byte too much */
};

/* Returns 0, or -1 with err; net_destroy is safe in both cases. */
int net_create(struct net *net, const struct guest_memory *memory, struct loop *loop,
               const struct net_options *options, struct error *err);
void net_destroy(struct net *net);

/* What a driver may move each second; 0: no limit. */
struct net_rates {
    uint64_t receive_bytes, send_bytes, receive_packets, send_packets;
};

/*
 * From now on frames wait until there is room in these rates: the guest's in its queue, the
 * network's in the tap.
 */
void net_limit(struct net *net, const struct net_rates *rates);

/*
 * After the last guest instruction: sends what a full queue holds and the tap takes at once, limits
 * or not, since nobody could send it again.
 */
void net_finish(struct net *net);

#endif

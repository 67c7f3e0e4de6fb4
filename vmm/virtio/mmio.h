/*
 * The virtio-mmio transport, version 2 (Virtual I/O Device 1.2, section 4.2): one page of registers
 * a device, apart from what the device does.
 *
 * Threads: registers are accessed by vCPU threads; queues are processed by the device loop or by
 * the device's own worker. `lock` orders the two. The vCPU takes it for set-up and reset only: the
 * interrupt registers are atomic and notifications are ioeventfds, so that no vCPU waits for a
 * device in operation. (A driver that resets a disk waits for the few requests in progress; one
 * that resets the share waits for virtiofsd, up to 30 seconds for an answer: fs.c.)
 */
#ifndef HYBRID_VMM_VIRTIO_MMIO_H
#define HYBRID_VMM_VIRTIO_MMIO_H

#include "vmm/ticket_lock.h"
#include "vmm/virtio/queue.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    VIRTIO_MMIO_SIZE = 0x1000, /* bytes of address space for one device */
    VIRTIO_MAX_QUEUES = 3,
    VIRTIO_QUEUE_NOTIFY_OFFSET = 0x50,
};

struct virtio_device;

struct virtio_device_ops {
    const char *name;
    uint32_t device_id; /* section 5 */
    unsigned queue_count;
    uint16_t queue_size;
    /* Causes of interrupts that always read as pending: of a device whose queues another process
     * serves, which interrupts the guest without our knowing. */
    uint32_t standing_interrupts;
    /* The driver is ready (DRIVER_OK). Called with the lock held. May be NULL. */
    void (*activate)(struct virtio_device *device);
    /*
     * Chains may be waiting in queue `index`. Called with the lock held, while the device is live.
     * Does a bounded amount of work. Returns 0, 1 if more is waiting, or -1 if the driver broke the
     * rules: the device then needs a reset. A device with a thread of its own may leave in
     * `wait_nanoseconds` how long it is of no use to call it again.
     */
    int (*process)(struct virtio_device *device, unsigned index);
    /* The driver resets the device. Called with the lock held. May be NULL. */
    void (*reset)(struct virtio_device *device);
};

struct virtio_device {
    const struct virtio_device_ops *ops;
    void *context;      /* the device's own state */
    uint64_t features;  /* offered; VERSION_1 and EVENT_IDX are added by virtio_device_create */
    const void *config; /* device configuration space, constant */
    size_t config_size;
    struct ticket_lock lock;   /* taken by virtio_device_lock only */
    uint64_t wait_nanoseconds; /* belongs to the device's thread */
    /* Registers. */
    uint32_t status, device_features_select, driver_features_select, queue_select;
    uint64_t driver_features;
    atomic_uint interrupt_status;
    struct queue queues[VIRTIO_MAX_QUEUES];
    /* eventfds; owned */
    int interrupt_fd;
    int doorbell_fds[VIRTIO_MAX_QUEUES]; /* the driver's notifications, one a queue */
};

struct error;

/* Initialises the transport's part of device. The other fields are the caller's to fill before. */
int virtio_device_create(struct virtio_device *device, const struct guest_memory *memory,
                         struct error *err);
void virtio_device_destroy(struct virtio_device *device);

/* A vCPU reads or writes `length` bytes at `offset` of the device's page. */
void virtio_mmio_read(struct virtio_device *device, uint64_t offset, void *data, uint32_t length);
void virtio_mmio_write(struct virtio_device *device, uint64_t offset, const void *data,
                       uint32_t length);

/*
 * The device's lock goes to its takers in the order in which they came: neither a queue that never
 * runs empty (a disk can be made to read the next requests into its own ring) keeps a vCPU from a
 * register for longer than one batch, nor a vCPU that reads a register for ever the device's
 * thread.
 */
void virtio_device_lock(struct virtio_device *device);
void virtio_device_unlock(struct virtio_device *device);

/* Whether queues may be processed. Call with the lock held. */
bool virtio_device_live(const struct virtio_device *device);

/*
 * Takes the lock, processes queue `index` if the device is live, handles a broken driver.
 * Returns whether more is waiting.
 */
bool virtio_device_process(struct virtio_device *device, unsigned index);

/* Tells the driver that it used a queue wrongly; the device does nothing until it is reset. */
void virtio_device_break(struct virtio_device *device);

/*
 * One line on the device's registers and queues, for the diagnosis of a guest that gets nowhere.
 * Takes no lock, so that a device that hangs is described too. Returns the length, as snprintf.
 */
int virtio_device_describe(const struct virtio_device *device, char *text, size_t size);

/* Publishes what was pushed and interrupts the driver if it wants that. Lock held. */
void virtio_device_publish(struct virtio_device *device, struct queue *queue);

#endif

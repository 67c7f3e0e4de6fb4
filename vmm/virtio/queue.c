#include "vmm/virtio/queue.h"

#include <string.h>

/* Loads and stores of memory that the guest shares: exactly one access each, never repeated. */
#define LOAD(location)                 __atomic_load_n(&(location), __ATOMIC_RELAXED)
#define LOAD_ACQUIRE(location)         __atomic_load_n(&(location), __ATOMIC_ACQUIRE)
#define STORE(location, value)         __atomic_store_n(&(location), (value), __ATOMIC_RELAXED)
#define STORE_RELEASE(location, value) __atomic_store_n(&(location), (value), __ATOMIC_RELEASE)

int queue_activate(struct queue *queue)
{
    uint32_t size = queue->size;
    if (size == 0 || size > queue->max_size || (size & (size - 1)) != 0)
        return -1;
    if (queue->descriptor_address % 16 || queue->driver_address % 2 || queue->device_address % 4)
        return -1;
    /* Both rings end in a 2-byte event field (2.7.6, 2.7.8), also where it is not used. */
    uint64_t available_bytes = sizeof(struct vring_avail) + 2 * (uint64_t)size + 2;
    uint64_t used_bytes =
        sizeof(struct vring_used) + sizeof(struct vring_used_elem) * (uint64_t)size + 2;
    queue->descriptors = memory_range(queue->memory, queue->descriptor_address,
                                      sizeof(struct vring_desc) * (uint64_t)size);
    queue->available = memory_range(queue->memory, queue->driver_address, available_bytes);
    queue->used = memory_range(queue->memory, queue->device_address, used_bytes);
    if (!queue->descriptors || !queue->available || !queue->used)
        return -1;
    queue->next_available = queue->next_used = queue->interrupted_used = 0;
    queue->ready = true;
    return 0;
}

void queue_reset(struct queue *queue)
{
    *queue = (struct queue){ .memory = queue->memory, .max_size = queue->max_size };
}

/* Adds one part to the chain. Returns 0, or -1 if it is outside RAM, empty or out of order. */
static int queue_add_part(const struct queue *queue, struct queue_chain *chain, uint64_t address,
                          uint32_t length, bool writable)
{
    void *host = memory_range(queue->memory, address, length);
    if (!host || (!writable && chain->writable_count > 0))
        return -1;
    size_t index = chain->readable_count + chain->writable_count;
    chain->parts[index] = (struct iovec){ .iov_base = host, .iov_len = length };
    if (writable) {
        chain->writable_count++;
        chain->writable_bytes += length;
    } else {
        chain->readable_count++;
        chain->readable_bytes += length;
    }
    return 0;
}

static int queue_walk(const struct queue *queue, struct queue_chain *chain)
{
    uint16_t index = chain->head;
    /* A chain has at most as many descriptors as the table: that also ends a loop. */
    for (uint32_t walked = 0; walked < queue->size; walked++) {
        if (index >= queue->size)
            return -1;
        struct vring_desc *shared = &queue->descriptors[index];
        uint64_t address = LOAD(shared->addr);
        uint32_t length = LOAD(shared->len);
        uint16_t flags = LOAD(shared->flags);
        uint16_t next = LOAD(shared->next);
        if (flags & VRING_DESC_F_INDIRECT) /* never offered */
            return -1;
        if (queue_add_part(queue, chain, address, length, flags & VRING_DESC_F_WRITE) < 0)
            return -1;
        if (!(flags & VRING_DESC_F_NEXT))
            return 0;
        index = next;
    }
    return -1;
}

int queue_pop(struct queue *queue, struct queue_chain *chain)
{
    uint16_t available = LOAD_ACQUIRE(queue->available->idx);
    uint16_t waiting = (uint16_t)(available - queue->next_available);
    if (waiting == 0)
        return 0;
    if (waiting > queue->size)
        return -1;
    chain->head = LOAD(queue->available->ring[queue->next_available & (queue->size - 1)]);
    chain->readable_count = chain->writable_count = 0;
    chain->readable_bytes = chain->writable_bytes = 0;
    if (queue_walk(queue, chain) < 0)
        return -1;
    queue->next_available++;
    return 1;
}

void queue_unpop(struct queue *queue, uint16_t count)
{
    queue->next_available = (uint16_t)(queue->next_available - count);
}

void queue_push(struct queue *queue, uint16_t head, uint32_t written)
{
    struct vring_used_elem *element = &queue->used->ring[queue->next_used & (queue->size - 1)];
    STORE(element->id, head);
    STORE(element->len, written);
    queue->next_used++;
}

/* The driver's used_event field, behind its ring. */
static uint16_t queue_used_event(const struct queue *queue)
{
    return LOAD(queue->available->ring[queue->size]);
}

bool queue_publish(struct queue *queue)
{
    uint16_t before = queue->interrupted_used;
    if (queue->next_used == before)
        return false;
    STORE_RELEASE(queue->used->idx, queue->next_used);
    /* The driver updates its wish, then looks at idx; we do it the other way round (2.7.10). */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    queue->interrupted_used = queue->next_used;
    if (!queue->event_index)
        return !(LOAD(queue->available->flags) & VRING_AVAIL_F_NO_INTERRUPT);
    return vring_need_event(queue_used_event(queue), queue->next_used, before);
}

bool queue_await(struct queue *queue)
{
    if (queue->event_index) {
        uint16_t *avail_event = (uint16_t *)(void *)&queue->used->ring[queue->size];
        STORE(*avail_event, queue->next_available);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
    return LOAD_ACQUIRE(queue->available->idx) != queue->next_available;
}

size_t queue_slice(const struct iovec *parts, size_t count, uint64_t offset, uint64_t length,
                   struct iovec *slice)
{
    size_t sliced = 0;
    for (size_t i = 0; i < count && length > 0; i++) {
        if (offset >= parts[i].iov_len) {
            offset -= parts[i].iov_len;
            continue;
        }
        size_t here = parts[i].iov_len - (size_t)offset;
        if (here > length)
            here = (size_t)length;
        slice[sliced++] =
            (struct iovec){ .iov_base = (char *)parts[i].iov_base + offset, .iov_len = here };
        offset = 0;
        length -= here;
    }
    return sliced;
}

int queue_chain_read(const struct queue_chain *chain, uint64_t offset, void *data, size_t length)
{
    if (offset > chain->readable_bytes || length > chain->readable_bytes - offset)
        return -1;
    char *target = data;
    for (size_t i = 0; i < chain->readable_count && length > 0; i++) {
        struct iovec piece;
        if (queue_slice(&chain->parts[i], 1, offset, length, &piece) == 0) {
            offset -= chain->parts[i].iov_len;
            continue;
        }
        memcpy(target, piece.iov_base, piece.iov_len);
        target += piece.iov_len;
        length -= piece.iov_len;
        offset = 0;
    }
    return 0;
}

int queue_parts_write(const struct iovec *parts, size_t count, uint64_t offset, const void *data,
                      size_t length)
{
    const char *source = data;
    for (size_t i = 0; i < count && length > 0; i++) {
        struct iovec piece;
        if (queue_slice(&parts[i], 1, offset, length, &piece) == 0) {
            offset -= parts[i].iov_len;
            continue;
        }
        memcpy(piece.iov_base, source, piece.iov_len);
        source += piece.iov_len;
        length -= piece.iov_len;
        offset = 0;
    }
    return length == 0 ? 0 : -1;
}

int queue_chain_write(const struct queue_chain *chain, uint64_t offset, const void *data,
                      size_t length)
{
    if (offset > chain->writable_bytes || length > chain->writable_bytes - offset)
        return -1;
    return queue_parts_write(chain->parts + chain->readable_count, chain->writable_count, offset,
                             data, length);
}

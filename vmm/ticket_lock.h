/*
 * A lock that goes to those who want it in the order in which they came. A pthread mutex goes to
 * whoever is awake, so a guest that keeps one thread at it (a register read without end, a queue
 * that never runs empty) would keep the others away for as long as it likes.
 */
#ifndef HYBRID_VMM_TICKET_LOCK_H
#define HYBRID_VMM_TICKET_LOCK_H

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Zeroed: free. The numbers wrap, and more threads than fit between them there are not. */
struct ticket_lock {
    _Atomic uint32_t next;    /* ticket of whoever comes next */
    _Atomic uint32_t serving; /* ticket of the holder; a futex */
};

static inline void ticket_lock_take(struct ticket_lock *lock)
{
    uint32_t ticket = atomic_fetch_add(&lock->next, 1), serving;
    while ((serving = atomic_load(&lock->serving)) != ticket)
        (void)syscall(SYS_futex, &lock->serving, FUTEX_WAIT_PRIVATE, serving, NULL, NULL, 0);
}

static inline void ticket_lock_release(struct ticket_lock *lock)
{
    uint32_t serving = atomic_fetch_add(&lock->serving, 1) + 1;
    /* Whoever takes a ticket after this look finds `serving` changed and does not wait. */
    if (atomic_load(&lock->next) != serving)
        (void)syscall(SYS_futex, &lock->serving, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

#endif

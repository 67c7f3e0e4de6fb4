/* The threads of a running machine: one a vCPU, one a disk, one for the share. (The main thread is
 * the event loop.) */
#ifndef HYBRID_VMM_CREW_H
#define HYBRID_VMM_CREW_H

#include "error.h"
#include "include/machine.h"
#include "vmm/vcpu.h"
#include "vmm/virtio/fs.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

enum {
    CREW_MAX_DISKS = 2,
    CREW_KICK = SIGUSR1, /* makes KVM_RUN return */
};

enum crew_state {
    CREW_STARTING, /* the vCPUs wait at the gate */
    CREW_RUNNING,
    CREW_PAUSED,
    CREW_GIVEN_UP, /* as CREW_STOPPED, but the first vCPU says where it stood */
    CREW_STOPPED,  /* for good */
};

struct crew {
    struct vcpu *vcpus; /* the machine's */
    unsigned vcpu_count;
    struct virtio_device *disks[CREW_MAX_DISKS];
    unsigned disk_count;
    struct fs *share; /* the machine's; NULL: none */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum crew_state state;
    unsigned armed;  /* threads whose seccomp filter is in place */
    unsigned parked; /* vCPUs that do not run */
    bool ended;      /* the machine: `end` says how */
    struct vcpu_end end;
    int end_fd; /* eventfd, owned: readable once `ended` */
};

/*
 * Starts the threads. Returns when each has applied its seccomp filter, the vCPUs waiting at the
 * gate: 0, or -1 with err. crew->vcpus, vcpu_count, disks, disk_count and share are the caller's to
 * fill.
 */
int crew_start(struct crew *crew, struct error *err);

/* Opens the gate, or ends a pause. */
void crew_run(struct crew *crew);

/* Takes all vCPUs out of the guest and returns when they are. */
void crew_pause(struct crew *crew);

/* Likewise, and for good. */
void crew_stop(struct crew *crew);

/* Likewise, and ends the machine with MACHINE_END_STALLED and where the first vCPU stood. */
void crew_give_up(struct crew *crew);

/* Ends the machine, unless it has ended already; called by any thread. */
void crew_end(struct crew *crew, const struct vcpu_end *end);

#endif

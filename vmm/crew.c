#include "vmm/crew.h"

#include "vmm/seccomp.h"

#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    CREW_STACK = 64 * 1024, /* bytes of address space a thread; a fraction of it is ever touched */
};

struct crew_member {
    struct crew *crew;
    struct vcpu *vcpu;          /* a vCPU's thread */
    struct virtio_device *disk; /* a disk's thread */
    struct fs *share;           /* the share's thread */
};

/* The signal's whole effect is that KVM_RUN returns. */
static void crew_kicked(int signal_number)
{
    (void)signal_number;
}

void crew_end(struct crew *crew, const struct vcpu_end *end)
{
    uint64_t one = 1;
    (void)pthread_mutex_lock(&crew->lock);
    if (!crew->ended) {
        crew->end = *end;
        crew->ended = true;
    }
    (void)pthread_mutex_unlock(&crew->lock);
    (void)!write(crew->end_fd, &one, sizeof one);
}

/* Puts the calling thread under its filter and says so to crew_start. */
static void crew_arm(struct crew *crew, enum seccomp_thread kind, const char *name)
{
    struct error err;
    struct vcpu_end end = { .kind = MACHINE_END_SETUP };
    (void)prctl(PR_SET_NAME, name, 0, 0, 0);
    if (seccomp_enter(kind, &err) < 0) {
        (void)snprintf(end.text, sizeof end.text, "%.1000s", err.message);
        crew_end(crew, &end);
    }
    (void)pthread_mutex_lock(&crew->lock);
    crew->armed++;
    (void)pthread_cond_broadcast(&crew->changed);
    (void)pthread_mutex_unlock(&crew->lock);
}

/* Waits until the vCPU may run. Returns false if it is to say where it stands instead. */
static bool crew_wait_at_gate(struct crew *crew, struct vcpu *vcpu)
{
    bool paused = false, may_run = true;
    (void)pthread_mutex_lock(&crew->lock);
    while (crew->state != CREW_RUNNING) {
        may_run = crew->state != CREW_GIVEN_UP || vcpu->index != 0;
        if (!may_run)
            break;
        paused |= crew->state == CREW_PAUSED;
        crew->parked++;
        (void)pthread_cond_broadcast(&crew->changed);
        (void)pthread_cond_wait(&crew->changed, &crew->lock);
        crew->parked--;
    }
    (void)pthread_mutex_unlock(&crew->lock);
    if (paused) /* the guest's watchdogs are told that time was taken from it; not all KVMs know it
                 */
        (void)ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, 0);
    return may_run;
}

/* Runs the guest until somebody asks for something else, or the machine's end. */
static enum vcpu_outcome crew_run_guest(struct crew_member *member, struct vcpu_end *end)
{
    if (!crew_wait_at_gate(member->crew, member->vcpu))
        return vcpu_describe_stall(member->vcpu, end);
    enum vcpu_outcome outcome;
    do
        outcome = vcpu_run(member->vcpu, end);
    while (outcome == VCPU_CONTINUE);
    return outcome;
}

static void *crew_vcpu_main(void *argument)
{
    struct crew_member member = *(struct crew_member *)argument;
    struct vcpu_end end;
    char name[16];
    free(argument);
    (void)snprintf(name, sizeof name, "vcpu%u", member.vcpu->index);
    crew_arm(member.crew, SECCOMP_VCPU, name);
    for (;;) {
        if (crew_run_guest(&member, &end) == VCPU_INTERRUPTED)
            continue;
        crew_end(member.crew, &end);
        /* Never runs again; the loop's thread ends the process. */
        (void)pthread_mutex_lock(&member.crew->lock);
        member.crew->parked++;
        (void)pthread_cond_broadcast(&member.crew->changed);
        for (;;)
            (void)pthread_cond_wait(&member.crew->changed, &member.crew->lock);
    }
    return NULL;
}

/*
 * A disk that is used faster than it may be. A signal only makes it ask again. Until a point in
 * time: a sleep for a while that was stopped goes on by restart_syscall(2), which is not allowed.
 */
static void crew_sleep(uint64_t nanoseconds)
{
    const long second = 1000000000;
    struct timespec until;
    if (nanoseconds == 0)
        return;
    if (nanoseconds >= (uint64_t)second) /* of a long debt: a driver may have reset the disk */
        nanoseconds = (uint64_t)second - 1;
    (void)syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &until); /* as in blk.c */
    until.tv_nsec += (long)nanoseconds;
    until.tv_sec += until.tv_nsec / second;
    until.tv_nsec %= second;
    (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static void *crew_disk_main(void *argument)
{
    struct crew_member member = *(struct crew_member *)argument;
    uint64_t count;
    free(argument);
    crew_arm(member.crew, SECCOMP_DISK, "disk");
    for (;;) {
        ssize_t n = read(member.disk->doorbell_fds[0], &count, sizeof count);
        if (n < 0 && errno != EINTR)
            return NULL;
        while (virtio_device_process(member.disk, 0))
            crew_sleep(member.disk->wait_nanoseconds);
    }
}

static void *crew_share_main(void *argument)
{
    struct crew_member member = *(struct crew_member *)argument;
    free(argument);
    crew_arm(member.crew, SECCOMP_SHARE, "share");
    fs_serve(member.share);
    /* Not its end: that takes system calls which the thread does not have. */
    (void)pthread_mutex_lock(&member.crew->lock);
    for (;;)
        (void)pthread_cond_wait(&member.crew->changed, &member.crew->lock);
    return NULL;
}

/* What the member is for says which of its pointers is not NULL. */
static int crew_start_thread(const struct crew_member *description, struct error *err)
{
    pthread_t thread;
    pthread_attr_t attributes;
    struct crew_member *member = malloc(sizeof *member);
    if (!member)
        return error_set(err, EXIT_OURS, "out of memory");
    *member = *description;
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, CREW_STACK);
    void *(*run)(void *) = description->vcpu   ? crew_vcpu_main
                           : description->disk ? crew_disk_main
                                               : crew_share_main;
    int result = pthread_create(&thread, &attributes, run, member);
    (void)pthread_attr_destroy(&attributes);
    if (result != 0) {
        free(member);
        return error_set_errno(err, EXIT_OURS, result, "cannot start a thread");
    }
    if (description->vcpu)
        description->vcpu->thread =
            thread; /* for the kick; none comes before crew_start has returned */
    return 0;
}

int crew_start(struct crew *crew, struct error *err)
{
    struct sigaction action = { .sa_handler = crew_kicked };
    unsigned threads = crew->vcpu_count + crew->disk_count + (crew->share ? 1 : 0);
    (void)pthread_mutex_init(&crew->lock, NULL);
    (void)pthread_cond_init(&crew->changed, NULL);
    crew->state = CREW_STARTING;
    crew->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (crew->end_fd < 0 || sigaction(CREW_KICK, &action, NULL) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot prepare the threads");
    for (unsigned i = 0; i < crew->vcpu_count; i++) {
        struct crew_member member = { .crew = crew, .vcpu = &crew->vcpus[i] };
        if (crew_start_thread(&member, err) < 0)
            return -1;
    }
    for (unsigned i = 0; i < crew->disk_count; i++) {
        struct crew_member member = { .crew = crew, .disk = crew->disks[i] };
        if (crew_start_thread(&member, err) < 0)
            return -1;
    }
    struct crew_member share = { .crew = crew, .share = crew->share };
    if (crew->share && crew_start_thread(&share, err) < 0)
        return -1;
    (void)pthread_mutex_lock(&crew->lock);
    while (crew->armed < threads)
        (void)pthread_cond_wait(&crew->changed, &crew->lock);
    bool failed = crew->ended;
    (void)pthread_mutex_unlock(&crew->lock);
    return failed ? error_set(err, EXIT_OURS, "%s", crew->end.text) : 0;
}

void crew_run(struct crew *crew)
{
    (void)pthread_mutex_lock(&crew->lock);
    if (crew->state != CREW_STOPPED)
        crew->state = CREW_RUNNING;
    (void)pthread_cond_broadcast(&crew->changed);
    (void)pthread_mutex_unlock(&crew->lock);
}

static void crew_park(struct crew *crew, enum crew_state state)
{
    (void)pthread_mutex_lock(&crew->lock);
    if (crew->state != CREW_STOPPED)
        crew->state = state;
    for (unsigned i = 0; i < crew->vcpu_count; i++) {
        vcpu_request_exit(&crew->vcpus[i]);
        (void)pthread_kill(crew->vcpus[i].thread, CREW_KICK);
    }
    while (crew->parked < crew->vcpu_count)
        (void)pthread_cond_wait(&crew->changed, &crew->lock);
    (void)pthread_mutex_unlock(&crew->lock);
}

void crew_pause(struct crew *crew)
{
    crew_park(crew, CREW_PAUSED);
}

void crew_stop(struct crew *crew)
{
    crew_park(crew, CREW_STOPPED);
}

void crew_give_up(struct crew *crew)
{
    crew_park(crew, CREW_GIVEN_UP);
}

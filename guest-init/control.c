/* Frames from the host: what each one does. */
#include "guest.h"
#include "log.h"

#include "cleanup.h"

#include <errno.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int control_send(struct guest *guest, uint32_t type, uint32_t process, const void *fixed,
                 size_t length, struct error *err)
{
    if (wire_send(guest->control_fd, type, process, fixed, length, NULL, 0, CONTROL_TIMEOUT) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot send a frame to the host");
    return 0;
}

/* Tells the host why a process could not be started. */
static int send_failure(struct guest *guest, uint32_t process, const struct error *failure,
                        struct error *err)
{
    struct wire_error head = { .exit_code = (uint32_t)failure->exit_code };
    _Static_assert(sizeof failure->message + sizeof head <= WIRE_MAX_FROM_GUEST, "it fits");
    size_t length = strlen(failure->message);
    if (wire_send(guest->control_fd, WIRE_ERROR, process, &head, sizeof head, failure->message,
                  length, CONTROL_TIMEOUT) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot send a frame to the host");
    return 0;
}

/* A frame as its handler sees it: the fixed part, and the text behind it. */
struct frame {
    uint32_t process;
    const void *fixed;
    const char *text;
    size_t text_length;
    size_t length; /* of both */
};

static int on_config(struct guest *guest, const struct frame *frame, struct error *err)
{
    struct error failure;
    struct wire_config config;
    memcpy(&config, frame->fixed, sizeof config);
    if (guest->workload.configured || frame->process != WIRE_MAIN_PROCESS)
        return error_set(err, EXIT_OURS, "the host sent a second CONFIG");
    guest->workload.configured = true;
    if (workload_prepare(guest, &config, frame->text, frame->text_length, &failure) < 0)
        return send_failure(guest, WIRE_MAIN_PROCESS, &failure, err);
    return control_send(guest, WIRE_PREPARED, WIRE_MAIN_PROCESS, NULL, 0, err);
}

static int on_start(struct guest *guest, const struct frame *frame, struct error *err)
{
    (void)frame;
    struct error failure;
    struct process *workload = &guest->workload.processes[0];
    if (workload->state != PROCESS_PREPARED)
        return error_set(err, EXIT_OURS, "the host sent START without a prepared workload");
    workload->state = PROCESS_RUNNING;
    if (sandbox_execute(&workload->child, &failure) < 0) {
        process_release(workload);
        return send_failure(guest, WIRE_MAIN_PROCESS, &failure, err);
    }
    return control_send(guest, WIRE_STARTED, WIRE_MAIN_PROCESS, NULL, 0, err);
}

static int on_filter(struct guest *guest, const struct frame *frame, struct error *err)
{
    struct wire_filter head;
    struct guest_filter *next = &guest->workload.next_filter;
    memcpy(&head, frame->fixed, sizeof head);
    free(next->program);
    *next = (struct guest_filter){ .process = frame->process,
                                   .flags = head.flags,
                                   .length = frame->text_length,
                                   .program = malloc(frame->text_length + 1) };
    if (!next->program)
        return error_set(err, EXIT_OURS, "out of memory");
    memcpy(next->program, frame->text, frame->text_length);
    return 0;
}

static int on_network(struct guest *guest, const struct frame *frame, struct error *err)
{
    struct error failure;
    if (guest_network_set_up(guest, frame->fixed, frame->length, &failure) < 0)
        return send_failure(guest, WIRE_MAIN_PROCESS, &failure, err);
    return 0;
}

static int on_names(struct guest *guest, const struct frame *frame, struct error *err)
{
    struct error failure;
    struct wire_names request;
    memcpy(&request, frame->fixed, sizeof request);
    if (guest_network_take_names(guest, &request, &failure) < 0)
        return send_failure(guest, WIRE_MAIN_PROCESS, &failure, err);
    return 0;
}

static int on_pod(struct guest *guest, const struct frame *frame, struct error *err)
{
    struct error failure;
    struct wire_pod request;
    memcpy(&request, frame->fixed, sizeof request);
    if (guest->workload.configured)
        return error_set(err, EXIT_OURS, "the host sent POD after CONFIG");
    if (pod_prepare(guest, &request, &failure) < 0)
        return send_failure(guest, WIRE_MAIN_PROCESS, &failure, err);
    return control_send(guest, WIRE_PREPARED, WIRE_MAIN_PROCESS, NULL, 0, err);
}

static int on_container(struct guest *guest, const struct frame *frame, struct error *err)
{
    struct error failure;
    struct wire_container request;
    memcpy(&request, frame->fixed, sizeof request);
    if (request.number == 0)
        return error_set(err, EXIT_OURS, "the host sent a container without a number");
    if (pod_start_container(guest, &request, &failure) < 0)
        return send_failure(guest, request.number, &failure, err);
    return 0;
}

static int on_forget(struct guest *guest, const struct frame *frame, struct error *err)
{
    (void)guest;
    struct wire_forget request;
    memcpy(&request, frame->fixed, sizeof request);
    if (request.count > WIRE_MAX_FORGET || request.first > UINT32_MAX - request.count)
        return error_set(err, EXIT_OURS, "the host has taken away %u shares from %u on",
                         request.count, request.first);
    pod_forget(&request);
    return 0;
}

/* The answer to a request that concerns a container as a whole. */
static int answer(struct guest *guest, int result, const struct error *failure, struct error *err)
{
    if (result < 0)
        return send_failure(guest, WIRE_REQUEST_PROCESS, failure, err);
    return control_send(guest, WIRE_DONE, WIRE_REQUEST_PROCESS, NULL, 0, err);
}

static int on_freeze(struct guest *guest, const struct frame *frame, struct error *err)
{
    struct error failure;
    struct wire_freeze request;
    memcpy(&request, frame->fixed, sizeof request);
    return answer(guest, container_freeze(&guest->workload, request.frozen != 0, &failure),
                  &failure, err);
}

static int on_update(struct guest *guest, const struct frame *frame, struct error *err)
{
    struct error failure;
    return answer(guest, container_update(&guest->workload, frame->text, &failure), &failure, err);
}

static int on_exec(struct guest *guest, const struct frame *frame, struct error *err)
{
    struct error failure;
    struct wire_process request;
    memcpy(&request, frame->fixed, sizeof request);
    if (frame->process == WIRE_MAIN_PROCESS || process_find(&guest->workload, frame->process))
        return error_set(err, EXIT_OURS, "the host sent EXEC with number %u, which is in use",
                         frame->process);
    if (workload_exec(guest, frame->process, &request, frame->text, frame->text_length, &failure) <
        0)
        return send_failure(guest, frame->process, &failure, err);
    return control_send(guest, WIRE_STARTED, frame->process, NULL, 0, err);
}

static int on_signal(struct guest *guest, const struct frame *frame, struct error *err)
{
    struct wire_signal request;
    memcpy(&request, frame->fixed, sizeof request);
    if (request.signal > (uint32_t)SIGRTMAX)
        return error_set(err, EXIT_OURS, "the host sent signal %u", request.signal);
    if (request.all && frame->process == WIRE_MAIN_PROCESS) {
        if (guest->workload.cgroup)
            workload_signal_all(&guest->workload, (int)request.signal);
        return 0;
    }
    /* A process that has just ended is no error: its EXITED is on the way. */
    const struct process *process = process_find(&guest->workload, frame->process);
    if (process && process->state != PROCESS_ENDED)
        (void)syscall(SYS_pidfd_send_signal, process->child.pidfd, (int)request.signal, NULL, 0);
    return 0;
}

static int on_resize(struct guest *guest, const struct frame *frame, struct error *err)
{
    (void)err;
    struct wire_resize request;
    memcpy(&request, frame->fixed, sizeof request);
    const struct process *process = process_find(&guest->workload, frame->process);
    struct winsize size = { .ws_row = request.rows, .ws_col = request.columns };
    if (process && process->child.terminal_fd >= 0)
        (void)ioctl(process->child.terminal_fd, TIOCSWINSZ, &size);
    return 0;
}

static int on_shutdown(struct guest *guest, const struct frame *frame, struct error *err)
{
    (void)frame;
    (void)err;
    guest->done = true;
    return 0;
}

static int on_stats(struct guest *guest, const struct frame *frame, struct error *err)
{
    (void)frame;
    struct cgroup_stats used = { 0 };
    if (guest->workload.cgroup && cgroup_read_stats(guest->workload.cgroup, &used, err) < 0)
        return -1;
    struct wire_stats stats = { used.memory_bytes, used.pids, used.cpu_microseconds };
    return control_send(guest, WIRE_STATS_REPLY, WIRE_MAIN_PROCESS, &stats, sizeof stats, err);
}

struct frame_handler {
    uint32_t type;
    unsigned int roles; /* enum guest_role: who may get it */
    int (*handle)(struct guest *guest, const struct frame *frame, struct error *err);
};

enum { ANY = GUEST_OWN | GUEST_POD | GUEST_CONTAINER, RUNS_ONE = GUEST_OWN | GUEST_CONTAINER };

static const struct frame_handler HANDLERS[] = {
    { WIRE_CONFIG, RUNS_ONE, on_config },
    { WIRE_START, RUNS_ONE, on_start },
    { WIRE_FILTER, RUNS_ONE, on_filter },
    { WIRE_EXEC, RUNS_ONE, on_exec },
    { WIRE_SIGNAL, RUNS_ONE, on_signal },
    { WIRE_RESIZE, RUNS_ONE, on_resize },
    { WIRE_STATS, RUNS_ONE, on_stats },
    { WIRE_SHUTDOWN, ANY, on_shutdown },
    { WIRE_NETWORK, GUEST_OWN, on_network },
    { WIRE_NAMES, GUEST_OWN, on_names },
    { WIRE_POD, GUEST_OWN, on_pod },
    { WIRE_CONTAINER, GUEST_POD, on_container },
    { WIRE_FORGET, GUEST_POD, on_forget },
    { WIRE_FREEZE, GUEST_CONTAINER, on_freeze },
    { WIRE_UPDATE, GUEST_CONTAINER, on_update },
};

static int handle_frame(struct guest *guest, struct error *err)
{
    const struct wire_frame *head = &guest->reader.head;
    const struct wire_rule *rule = wire_rule_find(head->type, true);
    size_t fixed = rule ? rule->fixed : 0; /* the reader knows the type */
    struct frame frame = { .process = head->process,
                           .fixed = guest->reader.payload,
                           .text = (const char *)guest->reader.payload + fixed,
                           .text_length = head->length - fixed,
                           .length = head->length };
    for (size_t i = 0; i < sizeof HANDLERS / sizeof HANDLERS[0]; i++) {
        if (HANDLERS[i].type == head->type && (HANDLERS[i].roles & guest->role))
            return HANDLERS[i].handle(guest, &frame, err);
    }
    return error_set(err, EXIT_OURS, "the host sent a frame of type %u to the wrong connection",
                     head->type);
}

int control_handle(struct guest *guest, struct error *err)
{
    while (!guest->done) {
        switch (wire_read(&guest->reader)) {
        case WIRE_AGAIN:
            return 0;
        case WIRE_CLOSED:
            return error_set(err, EXIT_OURS, "the control connection is lost");
        case WIRE_BROKEN:
            return error_set(err, EXIT_OURS, "the host sent a bad frame: type %u, %u bytes",
                             guest->reader.head.type, guest->reader.head.length);
        case WIRE_FRAME:
            if (handle_frame(guest, err) < 0)
                return -1;
            wire_next(&guest->reader);
        }
    }
    return 0;
}

/* Frames of the guest: whether they make sense now, and what they mean. */
#include "parts.h"

#include "shown_text.h"

#include <stdlib.h>

struct vm_session *link_find_session(struct workload *vm, uint32_t number)
{
    for (size_t i = 0; i < WIRE_MAX_PROCESSES; i++) {
        if (vm->sessions[i].used && !vm->sessions[i].ended && vm->sessions[i].number == number)
            return &vm->sessions[i];
    }
    return NULL;
}

static bool on_ready(struct workload *vm, const void *payload, uint32_t length)
{
    (void)length;
    struct wire_ready ready;
    memcpy(&ready, payload, sizeof ready);
    if (vm->stage >= VM_READY || ready.version != WIRE_VERSION)
        return false;
    link_reach(vm, VM_READY);
    return true;
}

static bool on_prepared(struct workload *vm, const void *payload, uint32_t length)
{
    (void)payload;
    (void)length;
    if (vm->stage != VM_READY)
        return false;
    link_reach(vm, VM_PREPARED);
    return true;
}

static bool on_started(struct workload *vm, const void *payload, uint32_t length)
{
    (void)payload;
    (void)length;
    if (vm->reader.head.process != WIRE_MAIN_PROCESS) {
        struct vm_session *session = link_find_session(vm, vm->reader.head.process);
        if (!session || session->started)
            return false;
        session->started = true;
        return true;
    }
    if (vm->stage != VM_PREPARED)
        return false;
    link_reach(vm, VM_STARTED);
    return true;
}

/* For later: a request of ours waits for its answer, and the monitor for us. */
static void keep_ended(struct vm_session *session, int status, const struct error *error)
{
    session->ended = true;
    session->status = status;
    session->error = error ? malloc(sizeof *error) : NULL;
    if (session->error)
        *session->error = *error;
}

void link_tell_ended(struct workload *vm)
{
    for (size_t i = 0; i < WIRE_MAX_PROCESSES; i++) {
        struct vm_session session = vm->sessions[i];
        if (!session.used || !session.ended)
            continue;
        vm->sessions[i] = (struct vm_session){ 0 };
        vm->exec_ended(vm->exec_context, session.number, session.status, session.error);
        free(session.error);
    }
}

/* An exec session is over: its number is free before the monitor hears of it. */
static bool end_session(struct workload *vm, int status, const struct error *error)
{
    uint32_t number = vm->reader.head.process;
    struct vm_session *session = link_find_session(vm, number);
    if (!session || (error && session->started))
        return false;
    link_close_streams(vm, session->ports);
    if (!vm->exec_ended) {
        keep_ended(session, status, error);
        return true;
    }
    session->used = false;
    vm->exec_ended(vm->exec_context, number, status, error);
    return true;
}

void link_copy_text(char *copy, size_t size, const char *text, size_t length)
{
    size_t n = 0;
    while (n < length) {
        size_t shown = shown_character(text + n, length - n);
        size_t taken = shown > 0 ? shown : 1;
        if (n + taken > size - 1)
            break;
        if (shown > 0)
            memcpy(copy + n, text + n, shown);
        else
            copy[n] = '?';
        n += taken;
    }
    copy[n] = '\0';
}

static bool read_error(struct error *error, const void *payload, uint32_t length)
{
    struct wire_error head;
    *error = (struct error){ 0 };
    memcpy(&head, payload, sizeof head);
    if (head.exit_code < EXIT_OURS || head.exit_code > EXIT_NOT_FOUND)
        return false;
    error->exit_code = (int)head.exit_code;
    link_copy_text(error->message, sizeof error->message, (const char *)payload + sizeof head,
                   length - sizeof head);
    return true;
}

/* The answer to a FREEZE or UPDATE. */
static bool on_answer(struct workload *vm, const struct error *error)
{
    if (vm->requests == 0)
        return false;
    vm->requests--;
    vm->request_error = *error;
    return true;
}

static bool on_done(struct workload *vm, const void *payload, uint32_t length)
{
    const struct error none = { 0 };
    (void)payload;
    (void)length;
    return vm->reader.head.process == WIRE_REQUEST_PROCESS && on_answer(vm, &none);
}

static bool on_error(struct workload *vm, const void *payload, uint32_t length)
{
    struct error error;
    if (!read_error(&error, payload, length))
        return false;
    if (vm->kind == VM_CONTAINER && vm->reader.head.process == WIRE_REQUEST_PROCESS)
        return on_answer(vm, &error);
    if (vm->reader.head.process != WIRE_MAIN_PROCESS)
        return end_session(vm, error.exit_code, &error);
    if (vm->stage != VM_READY && vm->stage != VM_PREPARED)
        return false;
    vm->command_failed = true;
    vm->command_error = error;
    return true;
}

static bool on_exited(struct workload *vm, const void *payload, uint32_t length)
{
    (void)length;
    struct wire_exited exited;
    memcpy(&exited, payload, sizeof exited);
    if (exited.status > 255 || exited.flags & ~(uint32_t)WIRE_EXITED_OOM)
        return false;
    if (vm->reader.head.process != WIRE_MAIN_PROCESS)
        return end_session(vm, (int)exited.status, NULL);
    if (vm->stage != VM_STARTED && vm->stage != VM_PREPARED)
        return false;
    link_close_streams(vm, vm->ports);
    link_reach(vm, VM_EXITED);
    vm->exit = (struct workload_exit){ .status = (int)exited.status,
                                       .oom = (exited.flags & WIRE_EXITED_OOM) != 0 };
    return true;
}

/* On the connection of a pod's machine: it cannot be set up, or a container cannot be in it. */
static bool on_pod_error(struct workload *vm, const void *payload, uint32_t length)
{
    struct error error;
    if (vm->reader.head.process == WIRE_MAIN_PROCESS)
        return vm->stage == VM_READY && on_error(vm, payload, length);
    /* Once a container, so that no flood of them keeps the keeper busy. */
    if (vm->stage != VM_PREPARED || vm->refusable == 0 || !read_error(&error, payload, length))
        return false;
    vm->refusable--;
    vm->refused(vm->refused_context, vm->reader.head.process, &error);
    return true;
}

struct frame_handler {
    uint32_t type;
    bool (*handle)(struct workload *vm, const void *payload, uint32_t length);
};

enum { MAX_HANDLERS = 6 };

static const struct frame_handler HANDLERS[][MAX_HANDLERS] = {
    [VM_SOLO] = { { WIRE_READY, on_ready },
                  { WIRE_PREPARED, on_prepared },
                  { WIRE_STARTED, on_started },
                  { WIRE_ERROR, on_error },
                  { WIRE_EXITED, on_exited } },
    [VM_POD] = { { WIRE_READY, on_ready },
                 { WIRE_PREPARED, on_prepared },
                 { WIRE_ERROR, on_pod_error } },
    [VM_CONTAINER] = { { WIRE_READY, on_ready },
                       { WIRE_PREPARED, on_prepared },
                       { WIRE_STARTED, on_started },
                       { WIRE_ERROR, on_error },
                       { WIRE_EXITED, on_exited },
                       { WIRE_DONE, on_done } },
};

bool link_handle_frame(struct workload *vm)
{
    const struct frame_handler *handlers = HANDLERS[vm->kind];
    for (size_t i = 0; i < MAX_HANDLERS && handlers[i].handle; i++) {
        if (handlers[i].type == vm->reader.head.type)
            return handlers[i].handle(vm, vm->reader.payload, vm->reader.head.length);
    }
    return false; /* nothing else was asked for */
}

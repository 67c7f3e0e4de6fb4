/* A container's part of a pod: its claim on the machine that the keeper has. */
#include "pod.h"

#include "parts.h"
#include "vm.h"

#include "cleanup.h"
#include "io.h"
#include "runtime/state/local_socket.h"

#include <stddef.h>

enum {
    ATTACH_TIMEOUT =
        VM_STEP_SECONDS * 1000, /* milliseconds for the keeper to take the container in */
    READY_TIMEOUT = VM_STEP_SECONDS * 1000, /* for its init in the guest to be there */
    END_TIMEOUT = 5 * 1000,                 /* for that to kill what is left, and to unmount */
    DETACH_TIMEOUT = 5 * 1000,              /* for the keeper to take its shares away */
    SEND_SECONDS = 10,                      /* for the keeper to take a message */
};

int pod_send(int socket, const struct pod_message *message, const int *fds, size_t fd_count)
{
    size_t text = strnlen(message->text, sizeof message->text - 1);
    return io_send_fds(socket, message, offsetof(struct pod_message, text) + text, fds, fd_count);
}

int pod_receive(int socket, struct pod_message *message, int *fds, size_t *fd_count)
{
    ssize_t length = io_receive_fds(socket, message, sizeof *message - 1, fds, fd_count);
    if (length <= 0)
        return (int)length;
    if ((size_t)length >= offsetof(struct pod_message, text)) {
        ((char *)message)[length] = '\0';
        return 1;
    }
    for (size_t i = 0; i < *fd_count; i++)
        (void)close(fds[i]);
    *fd_count = 0;
    errno = EBADMSG;
    return -1;
}

/* --- attach --------------------------------------------------------------------------------------
 */

/* The container's shares as mounts, which are to be closed. */
struct claim {
    struct shares shares;
    int *mounts;
    size_t count;
};

static void claim_free(struct claim *claim)
{
    for (size_t i = 0; i < claim->count; i++)
        (void)close(claim->mounts[i]);
    free(claim->mounts);
    shares_free(&claim->shares);
}

/* All for which the host's files are needed. */
static int prepare_claim(struct workload *vm, const struct workload_spec *spec, struct claim *claim,
                         struct error *err)
{
    const struct timeval patience = { .tv_sec = SEND_SECONDS };
    if (shares_list(spec, &claim->shares, err) < 0)
        return -1;
    if (claim->shares.count > POD_MAX_SHARES)
        return error_set(err, EXIT_OURS,
                         "cannot run %s in the VM of its pod: it mounts %zu files and directories "
                         "of this host, at most %d can be",
                         vm->id, claim->shares.count, POD_MAX_SHARES);
    claim->mounts = calloc(claim->shares.count + 1, sizeof *claim->mounts);
    if (!claim->mounts)
        return error_set(err, EXIT_OURS, "out of memory");
    for (; claim->count < claim->shares.count; claim->count++) {
        claim->mounts[claim->count] = share_clone(&claim->shares.entries[claim->count], err);
        if (claim->mounts[claim->count] < 0)
            return -1;
    }
    vm->keeper_fd = local_socket_connect(spec->pod->directory, POD_SOCKET);
    if (vm->keeper_fd < 0)
        return error_set_errno(err, EXIT_OURS, errno,
                               "cannot reach hybrid-pod, which keeps the VM of the pod of %s",
                               vm->id);
    (void)setsockopt(vm->keeper_fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return 0;
}

static int send_claim(struct workload *vm, const struct workload_spec *spec,
                      const struct claim *claim, struct error *err)
{
    const struct pod_message message = { .type = POD_ATTACH,
                                         .count = (uint32_t)claim->count,
                                         .processes = spec->pod->processes };
    size_t sent = 0;
    do {
        size_t n = claim->count - sent < IO_MAX_FDS ? claim->count - sent : IO_MAX_FDS;
        if (pod_send(vm->keeper_fd, &message, claim->mounts + sent, n) < 0) {
            int cause = errno;
            (void)claim_read(vm); /* it may have said why */
            return error_set(err, EXIT_OURS, "hybrid-pod does not take %s in: %s", vm->id,
                             vm->machine.ended ? vm->keepers_word.message : strerror(cause));
        }
        sent += n;
    } while (sent < claim->count);
    return 0;
}

/* As with a machine of its own, its workload is left for no longer than it must be. */
static int make_claim(struct workload *vm, const struct workload_spec *spec, struct claim *claim,
                      struct error *err)
{
    struct error ignored; /* the first cause counts */
    int result = stand_in_leave(vm, err);
    if (result == 0)
        result = prepare_claim(vm, spec, claim, err);
    return stand_in_return(vm, result < 0 ? &ignored : err) < 0 ? -1 : result;
}

int claim_attach(struct workload *vm, const struct workload_spec *spec, struct error *err)
{
    struct claim claim = { 0 };
    int result = make_claim(vm, spec, &claim, err);
    if (result == 0)
        result = send_claim(vm, spec, &claim, err);
    if (result == 0)
        result = link_wait_for(vm, VM_SPEAKING, ATTACH_TIMEOUT, err);
    claim.shares.first = vm->first_share;
    if (result == 0)
        result = boot_keep_config(vm, spec, &claim.shares, err);
    claim_free(&claim);
    return result < 0 ? -1 : link_wait_for(vm, VM_READY, READY_TIMEOUT, err);
}

/* --- what the keeper says ------------------------------------------------------------------------
 */

static bool is_attached(struct workload *vm, const struct pod_message *message, const int *fds,
                        size_t fd_count)
{
    if (message->type != POD_ATTACHED || fd_count < 2 || fd_count > 3 || vm->wire_fd >= 0 ||
        vm->stage != VM_SPAWNED)
        return false;
    vm->wire_fd = fds[0];
    vm->machine.control_fd = fds[1];
    if (fd_count > 2)
        vm->machine.threads_fd = fds[2];
    vm->machine.kept_before = machine_kept_waiting(&vm->machine);
    vm->reader = (struct wire_reader){ .fd = vm->wire_fd };
    vm->first_share = message->first;
    vm->stage = VM_SPEAKING;
    return true;
}

bool claim_read(struct workload *vm)
{
    struct pod_message message;
    int fds[IO_MAX_FDS];
    size_t fd_count = 0;
    if (vm->keeper_fd < 0 || !io_is_ready(vm->keeper_fd, POLLIN))
        return false;
    if (pod_receive(vm->keeper_fd, &message, fds, &fd_count) <= 0) {
        cleanup_close(&vm->keeper_fd);
        vm->keeper_fd = -1;
        return false;
    }
    if (is_attached(vm, &message, fds, fd_count))
        return true;
    for (size_t i = 0; i < fd_count; i++)
        (void)close(fds[i]);
    if (message.type == POD_FAILED || message.type == POD_ENDED) {
        vm->machine.ended = true;
        (void)error_set(&vm->keepers_word, (int)message.status, "%s", message.text);
    }
    return true;
}

/* --- detach --------------------------------------------------------------------------------------
 */

/* Until the other end has closed it. */
static void await_close(int fd, int milliseconds)
{
    int64_t deadline = wire_clock_milliseconds() + milliseconds;
    char dropped[4096];
    for (;;) {
        struct pollfd readable = { .fd = fd, .events = POLLIN };
        int64_t left = deadline - wire_clock_milliseconds();
        if (left <= 0 || (poll(&readable, 1, (int)left) < 0 && errno != EINTR))
            return;
        ssize_t n = recv(fd, dropped, sizeof dropped, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return;
    }
}

/* What sessions were offered that ended with it: hybrid-vmm has room for so many. */
static void close_all(const struct workload *vm)
{
    link_close_streams(vm, vm->ports);
    for (size_t i = 0; i < WIRE_MAX_PROCESSES; i++)
        if (vm->sessions[i].used && !vm->sessions[i].ended)
            link_close_streams(vm, vm->sessions[i].ports);
}

void claim_detach(struct workload *vm)
{
    struct error ignored;
    close_all(vm);
    bool lost = vm->exit.failed || vm->machine.ended;
    if (!lost && vm->stage >= VM_READY && vm->wire_fd >= 0 &&
        link_send(vm, WIRE_SHUTDOWN, WIRE_MAIN_PROCESS, NULL, 0, NULL, 0, &ignored) == 0)
        await_close(vm->wire_fd, END_TIMEOUT);
    wire_next(&vm->reader);
    cleanup_close(&vm->wire_fd);
    vm->wire_fd = -1;
    /* Whoever had the container deleted may unmount its files at once: then nobody holds them. */
    if (vm->keeper_fd >= 0 && shutdown(vm->keeper_fd, SHUT_WR) == 0)
        await_close(vm->keeper_fd, DETACH_TIMEOUT);
}

#include "vmm/control.h"

#include "io.h"

#include <fcntl.h>
#include <stdio.h>

/* Messages of one turn: a peer that floods us must not keep the loop from its other work. */
enum { CONTROL_BATCH = 256 };

void control_send(const struct control *control, const struct machine_message *message,
                  const char *text)
{
    char packet[MACHINE_MAX_MESSAGE];
    size_t length = strnlen(text, sizeof packet - sizeof *message);
    if (control->fd < 0) {
        if (*text)
            (void)fprintf(stderr, "hybrid-vmm: %s\n", text);
        return;
    }
    memcpy(packet, message, sizeof *message);
    memcpy(packet + sizeof *message, text, length);
    /* A peer that is gone is seen as end of file. */
    (void)io_send_fds(control->fd, packet, sizeof *message + length, NULL, 0);
}

static void control_answer(const struct control *control, uint32_t type, uint32_t port,
                           const char *text)
{
    struct machine_message answer = { .type = type, .port = port };
    control_send(control, &answer, text);
}

/* The peer is gone or does not speak the protocol: the machine has no owner any more. */
static void control_lost(struct control *control, const char *why)
{
    struct vcpu_end end = { .kind = MACHINE_END_MONITOR };
    (void)snprintf(end.text, sizeof end.text, "%s", why);
    loop_remove(control->loop, &control->source);
    (void)close(control->fd);
    control->fd = -1;
    control->vsock->look_for_offers = NULL;
    crew_end(control->crew, &end);
}

/* Which descriptor serves which direction. Returns NULL, or what is wrong with the message. */
static const char *control_sort_fds(const struct machine_message *message, int *fds,
                                    size_t fd_count, int *input_fd, int *output_fd)
{
    const uint32_t both = MACHINE_OFFER_NO_INPUT | MACHINE_OFFER_NO_OUTPUT;
    *input_fd = *output_fd = -1;
    if (message->flags & ~both || message->flags == both)
        return "unknown flags";
    if (fd_count != (message->flags || fd_count != 2 ? 1U : 2U))
        return "wrong number of descriptors";
    if (message->flags != MACHINE_OFFER_NO_INPUT)
        *input_fd = fds[0];
    if (message->flags == MACHINE_OFFER_NO_INPUT)
        *output_fd = fds[0];
    else if (fd_count == 2)
        *output_fd = fds[1];
    if (message->flags == 0 && fd_count == 1) {
        /* One socket for both: two descriptors of it can be watched and closed apart. */
        *output_fd = fcntl(fds[0], F_DUPFD_CLOEXEC, 3);
        if (*output_fd < 0)
            return "too many open descriptors";
    }
    return NULL;
}

/* Takes over the descriptors. */
static void control_offer(struct control *control, const struct machine_message *message, int *fds,
                          size_t fd_count)
{
    struct error err;
    int input_fd, output_fd;
    const char *wrong = control_sort_fds(message, fds, fd_count, &input_fd, &output_fd);
    if (!wrong) {
        if (vsock_offer(control->vsock, message->port, input_fd, output_fd, &err) < 0)
            control_answer(control, MACHINE_FAILED, message->port, err.message);
        return;
    }
    for (size_t i = 0; i < fd_count; i++)
        (void)close(fds[i]);
    control_answer(control, MACHINE_FAILED, message->port, wrong);
}

/* Withdraws or closes an offer. */
static void control_end_offer(struct control *control, const struct machine_message *message)
{
    int (*end)(struct vsock *, uint32_t) =
        message->type == MACHINE_CLOSE ? vsock_close : vsock_withdraw;
    if (end(control->vsock, message->port) < 0)
        control_answer(control, MACHINE_FAILED, message->port, "no such offer is open");
    else
        control_answer(control, MACHINE_DONE, message->port, "");
}

/* Returns 0, or -1 if there is no such request. */
static int control_obey(struct control *control, const struct machine_message *message)
{
    switch (message->type) {
    case MACHINE_WITHDRAW:
    case MACHINE_CLOSE:
        control_end_offer(control, message);
        return 0;
    case MACHINE_PAUSE:
        crew_pause(control->crew);
        break;
    case MACHINE_RESUME:
        crew_run(control->crew);
        break;
    case MACHINE_STALLED:
        crew_give_up(control->crew);
        return 0; /* the answer is how the machine ended */
    default:
        return -1;
    }
    control_answer(control, MACHINE_DONE, 0, "");
    return 0;
}

/* Whether the message that is next concerns an offer. */
static bool control_next_is_offer(const struct control *control)
{
    struct machine_message message = { 0 };
    struct iovec part = { .iov_base = &message, .iov_len = sizeof message };
    struct msghdr peek = { .msg_iov = &part, .msg_iovlen = 1 }; /* leaves the descriptors there */
    return recvmsg(control->fd, &peek, MSG_PEEK | MSG_DONTWAIT) == (ssize_t)sizeof message &&
           (message.type == MACHINE_OFFER || message.type == MACHINE_WITHDRAW ||
            message.type == MACHINE_CLOSE);
}

/* Returns whether a message was there. */
static bool control_receive(struct control *control)
{
    struct machine_message message;
    int fds[IO_MAX_FDS];
    size_t fd_count;
    if (control->fd < 0 || !io_is_ready(control->fd, POLLIN))
        return false;
    ssize_t n = io_receive_fds(control->fd, &message, sizeof message, fds, &fd_count);
    if (n != (ssize_t)sizeof message) {
        for (size_t i = 0; n > 0 && i < fd_count; i++)
            (void)close(fds[i]);
        control_lost(control, n == 0 ? "hybrid is gone" : "hybrid sent a malformed message");
        return false;
    }
    if (message.type == MACHINE_OFFER) {
        control_offer(control, &message, fds, fd_count);
        return true;
    }
    for (size_t i = 0; i < fd_count; i++)
        (void)close(fds[i]);
    if (control_obey(control, &message) < 0) {
        control_lost(control, "hybrid sent an unknown request");
        return false;
    }
    return true;
}

void control_drain(struct control *control, bool offers_only)
{
    for (int i = 0; i < CONTROL_BATCH; i++) {
        if (control->fd < 0 || (offers_only && !control_next_is_offer(control)) ||
            !control_receive(control))
            break;
    }
}

static void control_ready(void *context, uint32_t events)
{
    (void)events;
    control_drain(context, false);
}

int control_open(struct control *control, struct error *err)
{
    if (control->fd < 0)
        return 0;
    control->source =
        (struct loop_source){ .fd = control->fd, .ready = control_ready, .context = control };
    if (loop_add(control->loop, &control->source, EPOLLIN) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot watch the control socket");
    return 0;
}

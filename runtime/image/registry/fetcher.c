#include "runtime/image/registry/fetcher.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/image/helper/confine.h"
#include "runtime/image/helper/privileges.h"
#include "runtime/image/registry/transfer.h"

/* --- the process that has the network --------------------------------------------------------- */

struct service {
    struct http_client client;
    struct remote *remote;
    struct transfer *transfers[FETCHER_PARALLEL]; /* NULL: free */
};

/* A peer that is gone has no use for reports; the loop will see it. */
static void send_report(const struct transfer *transfer, bool finished, const struct error *error)
{
    const struct service *service = transfer->context;
    struct fetch_report report = { .id = transfer->request.id,
                                   .finished = finished,
                                   .bytes = transfer->received,
                                   .error = *error };
    const char *type = NULL;
    if (finished && error->exit_code == 0) {
        (void)curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_TYPE, &type);
        memcpy(report.hex, transfer->request.hex, sizeof report.hex);
        (void)snprintf(report.media_type, sizeof report.media_type, "%.*s",
                       type ? (int)strcspn(type, "; ") : 0, type ? type : "");
        (void)snprintf(report.host, sizeof report.host, "%s",
                       transfer->remote->endpoints[transfer->endpoint].host);
    }
    (void)io_send_fds(service->client.owner, &report, sizeof report, NULL, 0);
}

static void report_progress(const struct transfer *transfer)
{
    static const struct error none;
    send_report(transfer, false, &none);
}

static void end_transfer(struct transfer *transfer, bool succeeded)
{
    static const struct error none;
    struct service *service = transfer->context;
    send_report(transfer, true, succeeded ? &none : &transfer->reason);
    for (size_t i = 0; i < FETCHER_PARALLEL; i++)
        if (service->transfers[i] == transfer)
            service->transfers[i] = NULL;
    transfer_free(transfer);
}

static void perform(struct service *service, struct transfer *transfer)
{
    if (curl_multi_add_handle(service->client.multi, transfer->easy) == CURLM_OK) {
        transfer->due = INT64_MAX;
        return;
    }
    (void)error_set(&transfer->reason, EXIT_OURS, "libcurl refuses another transfer");
    end_transfer(transfer, false);
}

/* fd becomes the transfer's. */
static void accept_request(struct service *service, const struct fetch_request *request, int fd)
{
    size_t slot = 0;
    while (slot < FETCHER_PARALLEL && service->transfers[slot])
        slot++;
    struct transfer *transfer = slot < FETCHER_PARALLEL ? calloc(1, sizeof *transfer) : NULL;
    if (!transfer)
        _exit(EXIT_OURS); /* the asker sees the end; nothing else can be told without memory */
    *transfer = (struct transfer){
        .request = *request,
        .remote = service->remote,
        .client = &service->client,
        .fd = fd,
        .report = report_progress,
        .context = service,
    };
    service->transfers[slot] = transfer;
    if (transfer_begin(transfer) < 0)
        end_transfer(transfer, false);
    else
        perform(service, transfer);
}

/* Returns false when the asker is gone. */
static bool take_request(struct service *service)
{
    struct fetch_request request;
    int fds[IO_MAX_FDS];
    size_t count;
    ssize_t length = io_receive_fds(service->client.owner, &request, sizeof request, fds, &count);
    if (length != (ssize_t)sizeof request || count != 1)
        return false;
    accept_request(service, &request, fds[0]);
    return true;
}

static void settle(struct transfer *transfer, CURLcode code)
{
    switch (transfer_judge(transfer, code)) {
    case TRANSFER_DONE:
        end_transfer(transfer, true);
        break;
    case TRANSFER_FAILED:
        end_transfer(transfer, false);
        break;
    case TRANSFER_AGAIN:
        if (transfer->reason.exit_code != 0) { /* told, not yet an error */
            transfer->reason.exit_code = 0;
            send_report(transfer, false, &transfer->reason);
        }
        break;
    }
}

static void settle_completed(struct service *service)
{
    int left;
    for (CURLMsg *message; (message = curl_multi_info_read(service->client.multi, &left));) {
        struct transfer *transfer;
        CURLcode code = message->data.result;
        CURL *easy = message->easy_handle;
        (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
        (void)curl_multi_remove_handle(service->client.multi, easy);
        settle(transfer, code);
    }
}

/* Repeats what is due. Returns the milliseconds until something else is. */
static int repeat_due(struct service *service)
{
    enum { LONGEST = 10000 };
    int64_t soonest = LONGEST;
    int64_t now = transfer_now();
    for (size_t i = 0; i < FETCHER_PARALLEL; i++) {
        struct transfer *transfer = service->transfers[i];
        if (!transfer || transfer->due == INT64_MAX)
            continue;
        if (transfer->due > now) {
            soonest = transfer->due - now < soonest ? transfer->due - now : soonest;
            continue;
        }
        soonest = 0;
        if (transfer_repeat(transfer) < 0)
            end_transfer(transfer, false);
        else
            perform(service, transfer);
    }
    return (int)soonest;
}

static void serve(struct service *service)
{
    struct curl_waitfd owner = { .fd = service->client.owner, .events = CURL_WAIT_POLLIN };
    for (;;) {
        int running;
        owner.revents = 0;
        if (curl_multi_perform(service->client.multi, &running) != CURLM_OK)
            return;
        settle_completed(service);
        int timeout = repeat_due(service);
        if (curl_multi_poll(service->client.multi, &owner, 1, timeout, NULL) != CURLM_OK)
            return;
        if (owner.revents && !take_request(service))
            return;
    }
}

__attribute__((noreturn)) static void run(struct remote *remote, int owner, pid_t parent)
{
    struct error err = { 0 };
    struct service service = { .client = { .owner = owner, .stall_seconds = remote->stall_seconds },
                               .remote = remote };
    /* A signal to the whole foreground group is answered by the session's supervisor. */
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGPIPE, SIG_IGN);
    if (privileges_drop(&err) < 0 || confine_enter(CONFINE_NETWORK, NULL, 0, &err) < 0) {
        (void)fprintf(stderr, "hybrid: %s\n", err.message);
        _exit(EXIT_OURS);
    }
    staging_die_with(parent); /* after the change of user, which undoes it */
    if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
        service.client.multi = curl_multi_init();
    if (service.client.multi)
        serve(&service);
    _exit(service.client.multi ? 0 : EXIT_OURS);
}

/* --- for the process that has none ------------------------------------------------------------ */

int fetcher_start(struct remote *remote, struct fetcher *fetcher, struct error *err)
{
    int ends[2];
    const pid_t self = getpid();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pair of sockets");
    fetcher->parallel = (size_t)remote->parallel;
    fetcher->pid = fork();
    if (fetcher->pid == 0) {
        (void)close(ends[0]);
        run(remote, ends[1], self);
    }
    (void)close(ends[1]);
    fetcher->socket = ends[0];
    if (fetcher->pid > 0)
        return 0;
    (void)close(ends[0]);
    return error_set_errno(err, EXIT_OURS, errno, "cannot fork");
}

static int report_end(struct error *err)
{
    return error_set(err, EXIT_OURS, "the process that fetches was killed");
}

int fetcher_request(const struct fetcher *fetcher, const struct fetch_request *request, int fd,
                    struct error *err)
{
    return io_send_fds(fetcher->socket, request, sizeof *request, &fd, 1) < 0 ? report_end(err) : 0;
}

/* Ends the text where its array does, and leaves nothing in it that a terminal would obey. */
static void tame(char *text, size_t size)
{
    text[size - 1] = '\0';
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = '?';
}

/* That process reads what strangers write, so that what it reports is checked as theirs would be.
 */
int fetcher_receive(const struct fetcher *fetcher, struct fetch_report *report, struct error *err)
{
    int fds[IO_MAX_FDS];
    size_t count;
    ssize_t length = io_receive_fds(fetcher->socket, report, sizeof *report, fds, &count);
    for (size_t i = 0; length >= 0 && i < count; i++)
        (void)close(fds[i]);
    if (length != (ssize_t)sizeof *report)
        return report_end(err);
    tame(report->hex, sizeof report->hex);
    tame(report->media_type, sizeof report->media_type);
    tame(report->host, sizeof report->host);
    tame(report->error.message, sizeof report->error.message);
    if (report->bytes < 0)
        return error_set(err, EXIT_OURS, "the process that fetches reports nonsense");
    return 0;
}

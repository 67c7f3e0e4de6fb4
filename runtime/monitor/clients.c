/* The control socket: who is connected, and what they ask for. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "monitor_parts.h"
#include "runtime/plan/compose.h"

enum { MAX_PROCESS_TEXT = 1024 * 1024 };

struct control_message monitor_exited_message(const struct workload_exit *exit)
{
    struct control_message message = { .type = CONTROL_EXITED, .value = exit->status };
    if (exit->oom)
        message.flags |= CONTROL_OOM;
    if (exit->failed) {
        message.flags |= CONTROL_BROKEN;
        (void)snprintf(message.text, sizeof message.text, "%s", exit->error.message);
    }
    return message;
}

void monitor_accept(struct monitor *monitor)
{
    int fd = control_accept(monitor->listener);
    if (fd < 0)
        return;
    for (size_t i = 0; i < MONITOR_MAX_CLIENTS; i++) {
        if (monitor->clients[i].fd >= 0)
            continue;
        monitor->clients[i] = (struct monitor_client){ .fd = fd };
        return;
    }
    (void)close(fd); /* too many: the peer sees the end and says so */
}

static void free_session(struct monitor *monitor, struct session *session)
{
    for (struct session **at = &monitor->sessions; *at; at = &(*at)->next) {
        if (*at != session)
            continue;
        *at = session->next;
        break;
    }
    session_close(session);
    free(session);
}

void monitor_drop_client(struct monitor *monitor, struct monitor_client *client)
{
    struct error ignored;
    struct session *session = client->session;
    (void)close(client->fd);
    *client = (struct monitor_client){ .fd = -1 };
    if (!session)
        return;
    /* `hybrid exec` was killed: its command goes with it; exec_ended finds nobody to tell. */
    if (!session->ended && !monitor->main.ended)
        (void)monitor->request->ops->exec_signal(monitor->workload, session->number, SIGKILL,
                                                 &ignored);
    session_restore_terminal(session);
    free_session(monitor, session);
}

static void reply(struct monitor *monitor, struct monitor_client *client,
                  const struct control_message *message)
{
    if (control_send(client->fd, message, NULL, 0) < 0)
        monitor_drop_client(monitor, client);
}

static void reply_result(struct monitor *monitor, struct monitor_client *client, int result,
                         const struct error *err)
{
    struct control_message message = { .type = result < 0 ? CONTROL_FAILED : CONTROL_DONE };
    if (result < 0) {
        message.value = err->exit_code;
        (void)snprintf(message.text, sizeof message.text, "%s", err->message);
    }
    reply(monitor, client, &message);
}

/* The process object arrives as a file: it may be longer than a message can be. */
static char *read_process_text(int fd, struct error *err)
{
    struct stat status;
    if (fstat(fd, &status) < 0 || status.st_size > MAX_PROCESS_TEXT) {
        (void)error_set(err, EXIT_OURS, "the command and its environment are longer than %d bytes",
                        MAX_PROCESS_TEXT);
        return NULL;
    }
    char *text = malloc((size_t)status.st_size + 1);
    ssize_t length = text ? pread(fd, text, (size_t)status.st_size, 0) : -1;
    if (length != status.st_size) {
        (void)error_set(err, EXIT_OURS, "cannot read the command to execute");
        free(text);
        return NULL;
    }
    text[length] = '\0';
    return text;
}

static size_t count_sessions(const struct monitor *monitor)
{
    size_t count = 0;
    for (const struct session *session = monitor->sessions; session; session = session->next)
        count++;
    return count;
}

/* Starts the process and joins its streams. */
static int start_exec(struct monitor *monitor, struct session *session,
                      const struct control_message *message, const int *fds,
                      const char *process_text, const struct plan *plan, struct error *err)
{
    struct session_caller caller = {
        .fds = { fds[0], fds[1], fds[2] },
        .interactive = message->flags & CONTROL_INPUT,
        .terminal = plan->terminal,
        .modes = message->flags & CONTROL_RAW ? &message->modes : NULL,
        .standard_is_null = true,
    };
    struct workload_exec exec = {
        .number = session->number,
        .process_text = process_text,
        .plan = plan,
        .rows = message->rows,
        .columns = message->columns,
    };
    int terminal_fd = -1;
    if (session_open(session, &caller, exec.stdio, err) < 0 ||
        monitor->request->ops->exec(monitor->workload, &exec, &terminal_fd, err) < 0)
        return -1;
    return terminal_fd < 0 ? 0 : session_join_terminal(session, &caller, terminal_fd, err);
}

/* Refuses an exec that cannot be at this moment. Returns 0, or -1 with *err. */
static int check_exec(const struct monitor *monitor, const struct monitor_client *client,
                      struct error *err)
{
    if (!monitor->request->ops->exec)
        return error_set(err, EXIT_OURS, "this workload is not entered through its monitor");
    if (monitor->main.ended)
        return error_set(err, EXIT_OURS, "the workload has just ended");
    if (!monitor->started)
        return error_set(err, EXIT_OURS, "the workload is still being started; try again");
    if (monitor->frozen)
        return error_set(err, EXIT_OURS, "it is paused; resume it first");
    if (client->session || count_sessions(monitor) > MONITOR_MAX_SESSIONS)
        return error_set(err, EXIT_OURS, "more than %d exec sessions at once",
                         MONITOR_MAX_SESSIONS);
    return 0;
}

/* The plan of a process object, under the workload's filter. plan_free is safe either way. */
static int read_exec(const char *text, const struct plan *base, struct plan *plan,
                     struct error *err)
{
    json_error_t where;
    *plan = (struct plan){ 0 };
    json_t *process = json_loads(text, JSON_REJECT_DUPLICATES, &where);
    if (!process)
        return error_set(err, EXIT_OURS, "process object: %s", where.text);
    if (plan_parse_process(process, base, PLAN_PARSE_OWN, plan, err) < 0)
        return -1;
    plan->filter = base->filter;
    plan->filter_length = base->filter_length;
    plan->filter_flags = base->filter_flags;
    return 0;
}

static int open_exec(struct monitor *monitor, struct monitor_client *client,
                     const struct control_message *message, const int *fds, struct error *err)
{
    if (check_exec(monitor, client, err) < 0)
        return -1;
    struct plan plan;
    _cleanup_free_ char *text = read_process_text(fds[CONTROL_EXEC_FDS - 1], err);
    if (!text)
        return -1;
    int result = read_exec(text, monitor->request->spec.plan, &plan, err);
    struct session *session = result < 0 ? NULL : calloc(1, sizeof *session);
    if (session) {
        session->number = monitor->next_number++;
        result = start_exec(monitor, session, message, fds, text, &plan, err);
    } else if (result == 0) {
        (void)error_set(err, EXIT_OURS, "out of memory");
    }
    plan_free(&plan);
    if (session && result < 0)
        session_close(session);
    if (!session || result < 0) {
        free(session);
        return -1;
    }
    session->next = monitor->main.next;
    monitor->main.next = session;
    client->session = session;
    return 0;
}

/* What could not be started has ended. Its VM holds the streams, and may never let go of them. */
static void end_held(struct monitor *monitor, int status)
{
    struct monitor_request *request = monitor->request;
    for (int i = 0; i < SESSION_STREAMS; i++) {
        cleanup_close(&request->spec.stdio[i]); /* unless they were handed over */
        request->spec.stdio[i] = -1;
    }
    request->ops->destroy(monitor->workload);
    monitor->workload = NULL;
    monitor->main.ended = true;
    monitor->main.exit = (struct workload_exit){ .status = status };
}

/* Executes the command of a workload that was only created. If it cannot be, that was its end. */
static int start_held(struct monitor *monitor, const struct monitor_client *client,
                      struct error *err)
{
    if (!monitor->request->hold || monitor->main.ended)
        return error_set(err, EXIT_OURS, "it has been started already");
    if (monitor->starter)
        return error_set(err, EXIT_OURS, "its start is under way already; try again");
    /* Who had it started may have been killed before that was recorded. */
    if (monitor->started)
        return 0;
    if (!monitor->workload)
        return error_set(err, EXIT_OURS, "it is still being created; try again");
    monitor->starter = client;
    int result = monitor_launch(monitor, err);
    monitor->starter = NULL;
    if (result < 0 && !monitor->abandoned)
        end_held(monitor, err->exit_code);
    return result;
}

static int send_signal(struct monitor *monitor, const struct session *session, int signal, bool all,
                       struct error *err)
{
    const struct workload_ops *ops = monitor->request->ops;
    if (monitor->main.ended) {
        if (session == &monitor->main && signal == SIGKILL) /* not even its output is awaited */
            monitor_hurry(monitor);
        return error_set(err, EXIT_OURS, "the workload has just ended");
    }
    if (monitor->request->hold && !monitor->started) {
        /* As the first process of a container, which handles no signal before its command. */
        monitor->abandoned |= signal == SIGKILL;
        return 0;
    }
    if (!monitor->started)
        return monitor_hold_signal(monitor, signal, err);
    if (session == &monitor->main) {
        int result = ops->signal(monitor->workload, signal, all, err);
        if (signal == SIGKILL && result == 0 && monitor->frozen)
            return monitor_freeze(monitor, false, err);
        return result;
    }
    return ops->exec_signal(monitor->workload, session->number, signal, err);
}

static int update(struct monitor *monitor, const char *resources, struct error *err)
{
    const struct workload_ops *ops = monitor->request->ops;
    if (!monitor->started || monitor->main.ended)
        return error_set(err, EXIT_OURS, "container not running");
    return ops->update ? ops->update(monitor->workload, resources, err)
                       : error_set(err, EXIT_OURS, "its limits are not changed by its monitor");
}

int monitor_handle(struct monitor *monitor, struct session *session,
                   const struct control_message *message, struct error *err)
{
    switch (message->type) {
    case CONTROL_SIGNAL:
        return send_signal(monitor, session, message->value, message->flags & CONTROL_ALL, err);
    case CONTROL_RESIZE:
        if (!monitor->started) {
            monitor->request->spec.rows = message->rows;
            monitor->request->spec.columns = message->columns;
            monitor->resized = true;
            return 0;
        }
        return monitor->main.ended || !session->terminal
                   ? 0
                   : monitor->request->ops->resize(monitor->workload, session->number,
                                                   message->rows, message->columns, err);
    case CONTROL_FREEZE:
    case CONTROL_THAW:
        return monitor_freeze(monitor, message->type == CONTROL_FREEZE, err);
    case CONTROL_UPDATE:
        return update(monitor, message->text, err);
    case CONTROL_PAUSE:
    case CONTROL_RESUME:
        session_pause(session, message->type == CONTROL_PAUSE);
        return 0;
    case CONTROL_CLOSE_INPUT:
        session_close_input(session);
        return 0;
    case CONTROL_ABANDON:
        if (session == &monitor->main)
            monitor->abandoned = true;
        else
            (void)send_signal(monitor, session, SIGKILL, false, err);
        return 0;
    default:
        return error_set(err, EXIT_OURS, "unknown message %u", message->type);
    }
}

void monitor_serve_client(struct monitor *monitor, struct monitor_client *client)
{
    struct control_message message;
    int fds[IO_MAX_FDS];
    size_t fd_count = 0;
    struct error err = { 0 };
    int received = control_receive(client->fd, &message, fds, &fd_count);
    if (received < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (received <= 0) {
        monitor_drop_client(monitor, client);
        return;
    }
    if (message.type == CONTROL_WAIT) {
        client->waits = true;
    } else if (message.type == CONTROL_EXEC) {
        int result = fd_count == CONTROL_EXEC_FDS
                         ? open_exec(monitor, client, &message, fds, &err)
                         : error_set(&err, EXIT_OURS, "EXEC without its descriptors");
        if (result < 0)
            reply_result(monitor, client, result, &err);
    } else if (message.type == CONTROL_START) {
        reply_result(monitor, client, start_held(monitor, client, &err), &err);
    } else if (client->session) {
        (void)monitor_handle(monitor, client->session, &message, &err);
    } else {
        reply_result(monitor, client, monitor_handle(monitor, &monitor->main, &message, &err),
                     &err);
    }
    for (size_t i = 0; i < fd_count; i++)
        (void)close(fds[i]);
}

void monitor_announce_sessions(struct monitor *monitor)
{
    for (size_t i = 0; i < MONITOR_MAX_CLIENTS; i++) {
        struct monitor_client *client = &monitor->clients[i];
        if (client->fd < 0 || !client->session || client->told ||
            !monitor->request->ops->exec_started(monitor->workload, client->session->number))
            continue;
        client->told = true;
        (void)control_send_simple(client->fd, CONTROL_STARTED, 0);
    }
}

void monitor_finish_sessions(struct monitor *monitor)
{
    for (size_t i = 0; i < MONITOR_MAX_CLIENTS; i++) {
        struct monitor_client *client = &monitor->clients[i];
        struct session *session = client->session;
        if (client->fd < 0 || !session)
            continue;
        if (monitor->main.ended && !session->ended) { /* went with the workload */
            session->ended = true;
            session->exit = (struct workload_exit){ .status = EXIT_SIGNAL_BASE + SIGKILL };
        }
        if (!session->ended || !session_is_drained(session))
            continue;
        struct control_message message = monitor_exited_message(&session->exit);
        client->session = NULL;
        client->told = false;
        free_session(monitor, session);
        reply(monitor, client, &message);
    }
}

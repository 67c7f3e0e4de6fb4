/* <data>/audit.jsonl: one line of JSON a decision, in one file and an older one. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "policy.h"

/*
 * Opens the file and locks it: the one that has the name once the lock is had, since another
 * process may have moved it away meanwhile.
 */
static int open_locked(const char *path)
{
    for (;;) {
        struct stat ours, named;
        _cleanup_close_ int fd =
            open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0 || flock(fd, LOCK_EX) < 0 || fstat(fd, &ours) < 0)
            return -1;
        if (stat(path, &named) == 0 && named.st_ino == ours.st_ino && named.st_dev == ours.st_dev)
            return take_fd(&fd);
    }
}

static int append(const char *path, const char *line, size_t length)
{
    struct stat status;
    _cleanup_free_ char *older = NULL;
    _cleanup_close_ int fd = open_locked(path);
    if (fd < 0 || fstat(fd, &status) < 0)
        return -1;
    if (status.st_size > 0 && status.st_size + (off_t)length > POLICY_AUDIT_BYTES) {
        if (asprintf(&older, "%s.1", path) < 0) {
            errno = ENOMEM;
            return -1;
        }
        if (rename(path, older) < 0)
            return -1;
        int next = open_locked(path);
        if (next < 0)
            return -1;
        cleanup_close(&fd);
        fd = next;
    }
    return io_write_all(fd, line, length);
}

static json_t *make_entry(const char *id, const struct policy_identity *identity,
                          const struct policy_decision *decision)
{
    char when[32];
    struct tm broken_down;
    time_t now = time(NULL);
    (void)gmtime_r(&now, &broken_down);
    (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &broken_down);
    /* A cgroup's name may be no UTF-8. */
    json_t *cgroup = identity->cgroup ? json_string(identity->cgroup) : NULL;
    json_t *entry = json_pack("{s:s, s:s?, s:s?, s:s?, s:I, s:o?, s:i}", "time", when, "id", id,
                              "image", identity->reference, "digest", identity->digest, "uid",
                              (json_int_t)identity->uid, "cgroup", cgroup, "pid", (int)getpid());
    json_t *decided = policy_decision_to_json(decision);
    if (entry && decided && json_object_update(entry, decided) == 0) {
        json_decref(decided);
        return entry;
    }
    json_decref(entry);
    json_decref(decided);
    return NULL;
}

int policy_audit(const char *data, const char *id, const struct policy_identity *identity,
                 const struct policy_decision *decision, struct error *err)
{
    if (!decision->policy)
        return 0;
    _cleanup_free_ char *path = NULL;
    if (asprintf(&path, "%s/audit.jsonl", data) < 0)
        path = NULL;
    json_t *entry = make_entry(id, identity, decision);
    _cleanup_free_ char *text = entry ? json_dumps(entry, JSON_COMPACT) : NULL;
    json_decref(entry);
    _cleanup_free_ char *line = NULL;
    int length = text && path ? asprintf(&line, "%s\n", text) : -1;
    if (length < 0)
        return error_set(err, EXIT_OURS, "cannot record the policy's decision: out of memory");
    /* Where engines bring the images, nothing else has made it yet. */
    if ((mkdir(data, 0755) < 0 && errno != EEXIST) || append(path, line, (size_t)length) < 0)
        return error_set_errno(err, EXIT_OURS, errno,
                               "cannot record the policy's decision in %s, so nothing is run",
                               path);
    return 0;
}

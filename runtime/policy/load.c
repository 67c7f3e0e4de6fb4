/* The policy's file and the caller: what the policy must be told by the host. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "parts.h"

enum { MAX_POLICY = 1 << 20 };

#define WRITABLE_BY_OTHERS (S_IWGRP | S_IWOTH)

/* Whoever can write the file, or put another one in its place, decides what runs. */
static int check_owner(int fd, const char *what, const char *path, mode_t type, struct error *err)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot examine %s %s", what, path);
    if ((status.st_mode & S_IFMT) != type)
        return error_set(err, EXIT_OURS, "%s %s is not a regular file", what, path);
    if (status.st_uid != 0)
        return error_set(err, EXIT_OURS,
                         "%s %s is owned by user %u, not by root: nothing is run by it; "
                         "chown root it, if its content is what you want",
                         what, path, (unsigned int)status.st_uid);
    bool sticky = type == S_IFDIR && (status.st_mode & S_ISVTX);
    if ((status.st_mode & WRITABLE_BY_OTHERS) && !sticky)
        return error_set(err, EXIT_OURS,
                         "%s %s can be written by others than root: nothing is run by it; "
                         "chmod go-w it, if its content is what you want",
                         what, path);
    return 0;
}

int policy_open_file(const char *path, const char *what, struct error *err)
{
    char file[32], parent_of[48];
    (void)snprintf(file, sizeof file, "the %s", what);
    (void)snprintf(parent_of, sizeof parent_of, "the directory of the %s", what);
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *directory =
        slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    if (!directory)
        return error_set(err, EXIT_OURS, "out of memory");
    _cleanup_close_ int parent = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_close_ int fd = -1;
    if (parent >= 0) /* O_NONBLOCK: a pipe in its place is refused, not waited for */
        fd = openat(parent, slash ? slash + 1 : path,
                    O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return POLICY_NO_FILE;
    if (fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open the %s %s%s", what, path,
                               errno == ELOOP ? " (a symbolic link is not followed: copy the file)"
                                              : "");
    if (check_owner(parent, parent_of, directory, S_IFDIR, err) < 0 ||
        check_owner(fd, file, path, S_IFREG, err) < 0)
        return -1;
    return take_fd(&fd);
}

static int parse(int fd, const char *path, struct policy **policy, struct error *err)
{
    _cleanup_free_ char *text = malloc(MAX_POLICY + 1);
    if (!text)
        return error_set(err, EXIT_OURS, "out of memory");
    ssize_t length = io_read_all(fd, text, MAX_POLICY + 1);
    if (length < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read the policy %s", path);
    if (length > MAX_POLICY)
        return error_set(err, EXIT_OURS, "the policy %s is longer than %d bytes", path, MAX_POLICY);
    json_error_t where;
    json_t *document = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &where);
    if (!document)
        return error_set(err, EXIT_OURS, "the policy %s is not valid JSON: line %d: %s", path,
                         where.line, where.text);
    *policy = policy_parse(document, path, err);
    json_decref(document);
    return *policy ? 0 : -1;
}

int policy_load(const char *path, struct policy **policy, struct error *err)
{
    *policy = NULL;
    const char *name = path ? path : POLICY_DEFAULT_FILE;
    _cleanup_close_ int fd = policy_open_file(name, "policy", err);
    if (fd == POLICY_NO_FILE && !path)
        return 0;
    if (fd == POLICY_NO_FILE)
        return error_set_errno(err, EXIT_OURS, ENOENT, "cannot open the policy %s", name);
    return fd < 0 ? -1 : parse(fd, name, policy, err);
}

/* --- the caller ----------------------------------------------------------------------------------
 */

static ssize_t read_text(const char *path, char *text, size_t size)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : io_read_all(fd, text, size - 1);
    text[length < 0 ? 0 : length] = '\0';
    return length;
}

void policy_caller_read(struct policy_caller *caller)
{
    char text[16 * 1024];
    caller->uid = getuid();
    /* Set at login and kept by the kernel, also through sudo; 2^32-1 where nobody logged in. */
    if (read_text("/proc/self/loginuid", text, sizeof text) > 0) {
        unsigned long login = strtoul(text, NULL, 10);
        if (login < UINT32_MAX)
            caller->uid = (uid_t)login;
    }
    caller->cgroup[0] = '\0';
    if (read_text("/proc/self/cgroup", text, sizeof text) > 0)
        policy_cgroup_parse(text, caller->cgroup, sizeof caller->cgroup);
}

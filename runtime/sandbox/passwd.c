#include "passwd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "cleanup.h"
#include "io.h"
#include "path.h"

enum { DATABASE_LIMIT = 4 * 1024 * 1024, PASSWD_FIELDS = 7, GROUP_FIELDS = 4 };

int id_parse(const char *text, uint32_t *id)
{
    uint64_t value = 0;
    if (*text == '\0')
        return -1;
    for (const char *at = text; *at; at++) {
        if (*at < '0' || *at > '9')
            return -1;
        value = value * 10 + (uint64_t)(*at - '0');
        if (value >= UINT32_MAX) /* the last value means "no id" to the kernel */
            return -1;
    }
    *id = (uint32_t)value;
    return 0;
}

/* Returns the file's text, NULL without an error if the image has none, or NULL with *err. */
static char *read_database(int root_fd, const char *path, struct error *err)
{
    _cleanup_close_ int fd = path_open(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return NULL;
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0) {
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot read the image's %s", path);
        return NULL;
    }
    /* What somebody has hidden the file by: it reads as an empty one. */
    if (S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3))
        return NULL;
    if (!S_ISREG(status.st_mode) || status.st_size > DATABASE_LIMIT) {
        (void)error_set(err, EXIT_OURS, "refusing to read the image's %s: %s", path,
                        S_ISREG(status.st_mode) ? "it is larger than 4 MiB"
                                                : "it is not a regular file");
        return NULL;
    }
    char *text = calloc(1, (size_t)status.st_size + 1);
    if (!text || io_read_all(fd, text, (size_t)status.st_size) < 0) {
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot read the image's %s", path);
        free(text);
        return NULL;
    }
    return text;
}

/* Cuts one line at its colons. Returns the number of fields; more than `max` counts as max + 1. */
static size_t split_fields(char *line, char **fields, size_t max)
{
    size_t count = 0;
    while (line) {
        if (count == max)
            return max + 1;
        fields[count++] = strsep(&line, ":");
    }
    return count;
}

static bool copy_field(char *target, size_t size, const char *field)
{
    return (size_t)snprintf(target, size, "%s", field) < size;
}

int passwd_find(int root_fd, const char *name, uid_t uid, struct passwd_entry *entry,
                struct error *err)
{
    *entry = (struct passwd_entry){ 0 };
    err->exit_code = 0;
    _cleanup_free_ char *text = read_database(root_fd, "/etc/passwd", err);
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        char *fields[PASSWD_FIELDS];
        uint32_t line_uid, line_gid;
        if (split_fields(line, fields, PASSWD_FIELDS) != PASSWD_FIELDS ||
            id_parse(fields[2], &line_uid) < 0 || id_parse(fields[3], &line_gid) < 0)
            continue;
        if (name ? strcmp(fields[0], name) != 0 : line_uid != uid)
            continue;
        entry->uid = line_uid;
        entry->gid = line_gid;
        entry->found = copy_field(entry->name, sizeof entry->name, fields[0]) &&
                       copy_field(entry->home, sizeof entry->home, fields[5]);
        break;
    }
    return err->exit_code == 0 ? 0 : -1;
}

int group_find(int root_fd, const char *name, gid_t *gid, struct error *err)
{
    err->exit_code = 0;
    _cleanup_free_ char *text = read_database(root_fd, "/etc/group", err);
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        char *fields[GROUP_FIELDS];
        if (split_fields(line, fields, GROUP_FIELDS) == GROUP_FIELDS &&
            strcmp(fields[0], name) == 0 && id_parse(fields[2], gid) == 0)
            return 1;
    }
    return err->exit_code == 0 ? 0 : -1;
}

static bool lists_member(char *members, const char *user)
{
    for (char *member; (member = strsep(&members, ","));)
        if (strcmp(member, user) == 0)
            return true;
    return false;
}

static bool contains(const gid_t *groups, size_t count, gid_t gid)
{
    for (size_t i = 0; i < count; i++)
        if (groups[i] == gid)
            return true;
    return false;
}

int group_collect(int root_fd, const char *user, gid_t **groups, size_t *count, struct error *err)
{
    err->exit_code = 0;
    _cleanup_free_ char *text = read_database(root_fd, "/etc/group", err);
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        char *fields[GROUP_FIELDS];
        uint32_t gid;
        if (split_fields(line, fields, GROUP_FIELDS) != GROUP_FIELDS ||
            id_parse(fields[2], &gid) < 0 || !lists_member(fields[3], user) ||
            contains(*groups, *count, gid))
            continue;
        gid_t *grown = reallocarray(*groups, *count + 1, sizeof **groups);
        if (!grown)
            return error_set(err, EXIT_OURS, "out of memory");
        *groups = grown;
        grown[(*count)++] = gid;
    }
    return err->exit_code == 0 ? 0 : -1;
}

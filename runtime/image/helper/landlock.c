#include "runtime/image/helper/landlock.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"

/* linux/landlock.h of the oldest kernel that hybrid is built on lacks what came later. */
enum {
    CREATE_RULESET = 444, /* the same on all architectures */
    ADD_RULE = 445,
    RESTRICT_SELF = 446,
    FLAG_VERSION = 1,
    RULE_PATH_BENEATH = 1,
    OLDEST_VERSION = 2,
};

struct ruleset {
    uint64_t files, network, scoped;
};

struct path_beneath {
    uint64_t allowed;
    int32_t fd;
} __attribute__((packed));

#define BIT(number) (1ULL << (number))
#define EXECUTE     BIT(0)
#define WRITE_FILE  BIT(1)
#define READ_FILE   BIT(2)
#define READ_DIR    BIT(3)
#define CHANGE_TREE (BIT(13) - BIT(4)) /* remove and make whatever, devices too */
#define REFER       BIT(13)            /* rename and link across directories */
#define TRUNCATE    BIT(14)
#define IOCTL_DEV   BIT(15)
#define FILE_RIGHTS (EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV)
#define BOTH        3ULL /* of the two rights there are: bind and connect; sockets and signals */

/* What each version of the interface added. */
static const struct {
    int version;
    struct ruleset handled;
} versions[] = {
    { 1, { .files = BIT(13) - 1 } }, { 2, { .files = REFER } },     { 3, { .files = TRUNCATE } },
    { 4, { .network = BOTH } },      { 5, { .files = IOCTL_DEV } }, { 6, { .scoped = BOTH } },
};

static const uint64_t rights[] = {
    [LANDLOCK_READ] = READ_FILE | READ_DIR,
    [LANDLOCK_EXECUTE] = READ_FILE | READ_DIR | EXECUTE,
    [LANDLOCK_CHANGE] = READ_FILE | READ_DIR | WRITE_FILE | CHANGE_TREE | REFER | TRUNCATE,
};

static struct ruleset handled_by(int version, bool network)
{
    struct ruleset handled = { 0 };
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        if (versions[i].version > version)
            break;
        handled.files |= versions[i].handled.files;
        handled.network |= network ? 0 : versions[i].handled.network;
        handled.scoped |= versions[i].handled.scoped;
    }
    return handled;
}

static int allow(int ruleset_fd, const struct ruleset *handled, const struct landlock_place *place,
                 struct error *err)
{
    struct stat status;
    _cleanup_close_ int opened =
        place->path ? open(place->path, O_PATH | O_CLOEXEC) : fcntl(place->fd, F_DUPFD_CLOEXEC, 0);
    if (opened < 0 && (errno == ENOENT || errno == EACCES)) /* out of reach with or without */
        return 0;
    if (opened < 0 || fstat(opened, &status) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open %s",
                               place->path ? place->path : "a directory of the image store");
    uint64_t allowed = rights[place->access] & handled->files;
    const struct path_beneath rule = { .allowed = S_ISDIR(status.st_mode) ? allowed
                                                                          : allowed & FILE_RIGHTS,
                                       .fd = opened };
    /* EBADFD: a pipe or a socket, which Landlock does not concern itself with. */
    if (syscall(ADD_RULE, ruleset_fd, RULE_PATH_BENEATH, &rule, 0) < 0 && errno != EBADFD)
        return error_set_errno(err, EXIT_OURS, errno, "cannot confine to %s",
                               place->path ? place->path : "the image store");
    return 0;
}

int landlock_enter(const struct landlock_place *places, size_t count, bool network,
                   struct error *err)
{
    long version = syscall(CREATE_RULESET, NULL, 0, FLAG_VERSION);
    if (version < OLDEST_VERSION)
        return 0;
    const struct ruleset handled = handled_by((int)version, network);
    /* A kernel that knows less takes a longer structure if its rest is zero. */
    _cleanup_close_ int fd = (int)syscall(CREATE_RULESET, &handled, sizeof handled, 0);
    if (fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a Landlock ruleset");
    for (size_t i = 0; i < count; i++)
        if (allow(fd, &handled, &places[i], err) < 0)
            return -1;
    if (syscall(RESTRICT_SELF, fd, 0) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot enter a Landlock domain");
    return 0;
}

/* <root>/<id>/: made at once, locked, read, listed, removed. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "state.h"

#define STATE_FILE  "state.json"
#define CONFIG_FILE "config.json"
#define LOCK_FILE   "lock"

enum { STATE_MAX_FILE = 16 * 1024 * 1024, GRACE_SECONDS = 5 };

/* Names in <root> that are no workloads; others begin with a dot, which no id does. */
static const char *const reserved[] = { "layers", "cache" };

static bool is_reserved(const char *name)
{
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (strcmp(reserved[i], name) == 0)
            return true;
    return false;
}

int state_check_id(const char *text, struct error *err)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    static const char others[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    size_t length = strlen(text);
    if (length == 0 || !strchr(first, text[0]) || strspn(text, others) != length)
        return error_set(err, EXIT_OURS,
                         "\"%.140s\" cannot be a name: a name has letters, digits, and after the "
                         "first also _ . and -",
                         text);
    if (length > STATE_MAX_ID)
        return error_set(err, EXIT_OURS, "the name \"%.20s...\" is longer than %d bytes", text,
                         STATE_MAX_ID);
    if (is_reserved(text))
        return error_set(err, EXIT_OURS, "\"%s\" cannot be a name: hybrid uses it itself", text);
    return 0;
}

char *state_directory(const char *root, const char *id, struct error *err)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s", root, id) < 0) {
        (void)error_set(err, EXIT_OURS, "out of memory");
        return NULL;
    }
    return path;
}

/* mkdir -p; the parents as the umask says, the last for root alone. */
static int make_root(const char *root)
{
    char path[PATH_MAX];
    size_t length = strlen(root);
    if (length >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(path, root, length + 1);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            return -1;
        *slash = '/';
    }
    return mkdir(path, 0700) < 0 && errno != EEXIST ? -1 : 0;
}

static int write_file(int directory, const char *name, const char *text, size_t length)
{
    _cleanup_close_ int fd =
        openat(directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return fd < 0 ? -1 : io_write_all(fd, text, length);
}

static int write_state(int directory, const char *name, const struct state *state)
{
    json_t *document = state_to_json(state);
    _cleanup_free_ char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;
    json_decref(document);
    if (!text) {
        errno = ENOMEM;
        return -1;
    }
    return write_file(directory, name, text, strlen(text));
}

/*
 * An open-file-description lock: inherited over fork, released with the last copy of the
 * descriptor, and F_OFD_GETLK tells whether it is held without taking it.
 */
static int take_lock(int fd)
{
    struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    return fcntl(fd, F_OFD_SETLK, &whole);
}

static bool lock_is_held(int directory)
{
    _cleanup_close_ int fd = openat(directory, LOCK_FILE, O_RDONLY | O_CLOEXEC);
    struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    return fd >= 0 && fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
}

/* create: O_CREAT or 0. Returns the descriptor, or -1 with errno: ENOENT also when the workload was
 * removed before we had the lock. */
static int open_lock(int directory, int create)
{
    _cleanup_close_ int fd = openat(directory, LOCK_FILE, O_RDWR | O_CLOEXEC | create, 0600);
    struct stat status;
    if (fd < 0 || take_lock(fd) < 0 || fstat(fd, &status) < 0)
        return -1;
    if (status.st_nlink == 0) {
        errno = ENOENT;
        return -1;
    }
    return take_fd(&fd);
}

/* Fills a new directory. Returns the lock's descriptor, or -1 with errno. */
static int fill_directory(const char *path, const struct state *state, const char *config_text)
{
    _cleanup_close_ int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return -1;
    _cleanup_close_ int lock = open_lock(directory, O_CREAT);
    if (lock < 0 || write_file(directory, CONFIG_FILE, config_text, strlen(config_text)) < 0 ||
        write_state(directory, STATE_FILE, state) < 0)
        return -1;
    return take_fd(&lock);
}

static int remove_directory(const char *path)
{
    _cleanup_closedir_ DIR *directory = opendir(path);
    if (!directory)
        return -1;
    struct dirent *entry;
    while ((entry = readdir(directory)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            unlinkat(dirfd(directory), entry->d_name, 0) < 0 && errno != ENOENT)
            return -1;
    return rmdir(path);
}

int state_create(const char *root, const struct state *state, const char *config_text, int *lock,
                 struct error *err)
{
    _cleanup_free_ char *path = state_directory(root, state->id, err);
    _cleanup_free_ char *fresh = NULL;
    if (!path)
        return -1;
    if (asprintf(&fresh, "%s/.%s.%d", root, state->id, getpid()) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    int made = mkdir(fresh, 0700);
    if (made < 0 && errno == ENOENT && make_root(root) == 0)
        made = mkdir(fresh, 0700);
    if (made < 0 && errno == EEXIST && remove_directory(fresh) == 0) /* a killed namesake's */
        made = mkdir(fresh, 0700);
    if (made < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make %s", fresh);
    _cleanup_close_ int fd = fill_directory(fresh, state, config_text);
    if (fd >= 0 && renameat2(AT_FDCWD, fresh, AT_FDCWD, path, RENAME_NOREPLACE) == 0) {
        *lock = take_fd(&fd);
        return 0;
    }
    int cause = errno;
    (void)remove_directory(fresh);
    if (fd >= 0 && cause == EEXIST)
        return 1;
    return error_set_errno(err, EXIT_OURS, cause, "cannot make %s", path);
}

static int refuse_absent(const char *id, struct error *err)
{
    /* Engines look for "does not exist". */
    return error_set(err, EXIT_OURS,
                     "no such workload: %.140s does not exist; `hybrid ps -a` lists them", id);
}

static int open_directory(const char *root, const char *id, struct error *err)
{
    struct error ignored;
    if (state_check_id(id, &ignored) < 0)
        return refuse_absent(id, err);
    _cleanup_free_ char *path = state_directory(root, id, err);
    if (!path)
        return -1;
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0 && (errno == ENOENT || errno == ENOTDIR))
        return refuse_absent(id, err);
    if (directory < 0 && errno == EACCES)
        return error_set(err, EXIT_OURS, "cannot open %s: Permission denied; use sudo", path);
    if (directory < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open %s", path);
    return directory;
}

bool state_is_absent(const char *root, const char *id)
{
    struct error unknown;
    _cleanup_free_ char *path = state_directory(root, id, &unknown);
    return path && access(path, F_OK) < 0 && errno == ENOENT;
}

int state_lock(const char *root, const char *id, int *lock, struct error *err)
{
    _cleanup_close_ int directory = open_directory(root, id, err);
    if (directory < 0)
        return -1;
    int fd = open_lock(directory, 0);
    if (fd < 0 && (errno == EAGAIN || errno == EACCES))
        return 1;
    if (fd < 0 && errno == ENOENT)
        return refuse_absent(id, err);
    if (fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot lock the workload %s", id);
    *lock = fd;
    return 0;
}

/* The whole file, NUL-terminated and malloc'd; NULL with errno. */
static char *read_file(int directory, const char *name)
{
    _cleanup_close_ int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        return NULL;
    if (status.st_size > STATE_MAX_FILE) {
        errno = EFBIG;
        return NULL;
    }
    char *text = malloc((size_t)status.st_size + 1);
    ssize_t length = text ? io_read_all(fd, text, (size_t)status.st_size) : -1;
    if (length < 0) {
        free(text);
        return NULL;
    }
    text[length] = '\0';
    return text;
}

static int parse_state(const char *text, struct state *state, struct error *err)
{
    json_error_t where;
    json_t *document = json_loads(text, JSON_REJECT_DUPLICATES, &where);
    if (!document)
        return error_set(err, EXIT_OURS, "%s", where.text);
    int result = state_from_json(document, state, err);
    json_decref(document);
    if (result < 0)
        state_free(state);
    return result;
}

/* ours: we hold the lock ourselves. */
static int read_state(const char *root, const char *id, bool ours, struct state *state,
                      struct error *err)
{
    *state = (struct state){ 0 };
    _cleanup_close_ int directory = open_directory(root, id, err);
    if (directory < 0)
        return -1;
    /* In this order: a monitor writes its last state before it lets the lock go. */
    bool held = !ours && lock_is_held(directory);
    _cleanup_free_ char *text = read_file(directory, STATE_FILE);
    if (!text && errno == ENOENT)
        return refuse_absent(id, err); /* being removed just now */
    if (!text)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read %s/%s/" STATE_FILE, root, id);
    struct error why;
    if (parse_state(text, state, &why) < 0)
        return error_set(err, EXIT_OURS,
                         "%s/%s/" STATE_FILE " cannot be read: %s; `hybrid rm -f %s` removes the "
                         "workload as far as it is known",
                         root, id, why.message, id);
    if (state->bundle && state->status != STATE_CREATING) {
        if (!state_process_lives(state->pid, state->pid_start))
            state->status = STATE_STOPPED;
    } else if (!held && state->status != STATE_STOPPED) {
        state->abandoned = true;
        state->status = STATE_STOPPED;
    }
    return 0;
}

int state_read(const char *root, const char *id, struct state *state, struct error *err)
{
    return read_state(root, id, false, state, err);
}

int state_read_locked(const char *root, const char *id, struct state *state, struct error *err)
{
    return read_state(root, id, true, state, err);
}

/* 1: a file of a workload's is there, 0: not, -1: errno. */
static int has_file(int directory, const char *name)
{
    struct stat status;
    if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -1;
    return S_ISREG(status.st_mode);
}

/* As state_is_damaged; -1 with errno. */
static int is_damaged(int directory)
{
    int others = has_file(directory, LOCK_FILE);
    if (others > 0)
        others = has_file(directory, CONFIG_FILE);
    if (others <= 0)
        return others;
    _cleanup_free_ char *text = read_file(directory, STATE_FILE);
    _cleanup_state_ struct state state = { 0 };
    struct error why;
    if (!text)
        return errno == ENOENT ? 1 : -1;
    errno = 0; /* only a lack of memory sets it */
    if (parse_state(text, &state, &why) == 0)
        return 0;
    return errno == ENOMEM ? -1 : 1;
}

int state_is_damaged(const char *root, const char *id, struct error *err)
{
    _cleanup_free_ char *path = state_directory(root, id, err);
    if (!path)
        return -1;
    _cleanup_close_ int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    int damaged = directory < 0 ? -1 : is_damaged(directory);
    return damaged < 0 ? error_set_errno(err, EXIT_OURS, errno, "cannot read %s", path) : damaged;
}

int state_write(const char *root, const struct state *state, struct error *err)
{
    _cleanup_close_ int directory = open_directory(root, state->id, err);
    if (directory < 0)
        return -1;
    if (write_state(directory, "." STATE_FILE, state) < 0 ||
        renameat(directory, "." STATE_FILE, directory, STATE_FILE) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot write %s/%s/" STATE_FILE, root,
                               state->id);
    return 0;
}

char *state_read_config(const char *root, const char *id, struct error *err)
{
    _cleanup_close_ int directory = open_directory(root, id, err);
    if (directory < 0)
        return NULL;
    char *text = read_file(directory, CONFIG_FILE);
    if (!text)
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot read %s/%s/" CONFIG_FILE, root, id);
    return text;
}

static int newest_first(const void *a, const void *b)
{
    const struct state *left = a, *right = b;
    if (left->created != right->created)
        return left->created < right->created ? 1 : -1;
    return strcmp(left->id, right->id);
}

/* Does the process that made ".ID.PID" still live? */
static bool maker_lives(const char *name)
{
    const char *dot = strrchr(name, '.');
    long pid = strtol(dot + 1, NULL, 10);
    return pid > 0 && (kill((pid_t)pid, 0) == 0 || errno != ESRCH);
}

/* The remains of a state_create or a state_remove that was killed: nobody holds the lock. */
static void remove_remains(const char *root, const char *name)
{
    _cleanup_free_ char *path = state_directory(root, name, NULL);
    _cleanup_close_ int directory = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    struct stat status;
    if (directory < 0 || fstat(directory, &status) < 0 || lock_is_held(directory))
        return;
    /* Between mkdir and lock a living one looks the same: some seconds' grace. After that the
     * number belongs to another process. */
    if (!maker_lives(name) || time(NULL) - status.st_mtime > GRACE_SECONDS)
        (void)remove_directory(path);
}

int state_list_read(const char *root, struct state_list *list, struct error *err)
{
    *list = (struct state_list){ 0 };
    _cleanup_closedir_ DIR *directory = opendir(root);
    if (!directory && errno == ENOENT)
        return 0;
    if (!directory)
        return error_set_errno(err, EXIT_OURS, errno, "cannot list %s", root);
    struct dirent *entry;
    while ((entry = readdir(directory))) {
        struct error ignored;
        struct state state;
        if (entry->d_name[0] == '.' && strlen(entry->d_name) > 2)
            remove_remains(root, entry->d_name);
        if (state_check_id(entry->d_name, &ignored) < 0 ||
            state_read(root, entry->d_name, &state, &ignored) < 0)
            continue; /* not a workload, or removed since */
        struct state *grown = realloc(list->states, (list->count + 1) * sizeof *grown);
        if (!grown) {
            state_free(&state);
            state_list_free(list);
            return error_set(err, EXIT_OURS, "out of memory");
        }
        list->states = grown;
        list->states[list->count++] = state;
    }
    if (list->count > 1)
        qsort(list->states, list->count, sizeof *list->states, newest_first);
    return 0;
}

void state_list_free(struct state_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        state_free(&list->states[i]);
    free(list->states);
    *list = (struct state_list){ 0 };
}

int state_sweep(const char *root, struct error *err)
{
    struct state_list list;
    if (state_list_read(root, &list, err) < 0)
        return -1;
    state_list_free(&list);
    return 0;
}

int state_remove(const char *root, const char *id, struct error *err)
{
    _cleanup_free_ char *path = state_directory(root, id, err);
    _cleanup_free_ char *dying = NULL;
    if (!path)
        return -1;
    if (asprintf(&dying, "%s/.%s.%d", root, id, getpid()) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    /* Renamed first: the name is free at once, and a half of it is never taken for a workload. */
    if (rename(path, dying) < 0)
        return errno == ENOENT ? 0
                               : error_set_errno(err, EXIT_OURS, errno, "cannot remove %s", path);
    if (remove_directory(dying) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot remove %s", dying);
    return 0;
}

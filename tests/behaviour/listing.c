/*
 * listing DIRECTORY: prints one line for each file below it, in the order of names' bytes, "/"
 * first:
 *
 *   path, type, mode, owner, size, mtime, device, links, content, attributes
 *
 * separated by tabs. Bytes outside of printable ASCII are \xNN; size is that of files and links;
 * links is the number, and the first path of the same inode; content is a file's SHA-256 or a
 * link's target; attributes are NAME=HEX. What a runtime mounts or writes for itself is left out:
 * the table below.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { PATH_ROOM = 16384, NAMES_ROOM = 65536, READ_BYTES = 1 << 16 };

/* Mount points of containers and VMs, and files that they get; and what lists. */
static const char *const left_out[] = { "/proc",      "/sys",          "/dev",
                                        "/etc/hosts", "/etc/hostname", "/etc/resolv.conf",
                                        "/.listing" };

struct seen {
    dev_t device;
    ino_t inode;
    char path[];
};

static void print_escaped(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (text[i] > ' ' && text[i] < 127 && text[i] != '\\')
            putchar(text[i]);
        else
            printf("\\x%02x", (unsigned char)text[i]);
}

static int compare_seen(const void *left, const void *right)
{
    const struct seen *a = left, *b = right;
    if (a->device != b->device)
        return a->device < b->device ? -1 : 1;
    return a->inode < b->inode ? -1 : a->inode > b->inode;
}

/* The path under which the inode came first. */
static const char *first_path(const struct stat *status, const char *path)
{
    static void *all;
    const size_t size = strlen(path) + 1;
    struct seen *entry = calloc(1, sizeof *entry + size);
    if (!entry)
        err(1, "memory");
    entry->device = status->st_dev;
    entry->inode = status->st_ino;
    memcpy(entry->path, path, size);
    struct seen **found = tsearch(entry, &all, compare_seen);
    if (!found)
        err(1, "memory");
    return (*found)->path;
}

static void print_content(int directory, const char *name, const char *path)
{
    static unsigned char buffer[READ_BYTES];
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA256_CTX context;
    ssize_t length;
    int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        err(1, "cannot open %s", path);
    SHA256_Init(&context);
    while ((length = read(fd, buffer, sizeof buffer)) > 0)
        SHA256_Update(&context, buffer, (size_t)length);
    if (length < 0)
        err(1, "cannot read %s", path);
    SHA256_Final(digest, &context);
    for (size_t i = 0; i < sizeof digest; i++)
        printf("%02x", digest[i]);
    (void)close(fd);
}

static void print_target(int directory, const char *name, const char *path)
{
    static char target[PATH_ROOM];
    ssize_t length = readlinkat(directory, name, target, sizeof target);
    if (length < 0)
        err(1, "cannot read the link %s", path);
    print_escaped(target, (size_t)length);
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static void print_attribute(const char *file, const char *name, const char *path)
{
    static char value[NAMES_ROOM];
    ssize_t length = lgetxattr(file, name, value, sizeof value);
    if (length < 0)
        err(1, "cannot read %s of %s", name, path);
    print_escaped(name, strlen(name));
    putchar('=');
    for (ssize_t i = 0; i < length; i++)
        printf("%02x", (unsigned char)value[i]);
}

static void print_attributes(int directory, const char *name, const char *path)
{
    static char names[NAMES_ROOM];
    char file[NAME_MAX + 64];
    char *sorted[NAMES_ROOM / 2];
    size_t count = 0;
    (void)snprintf(file, sizeof file, "/proc/self/fd/%d/%s", directory, name);
    ssize_t length = llistxattr(file, names, sizeof names);
    if (length < 0)
        err(1, "cannot list the attributes of %s", path);
    for (char *at = names; at < names + length; at += strlen(at) + 1)
        sorted[count++] = at;
    qsort(sorted, count, sizeof *sorted, compare_names);
    for (size_t i = 0; i < count; i++) {
        (void)putchar(i ? ',' : '\t');
        print_attribute(file, sorted[i], path);
    }
    if (count == 0)
        (void)fputs("\t-", stdout);
}

static void print_entry(int directory, const char *name, const char *path,
                        const struct stat *status)
{
    static const char types[] = "?pc?d?b?f?l?s???";
    const mode_t type = status->st_mode & S_IFMT;
    print_escaped(path, strlen(path));
    printf("\t%c\t%04o\t%u:%u\t", types[type >> 12], status->st_mode & 07777, status->st_uid,
           status->st_gid);
    printf("%lld", type == S_IFREG || type == S_IFLNK ? (long long)status->st_size : 0LL);
    printf("\t%lld.%09ld\t", (long long)status->st_mtim.tv_sec, status->st_mtim.tv_nsec);
    if (type == S_IFCHR || type == S_IFBLK)
        printf("%u:%u\t", major(status->st_rdev), minor(status->st_rdev));
    else
        printf("-\t");
    if (type != S_IFDIR && status->st_nlink > 1) {
        const char *first = first_path(status, path);
        printf("%lu=", (unsigned long)status->st_nlink);
        print_escaped(first, strlen(first));
    } else {
        printf("-");
    }
    putchar('\t');
    if (type == S_IFREG)
        print_content(directory, name, path);
    else if (type == S_IFLNK)
        print_target(directory, name, path);
    else
        putchar('-');
    print_attributes(directory, name, path);
    putchar('\n');
}

static int is_left_out(const char *path)
{
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++)
        if (strcmp(path, left_out[i]) == 0)
            return 1;
    return 0;
}

static void list(int directory, const char *name, char *path);

static void list_directory(int above, const char *name, char *path)
{
    struct dirent **entries;
    const size_t length = strlen(path);
    int fd = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int count = fd < 0 ? -1 : scandirat(fd, ".", &entries, NULL, NULL);
    char **names = calloc((size_t)(count > 0 ? count : 0) + 1, sizeof *names);
    if (count < 0 || !names)
        err(1, "cannot read the directory %s", path);
    for (int i = 0; i < count; i++)
        names[i] = entries[i]->d_name;
    qsort(names, (size_t)count, sizeof *names, compare_names);
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], ".") == 0 || strcmp(names[i], "..") == 0)
            continue;
        if (length + strlen(names[i]) + 2 > PATH_ROOM)
            errx(1, "%s: a path too long", path);
        (void)sprintf(path + length, "%s%s", length > 1 ? "/" : "", names[i]);
        list(fd, names[i], path);
        path[length] = '\0';
    }
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    free(names);
    (void)close(fd);
}

static void list(int directory, const char *name, char *path)
{
    struct stat status;
    if (is_left_out(path))
        return;
    if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        err(1, "cannot examine %s", path);
    print_entry(directory, name, path, &status);
    if (S_ISDIR(status.st_mode))
        list_directory(directory, name, path);
}

int main(int argc, char **argv)
{
    static char path[PATH_ROOM] = "/";
    int fd = argc == 2 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (argc != 2)
        errx(1, "usage: listing DIRECTORY");
    if (fd < 0)
        err(1, "cannot open %s", argv[1]);
    list(fd, ".", path);
    return fflush(stdout) == 0 ? 0 : 1;
}

#include "seccomp_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/plan/compose.h"

enum {
    CACHE_MAGIC = 0x31436248, /* "HbC1" */
    CACHE_MAX_FILE = 1024 * 1024,
};

struct cache_head {
    uint32_t magic;
    uint32_t flags;
    uint64_t key_length, program_length;
    uint64_t checksum; /* of flags, key and program: a file cut short by a crash is not used */
};

static uint64_t hash(uint64_t start, const void *data, size_t length) /* FNV-1a */
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < length; i++)
        start = (start ^ bytes[i]) * 0x100000001b3;
    return start;
}

static const uint64_t hash_start = 0xcbf29ce484222325;

static uint64_t checksum(unsigned int flags, const char *key, size_t key_length,
                         const uint8_t *program, size_t length)
{
    const uint32_t stored = flags;
    uint64_t sum = hash(hash_start, &stored, sizeof stored);
    return hash(hash(sum, key, key_length), program, length);
}

static bool is_sound(const struct cache_head *head, size_t size, const char *content,
                     const char *key)
{
    return head->magic == CACHE_MAGIC && head->key_length == strlen(key) &&
           head->program_length > 0 && head->program_length <= CACHE_MAX_FILE &&
           head->program_length % sizeof(struct sock_filter) == 0 &&
           sizeof *head + head->key_length + head->program_length == size &&
           memcmp(content, key, head->key_length) == 0 &&
           checksum(head->flags, content, head->key_length,
                    (const uint8_t *)content + head->key_length,
                    head->program_length) == head->checksum;
}

/* Returns true if the program was found. */
static bool read_cache(const char *path, const char *key, uint8_t **program, size_t *length,
                       unsigned int *flags)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0 || status.st_size > CACHE_MAX_FILE ||
        (size_t)status.st_size < sizeof(struct cache_head) || status.st_uid != geteuid())
        return false;
    size_t size = (size_t)status.st_size;
    _cleanup_free_ char *file = malloc(size);
    if (!file || io_read_all(fd, file, size) != (ssize_t)size)
        return false;
    struct cache_head head;
    memcpy(&head, file, sizeof head);
    if (!is_sound(&head, size, file + sizeof head, key))
        return false;
    *program = malloc(head.program_length);
    if (!*program)
        return false;
    memcpy(*program, file + sizeof head + head.key_length, head.program_length);
    *length = head.program_length;
    *flags = head.flags;
    return true;
}

/* Under a name of our own, then renamed: nobody reads a half. Failures only cost the next start. */
static void write_cache(const char *directory, const char *path, const char *key,
                        const uint8_t *program, size_t length, unsigned int flags)
{
    struct cache_head head = {
        .magic = CACHE_MAGIC, .flags = flags, .key_length = strlen(key), .program_length = length
    };
    head.checksum = checksum(flags, key, head.key_length, program, length);
    _cleanup_free_ char *temporary = NULL;
    if (asprintf(&temporary, "%s.%d", path, getpid()) < 0)
        return;
    (void)mkdir(directory, 0700);
    _cleanup_close_ int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (io_write_all(fd, &head, sizeof head) < 0 || io_write_all(fd, key, head.key_length) < 0 ||
        io_write_all(fd, program, length) < 0 || rename(temporary, path) < 0)
        (void)unlink(temporary);
}

int seccomp_cache_get(const char *directory, const json_t *profile, uint8_t **program,
                      size_t *length, unsigned int *flags, struct error *err)
{
    *program = NULL;
    *length = 0;
    *flags = 0;
    if (!profile)
        return 0;
    _cleanup_free_ char *key = seccomp_cache_key(profile);
    _cleanup_free_ char *path = NULL;
    if (!key || asprintf(&path, "%s/%016llx", directory,
                         (unsigned long long)hash(hash_start, key, strlen(key))) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    if (read_cache(path, key, program, length, flags))
        return 0;
    if (seccomp_compile(profile, program, length, flags, err) < 0)
        return -1;
    if (*program)
        write_cache(directory, path, key, *program, *length, *flags);
    return 0;
}

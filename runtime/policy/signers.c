/* Which of the keys that a policy names have signed an image, as `hybrid verify` wrote it down. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "parts.h"

enum { MAX_KEY = 64 << 10, MAX_SIGNERS = 1 << 20 };

/* Returns the text, malloc'd; NULL with errno 0: there is no room for it. */
static char *read_whole(int fd, size_t most)
{
    _cleanup_free_ char *text = calloc(1, most + 1);
    ssize_t length = text ? io_read_all(fd, text, most + 1) : -1;
    if (length < 0)
        return NULL;
    errno = 0;
    return (size_t)length > most ? NULL : take_pointer(&text);
}

/* Whoever can write the key's file decides what is trusted: it is held to the policy's rules. */
static char *read_key(const char *path, struct error *err)
{
    _cleanup_close_ int fd = policy_open_file(path, "key", err);
    if (fd == POLICY_NO_FILE)
        (void)error_set_errno(err, EXIT_OURS, ENOENT,
                              "cannot open the key %s that the policy names", path);
    if (fd < 0)
        return NULL;
    char *text = read_whole(fd, MAX_KEY);
    if (!text)
        (void)error_set(err, EXIT_OURS, "cannot read the key %s that the policy names", path);
    return text;
}

/* The keys that the image was verified with; an empty array for an image that never was. */
static json_t *read_signers(const char *store, const char *digest, struct error *err)
{
    _cleanup_free_ char *path = NULL;
    if (asprintf(&path, "%s/signatures/%s", store, digest) < 0) {
        (void)error_set(err, EXIT_OURS, "out of memory");
        return NULL;
    }
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return json_array();
    _cleanup_free_ char *text = fd < 0 ? NULL : read_whole(fd, MAX_SIGNERS);
    json_t *document = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    json_t *keys = json_incref(json_object_get(document, "keys"));
    json_decref(document);
    if (!json_is_array(keys)) {
        (void)error_set(err, EXIT_OURS,
                        "cannot read %s, which says who signed the image; remove it and verify the "
                        "image again",
                        path);
        json_decref(keys);
        return NULL;
    }
    return keys;
}

static bool has_text(const json_t *texts, const char *wanted)
{
    size_t index;
    const json_t *text;
    json_array_foreach(texts, index, text)
    {
        if (json_is_string(text) && strcmp(json_string_value(text), wanted) == 0)
            return true;
    }
    return false;
}

/* Adds the keys of one rule that have signed. Returns 0, or -1 with *err. */
static int add_signers(const json_t *paths, const json_t *signers, json_t *found, struct error *err)
{
    size_t index;
    const json_t *path;
    json_array_foreach(paths, index, path)
    {
        _cleanup_free_ char *key = read_key(json_string_value(path), err);
        if (!key)
            return -1;
        if (has_text(signers, key))
            (void)json_array_append(found, (json_t *)path);
    }
    return 0;
}

int policy_find_signers(const struct policy *policy, const char *store, const char *digest,
                        json_t **found, struct error *err)
{
    json_auto_t *signers = NULL;
    json_auto_t *list = json_array();
    size_t index;
    const json_t *rule;
    *found = NULL;
    if (!list)
        return error_set(err, EXIT_OURS, "out of memory");
    json_array_foreach(policy->rules, index, rule)
    {
        const json_t *paths =
            json_object_get(json_object_get(json_object_get(rule, "match"), "signature"), "keys");
        if (paths && !signers)
            signers = read_signers(store, digest, err);
        if (paths && (!signers || add_signers(paths, signers, list, err) < 0))
            return -1;
    }
    *found = json_incref(list);
    return 0;
}

#include "index.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "cleanup.h"
#include "document.h"

bool digest_is_hex(const char *text)
{
    return strlen(text) == STORE_DIGEST_HEX && strspn(text, "0123456789abcdef") == STORE_DIGEST_HEX;
}

const char *digest_hex(const char *digest)
{
    static const char prefix[] = "sha256:";
    if (strncmp(digest, prefix, sizeof prefix - 1) != 0)
        return NULL;
    digest += sizeof prefix - 1;
    return digest_is_hex(digest) ? digest : NULL;
}

void index_file_name(const char *reference, const char *manifest, char name[NAME_MAX + 1])
{
    (void)snprintf(name, NAME_MAX + 1, "%s%s", reference ? "" : "@",
                   reference ? reference : manifest);
    for (char *at = name; *at; at++)
        if (*at == '/')
            *at = '%';
}

static int parse_entry(const json_t *document, const char *what, struct index_entry *entry,
                       struct error *err)
{
    const char *reference;
    const char *manifest;
    const char *config;
    const char *created;
    if (document_get_string(document, "reference", what, &reference, err) < 0 ||
        document_get_string(document, "manifest", what, &manifest, err) < 0 ||
        document_get_string(document, "config", what, &config, err) < 0 ||
        document_get_string(document, "created", what, &created, err) < 0)
        return -1;
    if (!manifest || !config || !digest_is_hex(manifest) || !digest_is_hex(config))
        return error_set(err, EXIT_OURS, "%s is damaged; remove it and load the image again", what);
    memcpy(entry->manifest, manifest, sizeof entry->manifest);
    memcpy(entry->config, config, sizeof entry->config);
    entry->size = json_integer_value(json_object_get(document, "size"));
    entry->pulled = json_is_true(json_object_get(document, "pulled"));
    entry->reference = reference ? strdup(reference) : NULL;
    entry->created = created ? strdup(created) : NULL;
    if ((reference && !entry->reference) || (created && !entry->created))
        return error_set(err, EXIT_OURS, "out of memory");
    return 0;
}

int index_read(int index_fd, const char *file_name, struct index_entry *entry, struct error *err)
{
    *entry = (struct index_entry){ 0 };
    char what[NAME_MAX + 32];
    (void)snprintf(what, sizeof what, "index entry %s", file_name);
    int errnum;
    _cleanup_json_ json_t *document = document_read(index_fd, file_name, what, &errnum, err);
    if (!document)
        return errnum == ENOENT || errnum == ENAMETOOLONG ? 0 : -1;
    if (parse_entry(document, what, entry, err) < 0) {
        index_entry_free(entry);
        return -1;
    }
    return 1;
}

void index_entry_free(struct index_entry *entry)
{
    free(entry->reference);
    free(entry->created);
    *entry = (struct index_entry){ 0 };
}

void index_list_free(struct index_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        index_entry_free(&list->entries[i]);
    free(list->entries);
    *list = (struct index_list){ 0 };
}

/* Opens <store>/index. -1 with *missing set where there is no store yet. */
static int open_index(const char *store_dir, bool *missing, struct error *err)
{
    _cleanup_free_ char *path = NULL;
    *missing = false;
    if (asprintf(&path, "%s/index", store_dir) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        *missing = errno == ENOENT;
        return error_set_errno(err, EXIT_OURS, errno, "cannot open the image store %s%s", path,
                               errno == EACCES ? " (it belongs to root)" : "");
    }
    return fd;
}

static int compare_entries(const void *left, const void *right)
{
    const struct index_entry *a = left;
    const struct index_entry *b = right;
    if (!a->reference || !b->reference)
        return a->reference ? -1 : b->reference ? 1 : strcmp(a->manifest, b->manifest);
    return strcmp(a->reference, b->reference);
}

/* Temporary files of an update in progress start with a dot. */
static int read_all(DIR *directory, struct index_list *list, struct error *err)
{
    size_t room = 0;
    for (const struct dirent *file; (file = readdir(directory));) {
        if (file->d_name[0] == '.')
            continue;
        if (list->count == room) {
            room = room ? room * 2 : 16;
            void *grown = reallocarray(list->entries, room, sizeof *list->entries);
            if (!grown)
                return error_set(err, EXIT_OURS, "out of memory");
            list->entries = grown;
        }
        int found = index_read(dirfd(directory), file->d_name, &list->entries[list->count], err);
        if (found < 0)
            return -1;
        list->count += (size_t)found; /* 0: removed since readdir */
    }
    return 0;
}

int index_list(const char *store_dir, struct index_list *list, struct error *err)
{
    *list = (struct index_list){ 0 };
    bool missing;
    int fd = open_index(store_dir, &missing, err);
    if (fd < 0)
        return missing ? 0 : -1;
    _cleanup_closedir_ DIR *directory = fdopendir(fd);
    if (!directory) {
        (void)close(fd);
        return error_set_errno(err, EXIT_OURS, errno, "cannot read the image store");
    }
    if (read_all(directory, list, err) < 0) {
        index_list_free(list);
        return -1;
    }
    if (list->count > 0)
        qsort(list->entries, list->count, sizeof *list->entries, compare_entries);
    return 0;
}

static bool entry_has_digest(const struct index_entry *entry, const char *reference)
{
    const char *at = strrchr(reference, '@');
    const char *tag = entry->reference ? strrchr(entry->reference, ':') : NULL;
    return tag && tag - entry->reference == at - reference &&
           strncmp(entry->reference, reference, (size_t)(at - reference)) == 0 &&
           strcmp(entry->manifest, at + 1 + strlen("sha256:")) == 0;
}

/* Hands over the only image (by configuration) that `matches`; several names of it count as one. */
static int find_by_scan(const char *store_dir, const char *name, bool by_digest,
                        struct index_entry *entry, struct error *err)
{
    struct index_list list;
    if (index_list(store_dir, &list, err) < 0)
        return -1;
    struct index_entry *found = NULL;
    int result = 0;
    for (size_t i = 0; i < list.count && result == 0; i++) {
        struct index_entry *candidate = &list.entries[i];
        if (by_digest ? !entry_has_digest(candidate, name)
                      : strncmp(candidate->config, name, strlen(name)) != 0)
            continue;
        if (found && strcmp(found->config, candidate->config) != 0)
            result = error_set(err, EXIT_OURS,
                               "image id %s is ambiguous: it begins both %.12s and %.12s; "
                               "give more digits",
                               name, found->config, candidate->config);
        if (!found)
            found = candidate;
    }
    if (found && result == 0) {
        *entry = *found;
        *found = (struct index_entry){ 0 };
        result = 1;
    }
    index_list_free(&list);
    return result;
}

/*
 * Tries one reference: as a name (one with a digest is the name of what was pulled so), then as the
 * digest of an image that is named by a tag. 1: found, 0: not there, -1: *err.
 */
static int find_reference(const char *store_dir, int index_fd, const char *reference,
                          struct index_entry *entry, struct error *err)
{
    char file_name[NAME_MAX + 1];
    index_file_name(reference, NULL, file_name);
    int found = index_read(index_fd, file_name, entry, err);
    return found != 0 || !strchr(reference, '@')
               ? found
               : find_by_scan(store_dir, reference, true, entry, err);
}

static bool is_id_prefix(const char *name)
{
    size_t length = strlen(name);
    return length >= INDEX_MIN_ID && length <= STORE_DIGEST_HEX &&
           strspn(name, "0123456789abcdef") == length;
}

/*
 * The references that `name` may mean, in order: Docker's reading first, then, for a name without
 * a registry, that of a local build. The second may be NULL.
 */
static int expand_name(const char *name, char **first, char **second, struct error *err)
{
    static const char docker[] = "docker.io/";
    *second = NULL;
    *first = reference_normalize(name, err);
    if (!*first)
        return -1;
    if (strncmp(*first, docker, sizeof docker - 1) != 0 || strstr(name, docker))
        return 0;
    _cleanup_free_ char *local = NULL;
    if (asprintf(&local, "localhost/%s", name) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    *second = reference_normalize(local, NULL); /* longer by a few bytes: may not fit, then no */
    return 0;
}

static int find_by_reference(const char *store_dir, const char *name, bool *malformed,
                             struct index_entry *entry, struct error *err)
{
    _cleanup_free_ char *first = NULL;
    _cleanup_free_ char *second = NULL;
    bool missing;
    *malformed = expand_name(name, &first, &second, err) < 0;
    if (*malformed)
        return 0;
    _cleanup_close_ int index_fd = open_index(store_dir, &missing, err);
    if (index_fd < 0)
        return missing ? 0 : -1;
    int found = find_reference(store_dir, index_fd, first, entry, err);
    return found != 0 || !second ? found : find_reference(store_dir, index_fd, second, entry, err);
}

int index_find(const char *store_dir, const char *name, struct index_entry *entry, bool *exact,
               struct error *err)
{
    const char *id =
        strncmp(name, "sha256:", strlen("sha256:")) == 0 ? name + strlen("sha256:") : name;
    bool may_be_id = is_id_prefix(id);
    bool must_be_id = id != name || digest_is_hex(name);
    bool malformed = false;
    int found = must_be_id ? 0 : find_by_reference(store_dir, name, &malformed, entry, err);
    if (exact)
        *exact = found > 0;
    if (found == 0 && may_be_id)
        found = find_by_scan(store_dir, id, false, entry, err);
    if (found == 0 && !malformed) {
        char printable[300];
        error_set(err, EXIT_OURS,
                  "no such image: %s; `hybrid images` lists those there are, "
                  "`hybrid pull` or `hybrid load FILE` adds one",
                  document_printable(name, printable, sizeof printable));
    }
    return found;
}

#include "index.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "cleanup.h"
#include "directory.h"
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

int index_open(const char *store_dir, bool *missing, struct error *err)
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

int index_list_add(struct index_list *list, struct index_entry *entry, struct error *err)
{
    if (list->count == list->room) {
        size_t room = list->room ? list->room * 2 : 16;
        void *grown = reallocarray(list->entries, room, sizeof *list->entries);
        if (!grown) {
            index_entry_free(entry);
            return error_set(err, EXIT_OURS, "out of memory");
        }
        list->entries = grown;
        list->room = room;
    }
    list->entries[list->count++] = *entry;
    return 0;
}

void index_list_sort(struct index_list *list)
{
    if (list->count > 0)
        qsort(list->entries, list->count, sizeof *list->entries, compare_entries);
}

/* Temporary files of an update in progress start with a dot. */
static int read_all(DIR *directory, bool unnamed, struct index_list *list, struct error *err)
{
    for (const struct dirent *file; (file = directory_next(directory));) {
        struct index_entry entry;
        if (file->d_name[0] == '.' || (unnamed && file->d_name[0] != '@'))
            continue;
        int found = index_read(dirfd(directory), file->d_name, &entry, err);
        /* 0: removed since readdir */
        if (found < 0 || (found > 0 && index_list_add(list, &entry, err) < 0))
            return -1;
    }
    /* A list that is too short would be taken for what the store has: the rest would be removed. */
    return errno == 0 ? 0 : error_set_errno(err, EXIT_OURS, errno, "cannot read the image store");
}

static int list_entries(const char *store_dir, bool unnamed, struct index_list *list,
                        struct error *err)
{
    *list = (struct index_list){ 0 };
    bool missing;
    _cleanup_close_ int fd = index_open(store_dir, &missing, err);
    if (fd < 0)
        return missing ? 0 : -1;
    _cleanup_closedir_ DIR *directory = directory_take(&fd);
    if (!directory)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read the image store");
    if (read_all(directory, unnamed, list, err) < 0) {
        index_list_free(list);
        return -1;
    }
    index_list_sort(list);
    return 0;
}

int index_list(const char *store_dir, struct index_list *list, struct error *err)
{
    return list_entries(store_dir, false, list, err);
}

int index_list_unnamed(const char *store_dir, struct index_list *list, struct error *err)
{
    return list_entries(store_dir, true, list, err);
}

int index_refuse_prefix(const char *prefix, const char *one, const char *other, struct error *err)
{
    return error_set(err, EXIT_OURS,
                     "image id %s is ambiguous: it begins both %.12s and %.12s; give more digits",
                     prefix, one, other);
}

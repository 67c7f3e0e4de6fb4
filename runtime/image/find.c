#include <fcntl.h>
#include <string.h>

#include "cleanup.h"
#include "document.h"
#include "names.h"

static bool entry_has_digest(const struct index_entry *entry, const char *reference)
{
    const char *at = strrchr(reference, '@');
    const char *tag = entry->reference ? strrchr(entry->reference, ':') : NULL;
    return tag && tag - entry->reference == at - reference &&
           strncmp(entry->reference, reference, (size_t)(at - reference)) == 0 &&
           strcmp(entry->manifest, at + 1 + strlen("sha256:")) == 0;
}

/* The image that a manifest of the store is of. 1: *id is it, 0: there is none, -1: *err. */
static int find_id_of_manifest(const char *store_dir, const char *hex,
                               char id[STORE_DIGEST_HEX + 1], struct error *err)
{
    int errnum;
    _cleanup_free_ char *path = NULL;
    if (asprintf(&path, "%s/blobs/sha256/%s", store_dir, hex) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    _cleanup_json_ json_t *manifest = document_read(AT_FDCWD, path, path, &errnum, err);
    if (!manifest)
        return errnum == 0 || errnum == ENOENT ? 0 : -1; /* a blob that is no document, or none */
    const char *digest =
        json_string_value(json_object_get(json_object_get(manifest, "config"), "digest"));
    const char *config = digest ? digest_hex(digest) : NULL;
    if (config)
        memcpy(id, config, STORE_DIGEST_HEX + 1);
    return config != NULL; /* a blob of another kind is no image */
}

/* Reads the entries among which `name`, an id prefix or a reference with a digest, is. */
static int read_candidates(const char *store_dir, const char *name, bool by_digest,
                           struct index_list *list, struct error *err)
{
    char id[STORE_DIGEST_HEX + 1];
    *list = (struct index_list){ 0 };
    if (!names_are_kept_in(store_dir))
        return index_list(store_dir, list, err);
    int found = by_digest
                    ? find_id_of_manifest(store_dir, digest_hex(strrchr(name, '@') + 1), id, err)
                    : names_find_id(store_dir, name, id, err);
    return found <= 0 ? found : names_of_image(store_dir, id, true, list, err);
}

/* Hands over the only image (by configuration) that `matches`; several names of it count as one. */
static int find_among(const char *store_dir, const char *name, bool by_digest,
                      struct index_entry *entry, struct error *err)
{
    struct index_list list;
    if (read_candidates(store_dir, name, by_digest, &list, err) < 0)
        return -1;
    struct index_entry *found = NULL;
    int result = 0;
    for (size_t i = 0; i < list.count && result == 0; i++) {
        struct index_entry *candidate = &list.entries[i];
        if (by_digest ? !entry_has_digest(candidate, name)
                      : strncmp(candidate->config, name, strlen(name)) != 0)
            continue;
        if (found && strcmp(found->config, candidate->config) != 0)
            result = index_refuse_prefix(name, found->config, candidate->config, err);
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
               : find_among(store_dir, reference, true, entry, err);
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
    _cleanup_close_ int index_fd = index_open(store_dir, &missing, err);
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
        found = find_among(store_dir, id, false, entry, err);
    if (found == 0 && !malformed) {
        char printable[300];
        error_set(err, EXIT_OURS,
                  "no such image: %s; `hybrid images` lists those there are, "
                  "`hybrid pull` or `hybrid load FILE` adds one",
                  document_printable(name, printable, sizeof printable));
    }
    return found;
}

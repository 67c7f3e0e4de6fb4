#include "runtime/image/helper/remove.h"

#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "runtime/image/helper/collect.h"
#include "runtime/image/helper/links.h"
#include "runtime/image/names.h"

struct removal {
    const struct store *store;
    const char *root;
    int lock;
    bool counted; /* links tell what goes; else all of the store has to be looked at */
    struct timespec last_change; /* of the index, before this one */
    struct users users;
    struct index_list gone; /* one entry each image that no name leads to any more */
    struct removed *removed;
};

/* Whether a name of an image is to go. */
typedef bool meant_function(const struct index_entry *entry, const void *context);

static bool is_any(const struct index_entry *entry, const void *context)
{
    (void)entry, (void)context;
    return true;
}

static bool is_reference(const struct index_entry *entry, const void *context)
{
    return entry->reference && strcmp(entry->reference, context) == 0;
}

static bool is_unnamed(const struct index_entry *entry, const void *context)
{
    (void)context;
    return !entry->reference;
}

/* --- names ------------------------------------------------------------------------------------ */

static int append_line(char **text, const char *label, const char *name, struct error *err)
{
    char *longer = NULL;
    if (asprintf(&longer, "%s%s%s\n", *text ? *text : "", label, name) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    free(*text);
    *text = longer;
    return 0;
}

static int drop_name(struct removal *removal, const struct index_entry *entry, struct error *err)
{
    if (links_remove_name(removal->store, entry, err) < 0)
        return -1;
    return entry->reference ? append_line(&removal->removed->text,
                                          "Untagged: ", reference_familiar(entry->reference), err)
                            : 0;
}

/* Does a name that stays, or one that was counted before, have the same manifest? */
static bool is_counted(const struct index_list *names, size_t at, meant_function *is_meant,
                       const void *context)
{
    for (size_t i = 0; i < names->count; i++)
        if ((i < at || !is_meant(&names->entries[i], context)) &&
            strcmp(names->entries[i].manifest, names->entries[at].manifest) == 0)
            return true;
    return false;
}

/* Removes the meant ones of the names of one image. */
static int drop_names(struct removal *removal, const struct index_list *names,
                      meant_function *is_meant, const void *context, struct error *err)
{
    bool all = true;
    for (size_t i = 0; i < names->count; i++) {
        const struct index_entry *entry = &names->entries[i];
        if (!is_meant(entry, context)) {
            all = false;
            continue;
        }
        if (drop_name(removal, entry, err) < 0)
            return -1;
        struct index_entry image = { 0 };
        memcpy(image.config, entry->config, sizeof image.config);
        memcpy(image.manifest, entry->manifest, sizeof image.manifest);
        if (!is_counted(names, i, is_meant, context) &&
            index_list_add(&removal->gone, &image, err) < 0)
            return -1;
    }
    return all && names->count > 0 ? append_line(&removal->removed->text,
                                                 "Deleted: sha256:", names->entries[0].config, err)
                                   : 0;
}

/* --- from the lock to the last file ----------------------------------------------------------- */

static int begin(struct removal *removal, struct error *err)
{
    struct error ignored;
    const struct store *store = removal->store;
    removal->lock = store_lock(store, err);
    if (removal->lock < 0)
        return -1;
    /* If an image is damaged, this fails; perhaps that is the one to be removed. */
    if (!links_are_right(store, removal->lock))
        (void)collect_garbage(store, removal->lock, removal->root, &removal->removed->bytes, NULL,
                              &ignored);
    removal->counted = links_are_right(store, removal->lock);
    if (links_last_change(store, &removal->last_change, err) < 0)
        return -1;
    return users_read(removal->root, &removal->users, err);
}

static int release_images(struct removal *removal, struct error *err)
{
    const struct store *store = removal->store;
    int64_t *bytes = &removal->removed->bytes;
    /* Names that are gone must be so before what they led to: a power cut keeps any order. */
    if (removal->gone.count > 0 && fsync(store->index_fd) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot sync the image store");
    /* Workloads that began while the names were there; from now on none finds the images. */
    users_free(&removal->users);
    if (users_read(removal->root, &removal->users, err) < 0)
        return -1;
    for (size_t i = 0; i < removal->gone.count; i++)
        if (links_remove_image(store, &removal->gone.entries[i], &removal->users, bytes, err) < 0)
            return -1;
    return links_remove_kept(store, &removal->users, bytes, err);
}

static int finish(struct removal *removal, struct error *err)
{
    if (!removal->counted)
        return collect_garbage(removal->store, removal->lock, removal->root,
                               &removal->removed->bytes, NULL, err);
    if (release_images(removal, err) < 0)
        return -1;
    links_end_change(removal->store, removal->lock);
    return 0;
}

/* What `drop` removes are names; then goes what only they led to. */
static int change(struct removal *removal,
                  int (*drop)(struct removal *removal, const void *context, struct error *err),
                  const void *context, struct error *err)
{
    int result = begin(removal, err);
    if (result == 0)
        result = drop(removal, context, err);
    if (result == 0)
        result = finish(removal, err);
    users_free(&removal->users);
    index_list_free(&removal->gone);
    cleanup_close(&removal->lock);
    return result;
}

/* --- rmi -------------------------------------------------------------------------------------- */

struct request {
    const char *name;
    bool force;
};

/* NULL: the name of an image without one. */
static bool is_same_reference(const char *one, const char *other)
{
    return one && other ? strcmp(one, other) == 0 : one == other;
}

static bool has_name(const struct index_list *names, const struct index_entry *wanted)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->entries[i].manifest, wanted->manifest) == 0 &&
            is_same_reference(names->entries[i].reference, wanted->reference))
            return true;
    return false;
}

/*
 * A directory that lacks the very name that has been found was meddled with, and one that was
 * changed since the index may have been: it tells nothing. (One that was meddled with before
 * another image was pulled or removed looks like any: see links_were_touched.)
 */
static int read_names(struct removal *removal, const struct index_entry *found,
                      struct index_list *names, struct error *err)
{
    const char *path = removal->store->path;
    removal->counted = removal->counted &&
                       !links_were_touched(removal->store, &removal->last_change, found->config);
    if (names_of_image(path, found->config, removal->counted, names, err) < 0)
        return -1;
    if (!removal->counted || has_name(names, found))
        return 0;
    removal->counted = false;
    index_list_free(names);
    return names_of_image(path, found->config, false, names, err);
}

static int drop_found(struct removal *removal, const struct index_entry *found, bool exact,
                      bool force, struct error *err)
{
    struct index_list names;
    meant_function *is_meant = exact ? is_reference : is_any;
    if (read_names(removal, found, &names, err) < 0)
        return -1;
    int result = 0;
    for (size_t i = 0; i < names.count && result == 0 && !force; i++)
        if (is_meant(&names.entries[i], found->reference))
            result = users_refuse(&removal->users, &names.entries[i], err);
    if (result == 0)
        result = links_begin_change(removal->store, removal->lock, err);
    if (result == 0)
        result = drop_names(removal, &names, is_meant, found->reference, err);
    index_list_free(&names);
    return result;
}

static int drop_requested(struct removal *removal, const void *context, struct error *err)
{
    bool exact;
    const struct request *request = context;
    struct index_entry found = { 0 };
    if (index_find(removal->store->path, request->name, &found, &exact, err) <= 0)
        return -1;
    int result = drop_found(removal, &found, exact && found.reference, request->force, err);
    index_entry_free(&found);
    return result;
}

int remove_image(const struct store *store, const char *root, const char *name, bool force,
                 struct removed *removed, struct error *err)
{
    const struct request request = { name, force };
    struct removal removal = { .store = store, .root = root, .lock = -1, .removed = removed };
    return change(&removal, drop_requested, &request, err);
}

/* --- prune ------------------------------------------------------------------------------------ */

/* A workload keeps its image under all of its names. */
static bool is_used(const struct removal *removal, const struct index_list *names)
{
    for (size_t i = 0; i < names->count; i++)
        if (users_find(&removal->users, &names->entries[i]))
            return true;
    return false;
}

/* Has an entry before this one the same image? */
static bool is_repeated(const struct index_list *list, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (strcmp(list->entries[i].config, list->entries[at].config) == 0)
            return true;
    return false;
}

static int drop_if_unused(struct removal *removal, const struct index_list *names, bool all,
                          struct error *err)
{
    return is_used(removal, names)
               ? 0
               : drop_names(removal, names, all ? is_any : is_unnamed, NULL, err);
}

/* Of an image without a name, others may be names of the same configuration. */
static int drop_unnamed(struct removal *removal, const struct index_list *list, struct error *err)
{
    int result = 0;
    for (size_t i = 0; i < list->count && result == 0; i++) {
        struct index_list names;
        if (is_repeated(list, i))
            continue;
        if (read_names(removal, &list->entries[i], &names, err) < 0)
            return -1;
        result = drop_if_unused(removal, &names, false, err);
        index_list_free(&names);
    }
    return result;
}

/* The same, from all names of all images. */
static int drop_listed(struct removal *removal, const struct index_list *list, bool all,
                       struct error *err)
{
    _cleanup_free_ struct index_entry *entries = calloc(list->count + 1, sizeof *entries);
    if (!entries)
        return error_set(err, EXIT_OURS, "out of memory");
    int result = 0;
    for (size_t i = 0; i < list->count && result == 0; i++) {
        struct index_list names = { .entries = entries }; /* borrowed from the list */
        if (is_repeated(list, i))
            continue;
        for (size_t n = i; n < list->count; n++)
            if (strcmp(list->entries[n].config, list->entries[i].config) == 0)
                entries[names.count++] = list->entries[n];
        result = drop_if_unused(removal, &names, all, err);
    }
    return result;
}

static int drop_unused(struct removal *removal, const void *context, struct error *err)
{
    const bool all = *(const bool *)context;
    const char *path = removal->store->path;
    const bool listed = all || !removal->counted;
    struct index_list list;
    if (links_begin_change(removal->store, removal->lock, err) < 0 ||
        (listed ? index_list(path, &list, err) : index_list_unnamed(path, &list, err)) < 0)
        return -1;
    int result = listed ? drop_listed(removal, &list, all, err) : drop_unnamed(removal, &list, err);
    index_list_free(&list);
    return result;
}

int remove_unused(const struct store *store, const char *root, bool all, struct removed *removed,
                  struct error *err)
{
    struct removal removal = { .store = store, .root = root, .lock = -1, .removed = removed };
    return change(&removal, drop_unused, &all, err);
}

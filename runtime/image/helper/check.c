#include "runtime/image/helper/check.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "cleanup.h"
#include "directory.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/check_parts.h"
#include "runtime/image/helper/collect.h"
#include "runtime/image/helper/links.h"
#include "runtime/image/helper/session.h"

/* --- what is there ---------------------------------------------------------------------------- */

/* One directory of the store: what is called as it should be is visited, what is not is a stray. */
struct place {
    const char *path;
    int dir_fd;
    const char *suffix;        /* of names, behind 64 hex digits */
    const char *kind;          /* of what it holds, as printed */
    const struct marks *marks; /* what is needed of it */
    size_t *count;
};

static int add_file(struct check *check, enum finding_kind kind, const struct place *place,
                    const char *name, const char *cause, struct error *err)
{
    char object[CHECK_NAME + 32];
    char printable[CHECK_NAME];
    if (kind == FINDING_ORPHAN)
        (void)snprintf(object, sizeof object, "%s sha256:%.*s", place->kind, STORE_DIGEST_HEX,
                       name);
    else
        (void)snprintf(object, sizeof object, "%s/%s", place->path,
                       document_printable(name, printable, sizeof printable));
    const struct finding finding = { .kind = kind,
                                     .object = object,
                                     .dir_fd = place->dir_fd,
                                     .file = (char *)name,
                                     .cause = (char *)cause };
    return check_blame(check, &finding, NULL, err);
}

static int visit_content(struct check *check, const struct place *place, const char *name,
                         struct error *err)
{
    char hex[STORE_DIGEST_HEX + 1];
    (void)snprintf(hex, sizeof hex, "%.*s", STORE_DIGEST_HEX, name);
    if (!digest_is_hex(hex) || strcmp(name + STORE_DIGEST_HEX, place->suffix) != 0)
        return add_file(check, FINDING_STRAY, place, name, "it does not belong there", err);
    ++*place->count;
    if (check->blind || marks_have(place->marks, hex))
        return 0;
    return add_file(check, FINDING_ORPHAN, place, name, "no image and no workload needs it", err);
}

static int visit_index(struct check *check, const struct place *place, const char *name,
                       struct error *err)
{
    /* With the lock held, nobody is writing it. */
    return name[0] == '.'
               ? add_file(check, FINDING_TEMPORARY, place, name, "a killed command left it", err)
               : check_entry(check, name, err);
}

static int visit_temporary(void *context, const char *name, struct error *err)
{
    struct check *check = context;
    const struct place place = { .path = "tmp", .dir_fd = check->store.tmp_fd };
    return add_file(check, FINDING_TEMPORARY, &place, name, "a killed command left it", err);
}

static int visit_files(struct check *check, const struct place *place,
                       int (*visit)(struct check *check, const struct place *place,
                                    const char *name, struct error *err),
                       struct error *err)
{
    _cleanup_closedir_ DIR *directory = directory_open(place->dir_fd, ".");
    if (!directory)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read %s/%s", check->store.path,
                               place->path);
    for (const struct dirent *entry; (entry = directory_next(directory));) {
        if (strcmp(entry->d_name, "lost+found") == 0) /* it may be a file system of its own */
            continue;
        if (visit(check, place, entry->d_name, err) < 0)
            return -1;
    }
    return errno == 0 ? 0
                      : error_set_errno(err, EXIT_OURS, errno, "cannot read %s/%s",
                                        check->store.path, place->path);
}

/* All that can be said without reading blobs and layers. The store's lock is held. */
static int check_structure(struct check *check, int lock, struct error *err)
{
    const struct workload_visit workloads = { check_workload, check };
    const struct place index = { .path = "index", .dir_fd = check->store.index_fd };
    const struct place places[] = {
        { "blobs/sha256", check->store.blobs_fd, "", "blob", &check->blobs, &check->sum.blobs },
        { "layers", check->store.layers_fd, ".erofs", "layer", &check->layers, &check->sum.layers },
    };
    if (visit_files(check, &index, visit_index, err) < 0 ||
        users_visit(check->options->root, &workloads, err) < 0)
        return -1;
    marks_sort(&check->blobs);
    marks_sort(&check->layers);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (visit_files(check, &places[i], visit_content, err) < 0)
            return -1;
    if (check_links(check, links_are_right(&check->store, lock), err) < 0)
        return -1;
    return staging_visit_left(&check->store, visit_temporary, check, err);
}

/* --- repair ----------------------------------------------------------------------------------- */

/* Of an index entry that is wrong, the file goes: another of the same name may be right. */
static bool is_broken(const struct check *check, const char *name)
{
    for (size_t i = 0; i < check->findings.count; i++) {
        const struct finding *finding = &check->findings.list[i];
        bool whole = finding_is_mendable(finding) && finding->kind != FINDING_ENTRY;
        for (size_t n = 0; whole && n < finding->image_count; n++)
            if (strcmp(finding->images[n], name) == 0)
                return true;
    }
    return false;
}

/* Names go before what they lead to, so that a power cut leaves no name without content. */
static int remove_images(const struct check *check, struct error *err)
{
    for (size_t i = 0; i < check->entries.count; i++) {
        char name[CHECK_NAME];
        const struct index_entry *entry = &check->entries.entries[i];
        if (is_broken(check, check_name_of(entry, name)) &&
            links_remove_name(&check->store, entry, err) < 0)
            return -1;
    }
    if (fsync(check->store.index_fd) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot sync the image store");
    return 0;
}

static int repair(const struct check *check, int lock, struct error *unlinked, struct error *err)
{
    int64_t bytes = 0;
    if (links_begin_change(&check->store, lock, err) < 0 || remove_images(check, err) < 0)
        return -1;
    for (size_t i = 0; i < check->findings.count; i++) {
        const struct finding *finding = &check->findings.list[i];
        if (finding->file && tree_remove(finding->dir_fd, finding->file) < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot remove %s", finding->object);
    }
    return collect_garbage(&check->store, lock, check->options->root, &bytes, unlinked, err);
}

/* --- the whole -------------------------------------------------------------------------------- */

static void release(int *lock)
{
    cleanup_close(lock);
    *lock = -1;
}

/*
 * What a repair does not mend, or brings about, is a finding of its own: links that cannot be made,
 * and a workload of which a layer was removed.
 */
static int repair_and_look(struct check *check, int lock, struct error *err)
{
    struct error unlinked = { 0 };
    const struct workload_visit workloads = { check_workload, check };
    if (repair(check, lock, &unlinked, err) < 0)
        return -1;
    const struct finding finding = { .kind = FINDING_UNLINKED,
                                     .object = (char *)"links of images",
                                     .dir_fd = -1,
                                     .cause = *unlinked.message ? unlinked.message
                                                                : (char *)"they are not kept" };
    if (!links_are_right(&check->store, lock) && check_blame(check, &finding, NULL, err) < 0)
        return -1;
    return users_visit(check->options->root, &workloads, err);
}

/* Without links a store is sound as well, only slower: they are not asked for, but made. */
static bool is_to_repair(const struct check *check, int lock)
{
    return check->options->repair &&
           (check->findings.count > 0 || !links_are_right(&check->store, lock));
}

static int check_store(struct check *check, struct error *err)
{
    int lock = store_lock(&check->store, err);
    int result = lock < 0 ? -1 : check_structure(check, lock, err);
    if (!check->options->repair) /* reading all takes its time: others need not wait for it */
        release(&lock);
    if (result == 0)
        result = check_content(check, err);
    if (result == 0)
        result = check_name_users(check, err);
    if (result == 0 && is_to_repair(check, lock))
        result = repair_and_look(check, lock, err);
    release(&lock);
    return result;
}

static void check_free(struct check *check)
{
    findings_free(&check->findings);
    index_list_free(&check->entries);
    marks_free(&check->blobs);
    marks_free(&check->layers);
    store_close(&check->store);
}

int check_run(const char *store_path, const struct check_options *options, struct error *err)
{
    struct check check = { .options = options };
    if (access(store_path, F_OK) < 0 && errno == ENOENT) /* which is no reason to make one */
        return findings_print(&check.findings, &check.sum, false, options->json, err);
    if (store_open(store_path, &check.store, err) < 0)
        return -1;
    int result = session_confine(&check.store, options->root, NULL, err);
    if (result == 0)
        result = check_store(&check, err);
    if (result == 0)
        result = findings_print(&check.findings, &check.sum, options->repair, options->json, err);
    check_free(&check);
    return result;
}

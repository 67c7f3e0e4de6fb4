#include "runtime/image/helper/users.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "directory.h"
#include "runtime/image/document.h"

static int cannot_list(const char *root, struct error *err)
{
    return error_set_errno(err, EXIT_OURS, errno, "cannot read %s, where workloads are; try again",
                           root);
}

/* What a workload uses is not known if its state cannot be read: it may be anything. */
static int visit_one(const char *root, int root_fd, const char *id,
                     const struct workload_visit *visit, struct error *err)
{
    int errnum;
    char path[NAME_MAX + 16];
    char printable[200];
    struct error cause = { 0 };
    (void)snprintf(path, sizeof path, "%s/state.json", id);
    _cleanup_json_ json_t *state = document_read(root_fd, path, path, &errnum, &cause);
    if (state)
        return visit->visit(id, state, visit->context, err);
    if (errnum == ENOENT || errnum == ENOTDIR) /* it comes or goes, or is no workload */
        return 0;
    return error_set(
        err, EXIT_OURS,
        "what workload %s uses of the image store is not known: %s, below %s; mend the "
        "file, or remove the workload as far as it is known: hybrid rm -f %s",
        document_printable(id, printable, sizeof printable), cause.message, root, printable);
}

int users_visit(const char *root, const struct workload_visit *visit, struct error *err)
{
    if (!root)
        return error_set(err, EXIT_OURS,
                         "what workloads use of the image store is not known; tell where they are "
                         "(--root)");
    _cleanup_close_ int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* One that was made after this process was confined may not be read, and not be passed over. */
    if (fd < 0 && errno != ENOENT)
        return cannot_list(root, err);
    if (fd < 0)
        return 0;
    _cleanup_closedir_ DIR *directory = directory_open(fd, ".");
    if (!directory)
        return cannot_list(root, err);
    for (const struct dirent *entry; (entry = directory_next(directory));) {
        int result = entry->d_name[0] == '.' ? 0 : visit_one(root, fd, entry->d_name, visit, err);
        if (result != 0)
            return result;
    }
    return errno == 0 ? 0 : cannot_list(root, err);
}

static int add_layers(struct marks *marks, const json_t *layers, struct error *err)
{
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const char *hex = json_string_value(json_array_get(layers, i));
        if (hex && digest_is_hex(hex) && marks_add(marks, hex, err) < 0)
            return -1;
    }
    return 0;
}

static int add_user(const char *id, const json_t *state, void *context, struct error *err)
{
    struct users *users = context;
    const char *image = json_string_value(json_object_get(state, "image"));
    if (add_layers(&users->layers, json_object_get(state, "layers"), err) < 0)
        return -1;
    if (!image)
        return 0;
    if (users->count == users->room) {
        size_t room = users->room ? users->room * 2 : 16;
        void *grown = reallocarray(users->list, room, sizeof *users->list);
        if (!grown)
            return error_set(err, EXIT_OURS, "out of memory");
        users->list = grown;
        users->room = room;
    }
    struct user *user = &users->list[users->count++];
    *user = (struct user){ strdup(id), strdup(image) };
    return user->id && user->image ? 0 : error_set(err, EXIT_OURS, "out of memory");
}

int users_read(const char *root, struct users *users, struct error *err)
{
    const struct workload_visit visit = { add_user, users };
    *users = (struct users){ 0 };
    int result = users_visit(root, &visit, err);
    marks_sort(&users->layers);
    return result;
}

void users_free(struct users *users)
{
    for (size_t i = 0; i < users->count; i++) {
        free(users->list[i].id);
        free(users->list[i].image);
    }
    free(users->list);
    marks_free(&users->layers);
    *users = (struct users){ 0 };
}

const struct user *users_find(const struct users *users, const struct index_entry *entry)
{
    for (size_t i = 0; i < users->count; i++) {
        const char *image = users->list[i].image;
        const char *hex = digest_hex(image);
        if (hex ? strcmp(hex, entry->config) == 0
                : entry->reference && strcmp(image, entry->reference) == 0)
            return &users->list[i];
    }
    return NULL;
}

int users_refuse(const struct users *users, const struct index_entry *entry, struct error *err)
{
    char printable[200];
    const struct user *user = users_find(users, entry);
    if (!user)
        return 0;
    return error_set(err, EXIT_OURS,
                     "image %s is used by workload %s; remove it first (hybrid rm %s) or use -f",
                     entry->reference ? reference_familiar(entry->reference) : user->image,
                     document_printable(user->id, printable, sizeof printable), printable);
}

#include "runtime/image/helper/users.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "runtime/image/document.h"

int users_visit(const char *root, const struct workload_visit *visit, struct error *err)
{
    int fd = root ? open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    /* One that was made after this process was confined may not be read, and not be passed over. */
    if (root && fd < 0 && errno != ENOENT)
        return error_set_errno(err, EXIT_OURS, errno,
                               "cannot read %s, where workloads are; try again", root);
    _cleanup_closedir_ DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    if (!directory)
        return 0;
    for (const struct dirent *entry; (entry = readdir(directory));) {
        char path[NAME_MAX + 16];
        (void)snprintf(path, sizeof path, "%s/state.json", entry->d_name);
        if (entry->d_name[0] == '.' || faccessat(fd, path, R_OK, 0) < 0)
            continue;
        struct error unreadable = { 0 };
        _cleanup_json_ json_t *state = document_read(fd, path, path, NULL, &unreadable);
        int result = state ? visit->visit(entry->d_name, state, visit->context, err) : 0;
        if (result != 0)
            return result;
    }
    return 0;
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

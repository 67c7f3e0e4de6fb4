/* Id mappings, of a user namespace and of a mount. Specification: runtime-spec 1.2,
 * config-linux.md, "User namespace mappings". */
#include "json_read.h"
#include "parse_parts.h"

enum { MAX_MAPS = 340 /* the kernel's, user_namespaces(7) */ };

static int read_map(const json_t *entry, const char *path, struct plan_id_map *map,
                    struct error *err)
{
    int64_t container = -1, host = -1, size = -1;
    if (!json_is_object(entry))
        return error_set(err, EXIT_OURS, "%s must be an object", path);
    if (json_read_integer(entry, path, "containerID", 0, UINT32_MAX - 1, &container, err) < 0 ||
        json_read_integer(entry, path, "hostID", 0, UINT32_MAX - 1, &host, err) < 0 ||
        json_read_integer(entry, path, "size", 1, UINT32_MAX, &size, err) < 0)
        return -1;
    if (container < 0 || host < 0 || size < 0)
        return error_set(err, EXIT_OURS, "%s must have containerID, hostID and size", path);
    *map = (struct plan_id_map){ (uint32_t)container, (uint32_t)host, (uint32_t)size };
    return 0;
}

int parse_maps(struct plan *plan, const json_t *parent, const char *where, const char *key,
               const struct plan_id_map **result, size_t *count, struct error *err)
{
    json_t *entries = NULL;
    if (json_read_array(parent, where, key, &entries, err) < 0)
        return -1;
    size_t index, size = json_array_size(entries);
    if (size > MAX_MAPS)
        return error_set(err, EXIT_OURS, "%s.%s has more than %d ranges, the kernel's limit", where,
                         key, MAX_MAPS);
    struct plan_id_map *maps = plan_allocate(plan, size, sizeof *maps, err);
    if (!maps)
        return -1;
    const json_t *entry;
    json_array_foreach(entries, index, entry)
    {
        char path[64];
        (void)snprintf(path, sizeof path, "%s.%s[%zu]", where, key, index);
        if (read_map(entry, path, &maps[index], err) < 0)
            return -1;
    }
    *result = maps;
    *count = size;
    return 0;
}

/* The workload half of `hybrid inspect`. */
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "workload.h"

int cli_inspect_workload(const struct cli *cli, const char *name, json_t **value, struct error *err)
{
    _cleanup_state_ struct state state = { 0 };
    struct error absent;
    if (state_check_id(name, &absent) < 0)
        return 0;
    _cleanup_free_ char *directory = state_directory(cli->root, name, err);
    if (!directory)
        return -1;
    if (access(directory, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (workload_read(cli, name, &state, err) < 0)
        return -1;
    _cleanup_free_ char *text = state_read_config(cli->root, name, err);
    if (!text)
        return -1;
    json_t *object = state_to_json(&state);
    json_t *config = json_loads(text, 0, NULL);
    if (!object || !config || json_object_set_new(object, "config", config) < 0) {
        json_decref(object);
        return error_set(err, EXIT_OURS, "cannot read the configuration of %s", name);
    }
    *value = object;
    return 1;
}

/* What engines are told of containers. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cleanup.h"
#include "engine.h"
#include "runtime/plan/compose.h"

static void format_time(int64_t seconds, char text[32])
{
    struct tm utc;
    time_t when = (time_t)seconds;
    if (!gmtime_r(&when, &utc) || strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        text[0] = '\0';
}

/* Where its root file system is, as a bundle says it from itself; "": nowhere on the host. */
static int find_rootfs(const struct state *state, const json_t *config, char path[PATH_MAX],
                       struct error *err)
{
    const char *said = json_string_value(json_object_get(json_object_get(config, "root"), "path"));
    bool within = said && *said != '/' && state->bundle;
    int length = snprintf(path, PATH_MAX, "%s%s%s", within ? state->bundle : "", within ? "/" : "",
                          said ? said : "");
    return length < PATH_MAX ? 0
                             : error_set(err, EXIT_OURS, "root.path of %s is too long", state->id);
}

json_t *engine_describe(const struct runtime *runtime, const struct state *state, struct error *err)
{
    _cleanup_free_ char *text = state_read_config(runtime->root, state->id, err);
    json_error_t where;
    json_t *config = text ? plan_load_json(text, &where) : NULL;
    if (text && !config)
        (void)error_set(err, EXIT_OURS, "the configuration of %s: %s", state->id, where.text);
    char rootfs[PATH_MAX];
    if (!config || find_rootfs(state, config, rootfs, err) < 0) {
        json_decref(config);
        return NULL;
    }
    char created[32];
    format_time(state->created, created);
    bool alive = state->status != STATE_STOPPED && state->status != STATE_CREATING;
    json_t *result =
        json_pack("{s:O, s:s, s:s, s:i, s:s?, s:s?, s:s, s:s, s:s*}", "ociVersion",
                  json_object_get(config, "ociVersion"), "id", state->id, "status",
                  state_status_name(state->status), "pid", alive ? (int)state->pid : 0, "bundle",
                  state->bundle ? state->bundle : "", "rootfs", *rootfs ? rootfs : NULL, "created",
                  created, "isolation", state->isolation, "pod", state->pod);
    json_t *annotations = json_object_get(config, "annotations");
    if (json_is_object(annotations))
        (void)json_object_set(result, "annotations", annotations);
    json_decref(config);
    if (!result)
        (void)error_set(err, EXIT_OURS, "out of memory");
    return result;
}

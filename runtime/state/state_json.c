/* The state as JSON: the table of its members. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "state.h"

static const char *const status_names[] = {
    [STATE_CREATING] = "creating", [STATE_CREATED] = "created", [STATE_RUNNING] = "running",
    [STATE_PAUSED] = "paused",     [STATE_STOPPED] = "stopped",
};

enum member_kind {
    MEMBER_TEXT,
    MEMBER_INTEGER,
    MEMBER_INT,
    MEMBER_UINT64,
    MEMBER_FLAG,
    MEMBER_JSON
};

/* pid_t and int are the same for JSON. */
_Static_assert(sizeof(pid_t) == sizeof(int), "pid_t is an int");

static const struct member {
    const char *name;
    enum member_kind kind;
    size_t offset;
} members[] = {
    { "id", MEMBER_TEXT, offsetof(struct state, id) },
    { "image", MEMBER_TEXT, offsetof(struct state, image) },
    { "isolation", MEMBER_TEXT, offsetof(struct state, isolation) },
    { "pod", MEMBER_TEXT, offsetof(struct state, pod) },
    { "bundle", MEMBER_TEXT, offsetof(struct state, bundle) },
    { "pid", MEMBER_INT, offsetof(struct state, pid) },
    { "pidStart", MEMBER_UINT64, offsetof(struct state, pid_start) },
    { "monitorPid", MEMBER_INT, offsetof(struct state, monitor_pid) },
    { "monitorStart", MEMBER_UINT64, offsetof(struct state, monitor_start) },
    { "cgroup", MEMBER_TEXT, offsetof(struct state, cgroup) },
    { "landlock", MEMBER_INT, offsetof(struct state, landlock) },
    { "exited", MEMBER_FLAG, offsetof(struct state, exited) },
    { "exitStatus", MEMBER_INT, offsetof(struct state, exit_status) },
    { "outOfMemory", MEMBER_FLAG, offsetof(struct state, oom) },
    { "warning", MEMBER_TEXT, offsetof(struct state, warning) },
    { "remove", MEMBER_FLAG, offsetof(struct state, remove) },
    { "created", MEMBER_INTEGER, offsetof(struct state, created) },
    { "started", MEMBER_INTEGER, offsetof(struct state, started) },
    { "finished", MEMBER_INTEGER, offsetof(struct state, finished) },
    { "command", MEMBER_JSON, offsetof(struct state, command) },
    { "layers", MEMBER_JSON, offsetof(struct state, layers) },
    { "options", MEMBER_JSON, offsetof(struct state, options) },
    { "policy", MEMBER_JSON, offsetof(struct state, policy) },
};

enum { MEMBER_COUNT = sizeof members / sizeof *members };

const char *state_status_name(enum state_status status)
{
    return status_names[status];
}

static json_t *member_to_json(const struct state *state, const struct member *member)
{
    const void *value = (const char *)state + member->offset;
    switch (member->kind) {
    case MEMBER_TEXT: {
        const char *text = *(const char *const *)value;
        return text ? json_string(text) : json_null();
    }
    case MEMBER_INT:
        return json_integer(*(const int *)value);
    case MEMBER_INTEGER:
        return json_integer(*(const int64_t *)value);
    case MEMBER_UINT64:
        return json_integer((json_int_t) * (const uint64_t *)value);
    case MEMBER_FLAG:
        return json_boolean(*(const bool *)value);
    case MEMBER_JSON: {
        json_t *json = *(json_t *const *)value;
        return json ? json_incref(json) : json_null();
    }
    }
    return NULL;
}

json_t *state_to_json(const struct state *state)
{
    json_t *document = json_object();
    int failed =
        json_object_set_new(document, "status", json_string(state_status_name(state->status)));
    for (size_t i = 0; i < MEMBER_COUNT; i++)
        failed |=
            json_object_set_new(document, members[i].name, member_to_json(state, &members[i]));
    if (failed == 0)
        return document;
    json_decref(document);
    return NULL;
}

/* Returns false if the value has the wrong type. */
static bool member_from_json(json_t *json, struct state *state, const struct member *member)
{
    void *value = (char *)state + member->offset;
    if (!json || json_is_null(json))
        return true;
    switch (member->kind) {
    case MEMBER_TEXT:
        *(char **)value = json_is_string(json) ? strdup(json_string_value(json)) : NULL;
        return *(char **)value != NULL;
    case MEMBER_INT:
        *(int *)value = (int)json_integer_value(json);
        return json_is_integer(json);
    case MEMBER_INTEGER:
        *(int64_t *)value = json_integer_value(json);
        return json_is_integer(json);
    case MEMBER_UINT64:
        *(uint64_t *)value = (uint64_t)json_integer_value(json);
        return json_is_integer(json);
    case MEMBER_FLAG:
        *(bool *)value = json_is_true(json);
        return json_is_boolean(json);
    case MEMBER_JSON:
        *(json_t **)value = json_incref(json);
        return true;
    }
    return false;
}

int state_from_json(const json_t *document, struct state *state, struct error *err)
{
    *state = (struct state){ 0 };
    const char *status = json_string_value(json_object_get(document, "status"));
    size_t known = sizeof status_names / sizeof *status_names;
    size_t i = 0;
    while (status && i < known && strcmp(status_names[i], status) != 0)
        i++;
    if (!status || i == known)
        return error_set(err, EXIT_OURS, "status is missing or unknown");
    state->status = (enum state_status)i;
    for (i = 0; i < MEMBER_COUNT; i++)
        if (!member_from_json(json_object_get(document, members[i].name), state, &members[i]))
            return error_set(err, EXIT_OURS, "%s has the wrong type", members[i].name);
    if (!state->id || !state->isolation)
        return error_set(err, EXIT_OURS, "id or isolation is missing");
    return 0;
}

void state_free(struct state *state)
{
    free(state->id);
    free(state->image);
    free(state->isolation);
    free(state->pod);
    free(state->bundle);
    free(state->cgroup);
    free(state->warning);
    json_decref(state->command);
    json_decref(state->layers);
    json_decref(state->options);
    json_decref(state->policy);
    *state = (struct state){ 0 };
}

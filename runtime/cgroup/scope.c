/* Names of scopes and slices, and properties that a configuration asks for. */
#include "scope.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define PROPERTY_PREFIX "org.systemd.property."
#define DEFAULT_SLICE   "system.slice"

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), size = strlen(end);
    return length >= size && strcmp(text + length - size, end) == 0;
}

bool scope_is_unit_name(const char *name, const char *type)
{
    return strlen(name) < SCOPE_UNIT_SIZE && ends_with(name, type) && *name != '.' &&
           name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                             ":-_.\\@")] == '\0';
}

int scope_expand_slice(const char *slice, char path[PATH_MAX])
{
    size_t used = 0, stem = strlen(slice) - strlen(".slice");
    *path = '\0';
    if (strcmp(slice, "-.slice") == 0)
        return 0;
    if (*slice == '-' || slice[stem - 1] == '-' || strstr(slice, "--"))
        return -1;
    for (size_t i = 1; i <= stem; i++) {
        if (i < stem && slice[i] != '-')
            continue;
        int written = snprintf(path + used, PATH_MAX - used, "%.*s.slice/", (int)i, slice);
        if (written < 0 || (size_t)written >= PATH_MAX - used)
            return -1;
        used += (size_t)written;
    }
    return (int)used;
}

const char *scope_unit_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool scope_path_is(const char *path, const char *slice)
{
    char expected[PATH_MAX];
    const char *unit = scope_unit_of(path);
    int length = scope_is_unit_name(unit, ".scope") && scope_is_unit_name(slice, ".slice")
                     ? scope_expand_slice(slice, expected)
                     : -1;
    return length >= 0 && unit - path == length && memcmp(path, expected, (size_t)length) == 0;
}

static int refuse_path(const char *given, const char *why, struct error *err)
{
    return error_set(err, EXIT_OURS,
                     "linux.cgroupsPath is \"%.200s\", but systemd is to make the cgroup "
                     "(--systemd-cgroup): %s",
                     given, why);
}

/* The parts of SLICE:PREFIX:NAME. Returns 0, or -1 with *err. */
static int read_path(const char *given, const char *id, struct cgroup_scope *scope,
                     struct error *err)
{
    const char *colon = given ? strchr(given, ':') : NULL;
    const char *second = colon ? strchr(colon + 1, ':') : NULL;
    if (given && (!second || strchr(second + 1, ':')))
        return refuse_path(given,
                           "it must then be SLICE:PREFIX:NAME; let the engine use systemd for its "
                           "own cgroups too, or give up --systemd-cgroup",
                           err);
    if (colon && second[1] && ends_with(second, ".slice"))
        return refuse_path(given, "a container is made in a scope, not in a slice", err);
    int slice = colon && colon > given ? snprintf(scope->slice, sizeof scope->slice, "%.*s",
                                                  (int)(colon - given), given)
                                       : snprintf(scope->slice, sizeof scope->slice, DEFAULT_SLICE);
    int prefix = colon ? (int)(second - colon - 1) : 0;
    int unit = given ? snprintf(scope->unit, sizeof scope->unit, "%.*s-%s.scope", prefix, colon + 1,
                                second + 1)
                     : snprintf(scope->unit, sizeof scope->unit, "hybrid-%s.scope", id);
    if (slice < 0 || (size_t)slice >= sizeof scope->slice ||
        !scope_is_unit_name(scope->slice, ".slice"))
        return refuse_path(given, "its first part is not the name of a slice", err);
    if (unit < 0 || (size_t)unit >= sizeof scope->unit ||
        !scope_is_unit_name(scope->unit, ".scope") || (given && !second[1]))
        return refuse_path(given ? given : id, "its other parts make no name of a unit", err);
    return 0;
}

/* --- properties of the configuration ------------------------------------------------------------
 */

/* A quoted string of the GVariant text format without escapes. Returns what follows, or NULL. */
static const char *read_string(const char *text, char *value, size_t size)
{
    char quote = *text;
    const char *end = quote == '\'' || quote == '"' ? strchr(text + 1, quote) : NULL;
    size_t length = end ? (size_t)(end - text - 1) : 0;
    if (!end || length >= size || memchr(text + 1, '\\', length) || memchr(text + 1, '\n', length))
        return NULL;
    memcpy(value, text + 1, length);
    value[length] = '\0';
    return end + 1;
}

/* ['a', 'b'] as a configuration file has it: a b. Returns whether it is one. */
static bool read_strings(const char *text, char *value, size_t size)
{
    size_t used = 0;
    text += strncmp(text, "@as ", 4) == 0 ? 4 : 0;
    if (*text++ != '[')
        return false;
    *value = '\0';
    for (;;) {
        text += strspn(text, " ");
        if (*text == ']')
            return text[1] == '\0';
        if (used > 0)
            value[used++] = ' ';
        text = read_string(text, value + used, size - used - 1);
        if (!text || strpbrk(value + used, " \t"))
            return false;
        used += strlen(value + used);
        text += strspn(text, " ");
        if (*text == ',')
            text++;
        else if (*text != ']')
            return false;
    }
}

/* A number, perhaps after its type. Returns whether it is one. */
static bool read_number(const char *text, char *value, size_t size)
{
    static const char *const types[] = { "byte ",   "int16 ", "uint16 ", "int32 ",
                                         "uint32 ", "int64 ", "uint64 ", "double " };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strncmp(text, types[i], strlen(types[i])) == 0) {
            text += strlen(types[i]);
            break;
        }
    char *end;
    if (!isdigit((unsigned char)*text) && *text != '-')
        return false;
    (void)strtod(text, &end);
    if (end == text || *end || strlen(text) >= size || strpbrk(text, "xXpPiInN"))
        return false;
    (void)snprintf(value, size, "%s", text);
    return true;
}

static bool read_value(const char *text, char *value, size_t size)
{
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
        (void)snprintf(value, size, "%s", text);
        return true;
    }
    const char *rest = read_string(text, value, size);
    return rest ? *rest == '\0' : read_strings(text, value, size) || read_number(text, value, size);
}

/*
 * One annotation as an assignment of a unit file, malloc'd, or NULL with *err. On systemd's bus,
 * times are called ...USec and counted in microseconds; in unit files they are called ...Sec and
 * say their unit. Engines' users write either, and mean seconds by the second.
 */
static char *make_property(const char *name, const char *text, struct error *err)
{
    char value[1024] = "";
    char *result = NULL;
    size_t letters = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
    bool micro = ends_with(name, "USec"), seconds = !micro && ends_with(name, "Sec");
    if (letters < 3 || name[letters] || !text || !read_value(text, value, sizeof value)) {
        (void)error_set(err, EXIT_OURS,
                        "annotations: " PROPERTY_PREFIX
                        "%.80s: it must name a property of systemd's "
                        "and be true, false, a number (with its type or without), a 'string' or "
                        "['strings']",
                        name);
        return NULL;
    }
    bool number = *value && value[strspn(value, "0123456789.")] == '\0';
    if (asprintf(&result, "%.*s%s=%s%s", (int)(micro ? letters - 4 : letters), name,
                 micro ? "Sec" : "", value,
                 micro && number     ? "us"
                 : seconds && number ? "s"
                                     : "") < 0) {
        (void)error_set(err, EXIT_OURS, "out of memory");
        return NULL;
    }
    return result;
}

/*
 * What can be set: how the unit ends and is forgotten, and what engines themselves write
 * (containerd Delegate, CRI-O the two after it). Others start, stop and order units,
 * reboot the host or take from other containers, and an annotation need not be the engine's: some
 * pass on those of images and pods.
 */
static const struct {
    const char *name, *only; /* only: the one value that it can have; NULL: any */
} allowed[] = {
    { "CollectMode", NULL },           { "TimeoutStopUSec", NULL }, { "TimeoutStopSec", NULL },
    { "RuntimeMaxUSec", NULL },        { "RuntimeMaxSec", NULL },   { "Delegate", "true" },
    { "DefaultDependencies", "true" }, { "After", "crio.service" },
};

static bool is_allowed(const char *name, const char *property)
{
    const char *value = strchr(property, '=') + 1;
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        if (strcmp(name, allowed[i].name) == 0)
            return !allowed[i].only || strcmp(value, allowed[i].only) == 0;
    return false;
}

static int add_property(const char *name, const char *text, struct cgroup_scope *scope,
                        struct error *err)
{
    size_t count = 0;
    while (scope->properties[count])
        count++;
    scope->properties[count] = make_property(name, text, err);
    if (!scope->properties[count])
        return -1;
    if (is_allowed(name, scope->properties[count]))
        return 0;
    return error_set(err, EXIT_OURS,
                     "annotations: " PROPERTY_PREFIX
                     "%.80s: this property, or this value of it, is not one that a container may "
                     "have (it could reach other units); remove the annotation, hybrid(1), "
                     "SYSTEMD, lists those that it may",
                     name);
}

static int read_properties(const json_t *annotations, struct cgroup_scope *scope, struct error *err)
{
    const char *key;
    json_t *value;
    scope->properties = calloc(json_object_size(annotations) + 1, sizeof *scope->properties);
    if (!scope->properties)
        return error_set(err, EXIT_OURS, "out of memory");
    json_object_foreach((json_t *)annotations, key, value)
    {
        if (strncmp(key, PROPERTY_PREFIX, strlen(PROPERTY_PREFIX)) == 0 &&
            add_property(key + strlen(PROPERTY_PREFIX), json_string_value(value), scope, err) < 0)
            return -1;
    }
    return 0;
}

int cgroup_scope_make(const char *cgroups_path, const char *id, const json_t *annotations,
                      struct cgroup_scope *scope, struct error *err)
{
    *scope = (struct cgroup_scope){ .properties = NULL };
    if (read_path(cgroups_path, id, scope, err) < 0)
        return -1;
    int length = scope_expand_slice(scope->slice, scope->path);
    if (length < 0)
        return refuse_path(cgroups_path, "its first part is not the name of a slice", err);
    (void)snprintf(scope->path + length, sizeof scope->path - (size_t)length, "%s", scope->unit);
    (void)snprintf(scope->description, sizeof scope->description, "container %.128s of hybrid", id);
    return read_properties(annotations, scope, err);
}

void cgroup_scope_free(struct cgroup_scope *scope)
{
    for (char **property = scope->properties; property && *property; property++)
        free(*property);
    free(scope->properties);
    scope->properties = NULL;
}

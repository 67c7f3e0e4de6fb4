#include "runtime/image/helper/change.h"

#include <string.h>
#include <strings.h>

#include "cleanup.h"
#include "runtime/image/document.h"
#include "runtime/plan/compose.h"

/* What an instruction does to its member of the configuration; text is what follows its name. */
typedef int change_function(json_t *config, const char *member, const char *text,
                            struct error *err);

static int set(json_t *config, const char *member, json_t *value, struct error *err)
{
    return value && json_object_set_new(config, member, value) == 0
               ? 0
               : error_set(err, EXIT_OURS, "it is not valid UTF-8");
}

/* The member as an object or array, made if absent. Borrowed; NULL with *err. */
static json_t *member_of(json_t *config, const char *member, json_t *(*make)(void),
                         struct error *err)
{
    if (!json_object_get(config, member) && set(config, member, make(), err) < 0)
        return NULL;
    return json_object_get(config, member);
}

/* A JSON array of strings, or NULL: text is not of this form. */
static json_t *parse_list(const char *text)
{
    json_t *list = *text == '[' ? document_parse(text, strlen(text), "", NULL) : NULL;
    bool strings = json_is_array(list);
    for (size_t i = 0; i < json_array_size(list); i++)
        strings = strings && json_is_string(json_array_get(list, i));
    if (strings)
        return list;
    json_decref(list);
    return NULL;
}

static int set_command(json_t *config, const char *member, const char *text, struct error *err)
{
    json_t *list = parse_list(text);
    return set(config, member, list ? list : json_pack("[s, s, s]", "/bin/sh", "-c", text), err);
}

static int set_text(json_t *config, const char *member, const char *text, struct error *err)
{
    return set(config, member, json_string(text), err);
}

static int set_directory(json_t *config, const char *member, const char *text, struct error *err)
{
    return text[0] == '/' ? set_text(config, member, text, err)
                          : error_set(err, EXIT_OURS, "it is not an absolute path");
}

/* NAME=VALUE, or as Docker once wrote it, NAME VALUE. Quotes around the whole value go. */
static int split_pair(const char *text, char **name, char **value, struct error *err)
{
    size_t length = strcspn(text, "= \t");
    const char *rest = text + length;
    if (length == 0 || !*rest) {
        (void)error_set(err, EXIT_OURS, "it is not NAME=VALUE");
        return -1;
    }
    rest = *rest == '=' ? rest + 1 : rest + strspn(rest, " \t");
    size_t size = strlen(rest);
    bool quoted = size >= 2 && rest[0] == '"' && rest[size - 1] == '"';
    *name = strndup(text, length);
    *value = strndup(rest + quoted, size - 2 * (size_t)quoted);
    if (*name && *value)
        return 0;
    (void)error_set(err, EXIT_OURS, "out of memory");
    return -1;
}

static int add_variable(json_t *config, const char *member, const char *text, struct error *err)
{
    _cleanup_free_ char *name = NULL;
    _cleanup_free_ char *value = NULL;
    _cleanup_free_ char *variable = NULL;
    json_t *list = member_of(config, member, json_array, err);
    if (!list || split_pair(text, &name, &value, err) < 0)
        return -1;
    if (asprintf(&variable, "%s=%s", name, value) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    for (size_t i = json_array_size(list); i-- > 0;) {
        const char *other = json_string_value(json_array_get(list, i));
        if (strncmp(other, variable, strlen(name) + 1) == 0)
            (void)json_array_remove(list, i);
    }
    return json_array_append_new(list, json_string(variable)) == 0
               ? 0
               : error_set(err, EXIT_OURS, "it is not valid UTF-8");
}

static int add_label(json_t *config, const char *member, const char *text, struct error *err)
{
    _cleanup_free_ char *name = NULL;
    _cleanup_free_ char *value = NULL;
    json_t *labels = member_of(config, member, json_object, err);
    if (!labels || split_pair(text, &name, &value, err) < 0)
        return -1;
    return set(labels, name, json_string(value), err);
}

static int add_volume(json_t *config, const char *member, const char *text, struct error *err)
{
    json_t *volumes = member_of(config, member, json_object, err);
    json_t *list = parse_list(text);
    int result = volumes ? 0 : -1;
    if (result == 0 && !list)
        result = set(volumes, text, json_object(), err);
    for (size_t i = 0; result == 0 && i < json_array_size(list); i++)
        result = set(volumes, json_string_value(json_array_get(list, i)), json_object(), err);
    json_decref(list);
    return result;
}

static int add_port(json_t *config, const char *member, const char *text, struct error *err)
{
    char port[32];
    size_t digits = strspn(text, "0123456789");
    const char *protocol = text[digits] ? text + digits : "/tcp";
    if (digits == 0 || digits > 5 ||
        (strcmp(protocol, "/tcp") != 0 && strcmp(protocol, "/udp") != 0 &&
         strcmp(protocol, "/sctp") != 0))
        return error_set(err, EXIT_OURS, "it is not PORT[/tcp|/udp|/sctp]");
    (void)snprintf(port, sizeof port, "%.*s%s", (int)digits, text, protocol);
    json_t *ports = member_of(config, member, json_object, err);
    return ports ? set(ports, port, json_object(), err) : -1;
}

static const struct {
    const char *name, *member;
    change_function *apply;
} instructions[] = {
    { "CMD", "Cmd", set_command },
    { "ENTRYPOINT", "Entrypoint", set_command },
    { "ENV", "Env", add_variable },
    { "EXPOSE", "ExposedPorts", add_port },
    { "LABEL", "Labels", add_label },
    { "STOPSIGNAL", "StopSignal", set_text },
    { "USER", "User", set_text },
    { "VOLUME", "Volumes", add_volume },
    { "WORKDIR", "WorkingDir", set_directory },
};
enum { INSTRUCTIONS = sizeof instructions / sizeof *instructions };

static int refuse(const char *word, struct error *err)
{
    char printable[60];
    const char *names[INSTRUCTIONS + 1] = { NULL };
    for (size_t i = 0; i < INSTRUCTIONS; i++)
        names[i] = instructions[i].name;
    const char *nearest = nearest_name(word, names);
    document_printable(word, printable, sizeof printable);
    if (nearest)
        return error_set(err, EXIT_OURS, "--change: unknown instruction %s; did you mean %s?",
                         printable, nearest);
    return error_set(err, EXIT_OURS,
                     "--change: unknown instruction %s; there are CMD, ENTRYPOINT, ENV, EXPOSE, "
                     "LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR",
                     printable);
}

int change_apply(json_t *config, const char *instruction, struct error *err)
{
    char word[40];
    char printable[200];
    struct error cause = { 0 };
    const char *at = instruction + strspn(instruction, " \t");
    size_t length = strcspn(at, " \t");
    (void)snprintf(word, sizeof word, "%.*s", (int)length, at);
    at += length;
    at += strspn(at, " \t");
    size_t i = 0;
    while (i < INSTRUCTIONS && strcasecmp(instructions[i].name, word) != 0)
        i++;
    if (i == INSTRUCTIONS)
        return refuse(word, err);
    if (!*at)
        return error_set(err, EXIT_OURS, "--change: %s needs a value", instructions[i].name);
    if (instructions[i].apply(config, instructions[i].member, at, &cause) == 0)
        return 0;
    return error_set(err, EXIT_OURS, "--change: %s %s: %s", instructions[i].name,
                     document_printable(at, printable, sizeof printable), cause.message);
}

#include "env.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

/* Takes text over. */
static int add(struct env *env, char *text, struct error *err)
{
    size_t count = env->list.count;
    if ((count & (count - 1)) == 0) { /* full whenever it is a power of two */
        size_t room = count ? count * 2 : 1;
        const char **values = realloc(env->list.values, room * sizeof *values);
        if (values)
            env->list.values = values;
        char **owned = values ? realloc(env->owned, room * sizeof *owned) : NULL;
        if (owned)
            env->owned = owned;
        if (!values || !owned)
            text = (free(text), NULL);
    }
    if (!text)
        return error_set(err, EXIT_OURS, "out of memory");
    env->owned[env->owned_count++] = text;
    env->list.values[env->list.count++] = text;
    return 0;
}

/* NAME alone takes the caller's value. */
static char *resolve(const char *text)
{
    const char *value = strchr(text, '=') ? NULL : getenv(text);
    char *resolved = NULL;
    if (!value)
        return strdup(text);
    return asprintf(&resolved, "%s=%s", text, value) < 0 ? NULL : resolved;
}

/* One line: blank ones and those that begin with "#" say nothing; values are taken literally. */
static int read_line(struct env *env, const char *line, const char *path, unsigned int number,
                     struct error *err)
{
    while (isspace((unsigned char)*line))
        line++;
    if (!*line || *line == '#')
        return 0;
    size_t name = strcspn(line, "=");
    if (name == 0)
        return error_set(err, EXIT_OURS, "--env-file %s, line %u: no name before the =", path,
                         number);
    for (size_t i = 0; i < name; i++)
        if (isspace((unsigned char)line[i]))
            return error_set(err, EXIT_OURS,
                             "--env-file %s, line %u: the name \"%.*s\" contains white space", path,
                             number, (int)(name < 80 ? name : 80), line);
    if (!line[name] && !getenv(line))
        return 0; /* as Docker: not set here, not set there */
    return add(env, resolve(line), err);
}

static int read_file(struct env *env, const char *path, struct error *err)
{
    static const char byte_order_mark[] = "\xef\xbb\xbf";
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    if (!file)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open --env-file %s", path);
    _cleanup_free_ char *line = NULL;
    size_t room = 0;
    ssize_t length;
    for (unsigned int number = 1; (length = getline(&line, &room, file)) >= 0; number++) {
        if (strlen(line) != (size_t)length)
            return error_set(err, EXIT_OURS, "--env-file %s, line %u: contains a NUL byte", path,
                             number);
        while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r'))
            line[--length] = '\0';
        const char *text = line;
        if (number == 1 && strncmp(line, byte_order_mark, 3) == 0)
            text += 3;
        if (read_line(env, text, path, number, err) < 0)
            return -1;
    }
    if (ferror(file))
        return error_set_errno(err, EXIT_OURS, errno, "cannot read --env-file %s", path);
    return 0;
}

int env_read(const struct option_list *options, const struct option_list *files, struct env *env,
             struct error *err)
{
    *env = (struct env){ 0 };
    for (size_t i = 0; i < files->count; i++)
        if (read_file(env, files->values[i], err) < 0)
            return -1;
    for (size_t i = 0; i < options->count; i++)
        if (add(env, resolve(options->values[i]), err) < 0)
            return -1;
    return 0;
}

void env_free(struct env *env)
{
    for (size_t i = 0; i < env->owned_count; i++)
        free(env->owned[i]);
    free(env->owned);
    free(env->list.values);
    *env = (struct env){ 0 };
}

/* Parsing one verb's options, as getopt_long(3) users expect. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

enum { MAX_OPTION_NAMES = 128 };

const char *const cli_formats[] = { "table", "json", NULL };

static const struct cli_option *find_letter(const struct verb *verb, char letter)
{
    for (const struct cli_option *option = verb->options; option && option->name; option++)
        if (option->letter == letter)
            return option;
    return NULL;
}

static const struct cli_option *find_name(const struct verb *verb, const char *name, size_t length)
{
    for (const struct cli_option *option = verb->options; option && option->name; option++)
        if (strlen(option->name) == length && memcmp(option->name, name, length) == 0)
            return option;
    return NULL;
}

/* option: as it was written, as far as it is one. Options before a verb have none to be told of. */
static int refuse_option(const struct verb *verb, const char *option, struct error *err)
{
    const char *name = verb->name;
    return error_set(err, EXIT_OURS, "%s%sunknown option %s; `hybrid%s%s --help` lists them",
                     name ? name : "", name ? ": " : "", option, name ? " " : "", name ? name : "");
}

static int refuse_unknown(const struct verb *verb, const char *name, size_t length,
                          struct error *err)
{
    char dashed[64];
    (void)snprintf(dashed, sizeof dashed, "--%.*s", (int)length, name);
    const char *names[MAX_OPTION_NAMES] = { NULL };
    size_t count = 0;
    for (const struct cli_option *option = verb->options; option && option->name; option++)
        if (option->kind != CLI_REFUSED && count < MAX_OPTION_NAMES - 1)
            names[count++] = option->name;
    const char *nearest = nearest_name(dashed + 2, names);
    if (nearest)
        return error_set(err, EXIT_OURS, "%s%sunknown option %s; did you mean --%s?",
                         verb->name ? verb->name : "", verb->name ? ": " : "", dashed, nearest);
    return refuse_option(verb, dashed, err);
}

static int refuse_choice(const struct cli_option *option, const char *value, struct error *err)
{
    const char *nearest = nearest_name(value, option->choices);
    if (nearest)
        return error_set(err, EXIT_OURS, "--%s: unknown value \"%.80s\"; did you mean \"%s\"?",
                         option->name, value, nearest);
    char list[256] = "";
    for (size_t i = 0; option->choices[i]; i++) {
        size_t used = strlen(list);
        (void)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", option->choices[i]);
    }
    return error_set(err, EXIT_OURS, "--%s: \"%.80s\" is not supported; valid: %s", option->name,
                     value, list);
}

static int set_flag(const struct cli_option *option, const char *value, bool *target,
                    struct error *err)
{
    if (!value || strcmp(value, "true") == 0 || strcmp(value, "1") == 0)
        *target = true;
    else if (strcmp(value, "false") == 0 || strcmp(value, "0") == 0)
        *target = false;
    else
        return error_set(err, EXIT_OURS, "--%s: \"%.80s\" is neither true nor false", option->name,
                         value);
    return 0;
}

static int set_number(const struct cli_option *option, const char *value, int64_t *target,
                      struct error *err)
{
    char *end;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    bool digits = (*value >= '0' && *value <= '9') || (*value == '-' && end > value + 1);
    if (!digits || *end || errno == ERANGE || number < option->minimum ||
        number > option->maximum) {
        if (option->maximum == INT64_MAX)
            return error_set(err, EXIT_OURS,
                             "--%s: \"%.80s\" is not a whole number of %lld or more", option->name,
                             value, (long long)option->minimum);
        return error_set(err, EXIT_OURS, "--%s: \"%.80s\" is not a whole number from %lld to %lld",
                         option->name, value, (long long)option->minimum,
                         (long long)option->maximum);
    }
    *target = number;
    return 0;
}

static int set_decimal(const struct cli_option *option, const char *value, double *target,
                       struct error *err)
{
    char *end;
    /* Only plain decimals: strtod also takes "nan", "inf" and hexadecimal. */
    if (!*value || strspn(value, "0123456789.") != strlen(value))
        return error_set(err, EXIT_OURS, "--%s: \"%.80s\" is not a number such as 1.5",
                         option->name, value);
    double number = strtod(value, &end);
    if (*end || end == value)
        return error_set(err, EXIT_OURS, "--%s: \"%.80s\" is not a number such as 1.5",
                         option->name, value);
    *target = number;
    return 0;
}

static int append(const char *value, struct option_list *list, struct error *err)
{
    /* Grown by doubling: full whenever the count is a power of two. */
    if ((list->count & (list->count - 1)) == 0) {
        size_t room = list->count ? list->count * 2 : 1;
        const char **grown = realloc(list->values, room * sizeof *grown);
        if (!grown)
            return error_set(err, EXIT_OURS, "cannot parse the options: out of memory");
        list->values = grown;
    }
    list->values[list->count++] = value;
    return 0;
}

/* value NULL: an option without one. */
static int set(const struct cli_option *option, const char *value, void *settings,
               struct error *err)
{
    void *target = (char *)settings + option->offset;
    switch (option->kind) {
    case CLI_FLAG:
        return set_flag(option, value, target, err);
    case CLI_TEXT:
        *(const char **)target = value;
        return 0;
    case CLI_LIST:
        return append(value, target, err);
    case CLI_CHOICE:
        for (size_t i = 0; option->choices[i]; i++)
            if (strcmp(option->choices[i], value) == 0) {
                *(const char **)target = option->choices[i];
                return 0;
            }
        return refuse_choice(option, value, err);
    case CLI_SIZE: {
        char what[64];
        (void)snprintf(what, sizeof what, "--%s", option->name);
        int64_t bytes = size_parse(value, what, err);
        if (bytes < 0)
            return -1;
        *(int64_t *)target = bytes;
        return 0;
    }
    case CLI_NUMBER:
        return set_number(option, value, target, err);
    case CLI_DECIMAL:
        return set_decimal(option, value, target, err);
    case CLI_REFUSED:
        return error_set(err, EXIT_OURS, "--%s is not supported: %s", option->name, option->help);
    }
    return error_set(err, EXIT_OURS, "--%s: option of unknown kind", option->name);
}

static int refuse_missing(const struct cli_option *option, struct error *err)
{
    return error_set(err, EXIT_OURS, "--%s needs a value: --%s=%s", option->name, option->name,
                     option->argument ? option->argument : "VALUE");
}

/* "--name", "--name=value", "--name value". *next is the argument after it. Returns as cli_parse.
 */
static int parse_long(const struct verb *verb, const char *text, char ***next, void *settings,
                      struct error *err)
{
    size_t length = strcspn(text, "=");
    const char *value = text[length] == '=' ? text + length + 1 : NULL;
    if (length == 4 && memcmp(text, "help", 4) == 0 && !value)
        return 1;
    const struct cli_option *option = find_name(verb, text, length);
    if (!option)
        return refuse_unknown(verb, text, length, err);
    if (option->kind != CLI_FLAG && option->kind != CLI_REFUSED && !value) {
        value = **next;
        if (!value)
            return refuse_missing(option, err);
        (*next)++;
    }
    return set(option, value, settings, err);
}

/* "-it", "-eNAME=VALUE", "-e NAME=VALUE", "-m=64m". Returns as cli_parse. */
static int parse_letters(const struct verb *verb, const char *letters, char ***next, void *settings,
                         struct error *err)
{
    for (const char *at = letters; *at; at++) {
        const struct cli_option *option = find_letter(verb, *at);
        if (!option && *at == 'h')
            return 1;
        if (!option)
            return refuse_option(verb, (const char[]){ '-', *at, '\0' }, err);
        const char *value = NULL;
        bool takes_value = option->kind != CLI_FLAG && option->kind != CLI_REFUSED;
        if (takes_value && at[1]) {
            value = at[1] == '=' ? at + 2 : at + 1;
        } else if (takes_value) {
            value = **next;
            if (!value)
                return refuse_missing(option, err);
            (*next)++;
        }
        if (set(option, value, settings, err) < 0)
            return -1;
        if (takes_value)
            return 0;
    }
    return 0;
}

/* "-name" and "-name=value" of a verb that takes them; letters stay letters. */
static bool has_single_dash(const struct verb *verb, const char *text)
{
    size_t length = text[0] == '-' && text[1] ? strcspn(text + 1, "=") : 0;
    return verb->single_dash && length > 1 && find_name(verb, text + 1, length);
}

static int check_operands(const struct verb *verb, size_t count, struct error *err)
{
    if (count < (size_t)verb->min_operands)
        return error_set(err, EXIT_OURS, "%s: too few arguments; usage: hybrid %s %s", verb->name,
                         verb->name, verb->synopsis);
    if (verb->max_operands >= 0 && count > (size_t)verb->max_operands)
        return error_set(err, EXIT_OURS, "%s: too many arguments; usage: hybrid %s %s", verb->name,
                         verb->name, verb->synopsis);
    return 0;
}

int cli_parse(const struct verb *verb, char **arguments, void *settings, size_t *operand_count,
              struct error *err)
{
    if (verb->defaults)
        memcpy(settings, verb->defaults, verb->settings_size);
    else
        memset(settings, 0, verb->settings_size);
    char **next = arguments;
    size_t count = 0;
    bool options = true;
    while (*next) {
        char *text = *next++;
        if (options && strcmp(text, "--") == 0) {
            options = false;
            continue;
        }
        int result = 0;
        if (options && strncmp(text, "--", 2) == 0) {
            result = parse_long(verb, text + 2, &next, settings, err);
        } else if (options && has_single_dash(verb, text)) {
            result = parse_long(verb, text + 1, &next, settings, err);
        } else if (options && text[0] == '-' && text[1]) {
            result = parse_letters(verb, text + 1, &next, settings, err);
        } else {
            arguments[count++] = text; /* never beyond what was read */
            options = options && !verb->operand_ends_options;
        }
        if (result != 0)
            return result;
    }
    arguments[count] = NULL;
    *operand_count = count;
    return check_operands(verb, count, err);
}

bool cli_is_given(const struct verb *verb, const struct cli_option *option, const void *settings)
{
    static const struct option_list none;
    const void *value = (const char *)settings + option->offset;
    const void *standard = verb->defaults ? (const char *)verb->defaults + option->offset : NULL;
    switch (option->kind) {
    case CLI_FLAG:
        return *(const bool *)value != (standard && *(const bool *)standard);
    case CLI_TEXT:
    case CLI_CHOICE:
        return *(const char *const *)value != (standard ? *(const char *const *)standard : NULL);
    case CLI_LIST:
        return ((const struct option_list *)value)->count !=
               ((const struct option_list *)(standard ? standard : &none))->count;
    case CLI_SIZE:
    case CLI_NUMBER:
        return *(const int64_t *)value != (standard ? *(const int64_t *)standard : 0);
    case CLI_DECIMAL:
        return *(const double *)value != (standard ? *(const double *)standard : 0);
    case CLI_REFUSED:
        break;
    }
    return false;
}

void cli_settings_free(const struct verb *verb, void *settings)
{
    for (const struct cli_option *option = verb->options; option && option->name; option++) {
        struct option_list *list = (void *)((char *)settings + option->offset);
        if (option->kind != CLI_LIST)
            continue;
        free(list->values);
        *list = (struct option_list){ 0 };
    }
}

/*
 * The command line: one table of verbs, one table of options a verb. A verb is one file, cmd_*.c,
 * which defines a `const struct verb verb_NAME`; verbs.c lists them. Nothing here knows what a
 * workload or an image is.
 */
#ifndef HYBRID_CLI_H
#define HYBRID_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "error.h"
#include "runtime/plan/compose.h"
#include "runtime/runtime.h"

/* What every verb is given. */
struct cli {
    struct runtime runtime;
    const struct verb *verb;
    bool debug; /* --debug */
    FILE *out;  /* standard output; main() checks at the end that all was written */
};

/* What an option's argument is, and the type of the member of the settings that receives it. */
enum cli_kind {
    CLI_FLAG,    /* bool; --name, --name=true, --name=false */
    CLI_TEXT,    /* const char *, borrowed from the command line; the last one counts */
    CLI_LIST,    /* struct option_list: every one counts, in order */
    CLI_CHOICE,  /* const char *: one of `choices` */
    CLI_SIZE,    /* int64_t: bytes, written as size_parse reads them */
    CLI_NUMBER,  /* int64_t: decimal, minimum to maximum */
    CLI_DECIMAL, /* double, 0 or more */
    CLI_REFUSED, /* Docker has it, hybrid does not: `help` says why, or what to do instead */
};

struct cli_option {
    const char *name; /* without "--"; NULL ends the table */
    char letter;      /* 0: none */
    enum cli_kind kind;
    const char *argument; /* its name in the help, "NAME"; NULL for CLI_FLAG */
    const char *help;     /* one sentence without full stop; CLI_REFUSED: the remedy */
    size_t offset;        /* of the member in the verb's settings: offsetof(struct ..., ...) */
    const char *const *choices; /* CLI_CHOICE: ends with NULL */
    int64_t minimum, maximum;   /* CLI_NUMBER */
};

/* Entries of an option table, for options that need no more; `settings` is the verb's struct. */
#define CLI_OPTION(of_kind, settings, member, long_name, short_name, argument_name, text)          \
    {                                                                                              \
        .name = (long_name), .letter = (short_name), .kind = (of_kind),                            \
        .argument = (argument_name), .offset = offsetof(settings, member), .help = (text)          \
    }
#define CLI_OPTION_FLAG(settings, member, long_name, short_name, text)                             \
    CLI_OPTION(CLI_FLAG, settings, member, long_name, short_name, NULL, text)
#define CLI_OPTION_CHOICE(settings, member, long_name, argument_name, list, text)                  \
    {                                                                                              \
        .name = (long_name), .kind = CLI_CHOICE, .argument = (argument_name),                      \
        .offset = offsetof(settings, member), .choices = (list), .help = (text)                    \
    }
#define CLI_OPTION_REFUSED(long_name, short_name, text)                                            \
    {                                                                                              \
        .name = (long_name), .letter = (short_name), .kind = CLI_REFUSED, .help = (text)           \
    }

enum cli_group { CLI_GROUP_WORKLOADS, CLI_GROUP_IMAGES, CLI_GROUP_ENGINES, CLI_GROUP_OTHER };

struct verb {
    const char *name;
    enum cli_group group;
    const char *synopsis;    /* what follows the name: "[OPTIONS] NAME [NAME...]" */
    const char *summary;     /* one line for `hybrid --help`, without full stop */
    const char *description; /* paragraphs for `hybrid NAME --help`; NULL: the summary alone */
    const char *examples;    /* lines; NULL: none */
    const struct cli_option *options;
    size_t settings_size;           /* of the struct that the options write into */
    const void *defaults;           /* its initial content; NULL: zeroes */
    int min_operands, max_operands; /* max -1: any number */
    bool operand_ends_options;      /* what follows the first operand is a command (run, exec) */
    bool single_dash;               /* -name means --name too, as Go's flag package has it */
    bool joins_workload;            /* runs from a read-only copy of itself (CVE-2019-5736) */
    /* Refuses what can be refused before that copy is made, which may fail for the same reason and
     * not say so; NULL: nothing. Returns 0, or -1 with *err. */
    int (*check)(const struct cli *cli, const void *settings, struct error *err);
    /* Returns the exit status 0..255, or -1 with *err. operands ends with NULL. */
    int (*run)(const struct cli *cli, const void *settings, char **operands, size_t count,
               struct error *err);
};

/* All verbs, in the order of the help; ends with NULL. */
extern const struct verb *const cli_verbs[];

/*
 * Parses the arguments after the verb. *settings (verb->settings_size bytes) is filled; operands
 * are moved to the front of `arguments`, in order, and *operand_count says how many they are.
 * arguments ends with NULL. Returns 0, 1 if --help was asked for, or -1 with *err (125) naming the
 * nearest valid option or value.
 */
int cli_parse(const struct verb *verb, char **arguments, void *settings, size_t *operand_count,
              struct error *err);

/* Whether an option has another value than the verb's default. */
bool cli_is_given(const struct verb *verb, const struct cli_option *option, const void *settings);

/* Frees the lists that cli_parse allocated. */
void cli_settings_free(const struct verb *verb, void *settings);

/* --help of everything, and of one verb. */
void cli_print_overview(FILE *out);
void cli_print_help(const struct verb *verb, FILE *out);

/* Things that a verb lists. The functions are given `things`, and the number of one of them. */
struct cli_listing {
    const void *things;
    size_t count;
    const char *const *heading;
    size_t columns;
    /* Makes the cells of a row, malloc'd. One that stays NULL is empty. */
    void (*fill_row)(const void *things, size_t number, char **cells);
    /* A new reference. NULL: out of memory. */
    json_t *(*describe)(const void *things, size_t number);
    /* What -q prints of it: one line. */
    void (*print_name)(FILE *out, const void *things, size_t number);
};

/* Prints all of them as one of cli_formats, or only their names. Returns 0, or -1 with *err. */
int cli_print_listing(FILE *out, const struct cli_listing *listing, const char *format,
                      bool names_only, struct error *err);

/* Prints JSON, indented, with a newline at its end. */
void cli_print_json(FILE *out, const json_t *value);

/* "3 minutes ago" as Docker's tables say it; seconds since the epoch. */
void cli_print_age(int64_t then, int64_t now, char *text, size_t size);

/* Bytes as Docker prints sizes: three significant digits in powers of 1000. */
void cli_print_size(int64_t bytes, char *text, size_t size);

/* Seconds since the epoch of an RFC 3339 time, zone and fraction included; 0: none or malformed. */
int64_t cli_parse_time(const char *text);

/*
 * Calls one for each name; an error is printed and logged and does not stop the others. Prints each
 * name that succeeded if asked to. Returns 0, or 125 if one failed.
 */
int cli_each(const struct cli *cli, char **names, size_t count, bool print,
             int (*one)(const struct cli *cli, const char *name, const void *context,
                        struct error *err),
             const void *context);

/* Prints "hybrid: MESSAGE" on standard error at once. */
void cli_warn(const char *message);

/*
 * For the workload half of `inspect`: the JSON of the workload called `name` (new reference).
 * Returns 1 if there is one, 0 if not, -1 with *err.
 */
int cli_inspect_workload(const struct cli *cli, const char *name, json_t **value,
                         struct error *err);

/*
 * Likewise, for `inspect --security`: what the kernel says of its processes. A workload that is not
 * running is an error.
 */
int cli_inspect_workload_security(const struct cli *cli, const char *name, json_t **value,
                                  struct error *err);

/* Choices of --format where the output is data. */
extern const char *const cli_formats[]; /* "table", "json" */

#endif

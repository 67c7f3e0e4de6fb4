/* hybrid explain: what the rows of `compare` mean. */
#include <string.h>

#include "runtime/compare/rows.h"
#include "runtime/compare/wrap.h"
#include "verbs.h"

enum { ROW_WIDTH = 23 };

static void list_topics(FILE *out)
{
    for (int i = 0; i < TOPICS; i++)
        (void)fprintf(out, "%-12s %s\n", compare_topics[i].name, compare_topics[i].title);
}

static void explain(const struct cli *cli, int topic)
{
    wrap_paragraphs(cli->out, compare_topics[topic].text);
    (void)fputc('\n', cli->out);
    for (const struct compare_row *row = compare_rows; row->name; row++) {
        if (row->topic != (enum compare_topic)topic)
            continue;
        (void)fprintf(cli->out, "%-*s", ROW_WIDTH, row->title);
        wrap_words(cli->out, row->text, ROW_WIDTH, ROW_WIDTH);
    }
}

static int run(const struct cli *cli, const void *settings, char **operands, size_t count,
               struct error *err)
{
    const char *names[TOPICS + 1] = { NULL };
    (void)settings;
    if (count == 0) {
        list_topics(cli->out);
        return 0;
    }
    int topic = compare_find_topic(operands[0]);
    if (topic >= 0) {
        explain(cli, topic);
        return 0;
    }
    for (int i = 0; i < TOPICS; i++)
        names[i] = compare_topics[i].name;
    const char *near = nearest_name(operands[0], names);
    return error_set(err, EXIT_OURS, "explain: there is no topic \"%.60s\"%s%s%s", operands[0],
                     near ? "; did you mean \"" : "; `hybrid explain` lists them", near ? near : "",
                     near ? "\"?" : "");
}

const struct verb verb_explain = {
    .name = "explain",
    .group = CLI_GROUP_OTHER,
    .synopsis = "[TOPIC]",
    .summary = "Explain what compare measures, and where it misleads",
    .description = "Without TOPIC: lists them.",
    .examples = "  hybrid explain\n"
                "  hybrid explain reach",
    .settings_size = 1,
    .max_operands = 1,
    .run = run,
};

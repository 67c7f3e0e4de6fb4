/* The document as one HTML page: tables with bars, the start as a timeline, no other file. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "stats.h"
#include "value.h"

enum { BAR_WIDTH = 240, BAR_HEIGHT = 14, LINE_WIDTH = 720, LINE_HEIGHT = 26, MAX_COLOURS = 9 };

static const char head[] =
    "<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<style>\n"
    ":root{color-scheme:light dark;--back:#fff;--text:#1b1f24;--soft:#57606a;--line:#d8dee4;"
    "--c0:#1f6feb;--c1:#b45309;--c2:#15803d;--c3:#7c3aed;--c4:#be185d;--c5:#0e7490;--c6:#6b7280;--"
    "c7:#84820b;--c8:#dc2626}\n"
    "@media(prefers-color-scheme:dark){:root{--back:#0f1318;--text:#e6e9ed;--soft:#9aa4af;"
    "--line:#2c333b;--c0:#6cb0ff;--c1:#f0a35e;--c2:#63d391;--c3:#b79cff;--c4:#f58bb9;--c5:#5fcbe0;"
    "--c6:#a0a7b0;--c7:#d3d04e;--c8:#ff8a80}}\n"
    "body{background:var(--back);color:var(--text);font:15px/1.45 system-ui,sans-serif;"
    "margin:2rem auto;max-width:1080px;padding:0 1rem}\n"
    "h1{font-size:1.5rem;margin:0}h2{font-size:1.15rem;margin:2.2rem 0 .4rem}\n"
    "p,details{color:var(--soft);max-width:75ch}\n"
    "pre{white-space:pre-wrap;font:inherit}\n"
    ".wide{overflow-x:auto}\n"
    "table{border-collapse:collapse;width:100%}\n"
    "th,td{border-top:1px solid var(--line);padding:.3rem .6rem;text-align:left;"
    "vertical-align:top}\n"
    "th[scope=row]{font-weight:400;min-width:11rem}th small{display:block;color:var(--soft)}\n"
    "th.sub{padding-left:1.6rem}\n"
    "td{font-variant-numeric:tabular-nums;min-width:13rem}\n"
    "td svg{display:block;max-width:100%}\n"
    ".missing{color:var(--soft);font-style:italic;font-size:.85em}\n"
    ".key span{display:inline-block;margin-right:1rem;color:var(--text)}\n"
    ".key i{display:inline-block;width:.8em;height:.8em;margin-right:.35em;border-radius:2px}\n"
    "text{fill:var(--text);font:12px system-ui,sans-serif}\n"
    "</style>\n";

/* Text of others: nothing in it is markup. */
static void print_text(FILE *out, const char *text)
{
    static const struct {
        char character;
        const char *entity;
    } entities[] = { { '<', "&lt;" }, { '>', "&gt;" }, { '&', "&amp;" }, { '"', "&quot;" } };
    for (; *text; text++) {
        const char *entity = NULL;
        for (size_t i = 0; i < sizeof entities / sizeof *entities; i++)
            if (entities[i].character == *text)
                entity = entities[i].entity;
        if (entity)
            (void)fputs(entity, out);
        else
            (void)fputc(*text, out);
    }
}

static double number_of(const json_t *value, const char *key)
{
    return json_number_value(json_object_get(value, key));
}

/* What is drawn at the right end of a row's bars: the greatest p99 or number of it. */
static double scale_of(const json_t *row, const json_t *isolations)
{
    const json_t *isolation;
    double most = 0;
    size_t i;
    json_array_foreach(isolations, i, isolation)
    {
        const json_t *value = value_of(row, isolation);
        most = fmax(most, fmax(number_of(value, "p99"), value_number(value)));
    }
    return most;
}

/* A bar to p50; a thin line from the smallest sample to p99. */
static void print_bar(const json_t *value, double scale, size_t colour, const char *label,
                      FILE *out)
{
    double middle = value_number(value) / scale * BAR_WIDTH;
    (void)fprintf(out, "<svg role=\"img\" width=\"%d\" height=\"%d\" aria-label=\"", BAR_WIDTH,
                  BAR_HEIGHT);
    print_text(out, label);
    (void)fprintf(out,
                  "\"><rect x=\"0\" y=\"2\" height=\"10\" width=\"%.1f\" rx=\"2\" "
                  "fill=\"var(--c%zu)\" opacity=\".75\"/>",
                  fmax(middle, 1), colour % MAX_COLOURS);
    if (json_object_get(value, "p99")) {
        double left = number_of(value, "min") / scale * BAR_WIDTH;
        double right = number_of(value, "p99") / scale * BAR_WIDTH;
        (void)fprintf(out,
                      "<path d=\"M%.1f 7H%.1fM%.1f 3V11M%.1f 3V11\" stroke=\"var(--text)\" "
                      "stroke-width=\"1.2\"/>",
                      left, right, left, fmin(right, BAR_WIDTH - 0.6));
    }
    (void)fputs("</svg>", out);
}

/* The reason of an isolation that is not there stands at the top of the page. */
static void print_cell(const json_t *row, const json_t *isolation, double scale, size_t colour,
                       FILE *out)
{
    char text[96];
    const json_t *value = value_of(row, isolation);
    const char *missing = value_text(value, "missing"), *note = value_text(value, "note");
    if (*missing) {
        bool told = strcmp(missing, value_text(isolation, "reason")) == 0;
        (void)fputs("<td class=\"missing\">", out);
        print_text(out, told ? "not available" : missing);
        (void)fputs("</td>", out);
        return;
    }
    value_format(row, value, text, sizeof text);
    (void)fputs("<td", out);
    if (*note) {
        (void)fputs(" title=\"", out);
        print_text(out, note);
        (void)fputs("\"", out);
    }
    (void)fputs(">", out);
    print_text(out, text);
    if (value_number(value) >= 0 && scale > 0)
        print_bar(value, scale, colour, text, out);
    (void)fputs("</td>", out);
}

static void print_row(const json_t *row, const json_t *isolations, FILE *out)
{
    const char *title = value_text(row, "title");
    const json_t *isolation;
    double scale = scale_of(row, isolations);
    size_t i;
    (void)fprintf(out, "<tr><th scope=\"row\"%s>", *title == ' ' ? " class=\"sub\"" : "");
    print_text(out, title);
    (void)fputs("<small>", out);
    print_text(out, value_text(row, "text"));
    (void)fputs("</small></th>", out);
    json_array_foreach(isolations, i, isolation) print_cell(row, isolation, scale, i, out);
    (void)fputs("</tr>\n", out);
}

static void print_table(const json_t *topic, const json_t *isolations, FILE *out)
{
    const json_t *isolation, *row;
    size_t i;
    (void)fputs("<div class=\"wide\"><table><thead><tr><th scope=\"col\"></th>", out);
    json_array_foreach(isolations, i, isolation)
    {
        (void)fputs("<th scope=\"col\">", out);
        print_text(out, value_text(isolation, "title"));
        (void)fputs("</th>", out);
    }
    (void)fputs("</tr></thead><tbody>\n", out);
    json_array_foreach(json_object_get(topic, "rows"), i, row)
    {
        if (!value_is_empty_part(row, isolations))
            print_row(row, isolations, out);
    }
    (void)fputs("</tbody></table></div>\n", out);
}

static bool is_stage(const json_t *row)
{
    return value_text(row, "title")[0] == ' ';
}

/* The medians of the stages, which need not add up to the median of the total exactly. */
static double sum_stages(const json_t *rows, const json_t *isolation)
{
    const json_t *row;
    double sum = 0;
    size_t i;
    json_array_foreach(rows, i, row) sum +=
        is_stage(row) ? fmax(value_number(value_of(row, isolation)), 0) : 0;
    return sum;
}

static void print_line(const json_t *rows, const json_t *isolation, double scale, size_t line,
                       FILE *out)
{
    const json_t *row;
    double x = 0;
    size_t i, stage = 0;
    (void)fprintf(out, "<text x=\"0\" y=\"%zu\">", line * 2 * LINE_HEIGHT + 16);
    print_text(out, value_text(isolation, "title"));
    (void)fputs("</text>", out);
    json_array_foreach(rows, i, row)
    {
        char time[32];
        double value = value_number(value_of(row, isolation));
        if (!is_stage(row))
            continue;
        size_t colour = stage++ % MAX_COLOURS;
        if (value <= 0)
            continue;
        stats_format_time((int64_t)value, time, sizeof time);
        (void)fprintf(out,
                      "<rect x=\"%.1f\" y=\"%zu\" width=\"%.1f\" height=\"20\" "
                      "fill=\"var(--c%zu)\" stroke=\"var(--back)\"><title>%s %s</title></rect>",
                      x, line * 2 * LINE_HEIGHT + 22, fmax(value / scale * LINE_WIDTH, 0.5), colour,
                      value_text(row, "name"), time);
        x += value / scale * LINE_WIDTH;
    }
    char total[32];
    stats_format_time((int64_t)sum_stages(rows, isolation), total, sizeof total);
    (void)fprintf(out, "<text x=\"%.1f\" y=\"%zu\">%s</text>\n", x + 6, line * 2 * LINE_HEIGHT + 37,
                  total);
}

static void print_key(const json_t *rows, FILE *out)
{
    const json_t *row;
    size_t i, stage = 0;
    (void)fputs("<p class=\"key\">", out);
    json_array_foreach(rows, i, row)
    {
        if (is_stage(row))
            (void)fprintf(out, "<span><i style=\"background:var(--c%zu)\"></i>%s</span>",
                          stage++ % MAX_COLOURS, value_text(row, "name"));
    }
    (void)fputs("</p>\n", out);
}

static void print_timeline(const json_t *topic, const json_t *isolations, FILE *out)
{
    const json_t *rows = json_object_get(topic, "rows"), *isolation;
    double scale = 0;
    size_t i, lines = 0;
    json_array_foreach(isolations, i, isolation) scale = fmax(scale, sum_stages(rows, isolation));
    if (scale <= 0)
        return;
    print_key(rows, out);
    (void)fprintf(out,
                  "<div class=\"wide\"><svg role=\"img\" width=\"%d\" height=\"%zu\" "
                  "aria-label=\"Medians of the stages of a start, one after the other; the "
                  "numbers are in the table below\">\n",
                  LINE_WIDTH + 90, json_array_size(isolations) * 2 * LINE_HEIGHT);
    json_array_foreach(isolations, i, isolation) if (sum_stages(rows, isolation) > 0)
        print_line(rows, isolation, scale, lines++, out);
    (void)fputs("</svg></div>\n", out);
}

static void print_topic(const json_t *topic, const json_t *isolations, FILE *out)
{
    int number = compare_find_topic(value_text(topic, "name"));
    (void)fputs("<section><h2>", out);
    print_text(out, value_text(topic, "title"));
    (void)fputs("</h2>\n", out);
    if (number == TOPIC_START)
        print_timeline(topic, isolations, out);
    print_table(topic, isolations, out);
    if (number >= 0) {
        (void)fputs("<details><summary>How it was measured, and where it misleads</summary><pre>",
                    out);
        print_text(out, compare_topics[number].text);
        (void)fputs("</pre></details>", out);
    }
    (void)fputs("</section>\n", out);
}

static void print_reasons(const json_t *isolations, FILE *out)
{
    const json_t *isolation;
    size_t i;
    json_array_foreach(isolations, i, isolation)
    {
        if (!*value_text(isolation, "reason"))
            continue;
        (void)fputs("<p><strong>", out);
        print_text(out, value_text(isolation, "title"));
        (void)fputs("</strong> is not available here: ", out);
        print_text(out, value_text(isolation, "reason"));
        (void)fputs("</p>\n", out);
    }
}

static void print_conclusions(const json_t *document, FILE *out)
{
    const json_t *isolation;
    size_t i;
    (void)fputs("<section><h2>If a kernel bug is exploited</h2><dl>\n", out);
    json_array_foreach(json_object_get(document, "isolations"), i, isolation)
    {
        (void)fputs("<dt><strong>", out);
        print_text(out, value_text(isolation, "title"));
        (void)fputs("</strong></dt><dd>", out);
        print_text(out, value_text(json_object_get(document, "conclusions"),
                                   value_text(isolation, "name")));
        (void)fputs("</dd>\n", out);
    }
    (void)fputs("</dl></section>\n", out);
}

void compare_print_html(const json_t *document, FILE *out)
{
    const json_t *isolations = json_object_get(document, "isolations"), *topic,
                 *host = json_object_get(document, "host");
    size_t i;
    (void)fprintf(out,
                  "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n%s<title>hybrid compare: ", head);
    print_text(out, value_text(document, "image"));
    (void)fputs("</title>\n</head>\n<body>\n<main>\n<h1>hybrid compare: ", out);
    print_text(out, value_text(document, "image"));
    (void)fputs("</h1>\n<p>", out);
    print_text(out, value_text(document, "time"));
    (void)fputs(", host kernel ", out);
    print_text(out, value_text(host, "kernel"));
    (void)fprintf(out,
                  ", processors: %lld. Times are p50/p99: the bar is the median, the line reaches "
                  "from the smallest sample to p99; each row has a scale of its own.</p>\n",
                  (long long)json_integer_value(json_object_get(host, "processors")));
    print_reasons(isolations, out);
    json_array_foreach(json_object_get(document, "topics"), i, topic)
        print_topic(topic, isolations, out);
    print_conclusions(document, out);
    (void)fputs("</main>\n</body>\n</html>\n", out);
}

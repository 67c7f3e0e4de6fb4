#include "wrap.h"

#include <ctype.h>
#include <string.h>

enum { LINE_WIDTH = 79 };

void wrap_words(FILE *out, const char *text, int column, int indent)
{
    int start = column;
    while (*text) {
        int length = (int)strcspn(text, " ");
        if (column > start && column + 1 + length > LINE_WIDTH) {
            (void)fprintf(out, "\n%*s", indent, "");
            start = column = indent;
        } else if (column > start) {
            (void)fputc(' ', out);
            column++;
        }
        for (int i = 0; i < length; i++)
            (void)fputc(isprint((unsigned char)text[i]) ? text[i] : '?', out);
        column += length;
        text += length;
        text += strspn(text, " ");
    }
    (void)fputc('\n', out);
}

void wrap_paragraphs(FILE *out, const char *text)
{
    while (*text) {
        const char *end = strstr(text, "\n\n");
        int length = (int)(end ? (size_t)(end - text) : strlen(text));
        char paragraph[2048];
        (void)snprintf(paragraph, sizeof paragraph, "%.*s", length, text);
        wrap_words(out, paragraph, 0, 0);
        if (!end)
            return;
        (void)fputc('\n', out);
        text = end + 2;
    }
}

/* Text in lines of at most 79 columns. Pure. */
#ifndef HYBRID_COMPARE_WRAP_H
#define HYBRID_COMPARE_WRAP_H

#include <stdio.h>

/*
 * Prints words, the first line from `column` on, which is where the output stands, the others
 * indented; a newline at the end. What is no printable ASCII is shown as "?".
 */
void wrap_words(FILE *out, const char *text, int column, int indent);

/* Prints paragraphs, which an empty line separates. */
void wrap_paragraphs(FILE *out, const char *text);

#endif

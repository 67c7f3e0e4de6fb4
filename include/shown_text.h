/* What others wrote and a terminal shows: guests, hooks. */
#ifndef HYBRID_SHOWN_TEXT_H
#define HYBRID_SHOWN_TEXT_H

#include <stddef.h>

/*
 * The length of the character at text if a terminal merely shows it, else 0: a control character,
 * or no UTF-8. Controls are also U+0080 to U+009F, among them the one that starts an escape
 * sequence, whether encoded or as bytes of their own.
 */
static inline size_t shown_character(const char *bytes, size_t left)
{
    const unsigned char *text = (const unsigned char *)bytes;
    static const struct {
        unsigned char first, last;               /* of the first byte */
        unsigned char second_first, second_last; /* of the second; the others are 0x80 to 0xbf */
        size_t length;
    } FORMS[] = {
        { ' ', 0x7e, 0, 0, 1 },        { '\n', '\n', 0, 0, 1 },       { 0xc2, 0xc2, 0xa0, 0xbf, 2 },
        { 0xc3, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
        { 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 },
        { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
    };
    for (size_t i = 0; i < sizeof FORMS / sizeof FORMS[0]; i++) {
        if (text[0] < FORMS[i].first || text[0] > FORMS[i].last)
            continue;
        if (FORMS[i].length > left || (FORMS[i].length > 1 && (text[1] < FORMS[i].second_first ||
                                                               text[1] > FORMS[i].second_last)))
            return 0;
        for (size_t j = 2; j < FORMS[i].length; j++) {
            if ((text[j] & 0xc0) != 0x80)
                return 0;
        }
        return FORMS[i].length;
    }
    return 0;
}

#endif

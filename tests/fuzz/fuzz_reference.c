/* link: image plan */
/* Names of images, as users, archives and engines write them. */
#include "input.h"

#include "runtime/image/index.h"

#include <assert.h>
#include <stdlib.h>

/* A normalised reference is its own, becomes one file name, and is safe to print. */
static void check(const char *reference)
{
    char name[NAME_MAX + 1];
    char *again = reference_normalize(reference, NULL);
    char *familiar = reference_normalize(reference_familiar(reference), NULL);
    assert(again && strcmp(again, reference) == 0);
    assert(familiar && strcmp(familiar, reference) == 0);
    assert(strlen(reference) <= INDEX_MAX_REFERENCE && strchr(reference, '/'));
    index_file_name(reference, NULL, name);
    assert(!strchr(name, '/') && name[0] != '.' && name[0] != '@' &&
           strlen(name) == strlen(reference));
    for (const char *at = reference; *at; at++)
        assert(*at > ' ' && *at < 0x7f && *at != '%');
    free(again);
    free(familiar);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = { 0 };
    char *text = strndup((const char *)data, size);
    assert(text);
    char *reference = reference_normalize(text, &err);
    if (reference)
        check(reference);
    else
        assert(err.exit_code != 0 && err.message[0] != '\0');
    free(reference);
    free(text);
    return 0;
}

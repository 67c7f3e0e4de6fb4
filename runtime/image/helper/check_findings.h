/* What a check has found, and how it is told. */
#ifndef HYBRID_CHECK_FINDINGS_H
#define HYBRID_CHECK_FINDINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

enum finding_kind {
    FINDING_ENTRY,     /* an index entry that cannot be read, or is called wrongly */
    FINDING_BLOB,      /* missing, of the wrong size, or with other content than its name says */
    FINDING_LAYER,     /* missing, or no sound EROFS file */
    FINDING_IMAGE,     /* its documents contradict each other */
    FINDING_LINKS,     /* those of an image do not keep what it needs */
    FINDING_UNLINKED,  /* links could not be made right */
    FINDING_WORKLOAD,  /* a layer that it uses is missing */
    FINDING_ORPHAN,    /* no image and no workload uses it */
    FINDING_TEMPORARY, /* a killed command left it */
    FINDING_STRAY,     /* it is nothing of the store's */
};

struct finding {
    enum finding_kind kind;
    char *object; /* as printed: "layer sha256:..." */
    int dir_fd;   /* where its file is; stays the caller's */
    char *file;   /* its name there; NULL: there is none */
    char *cause;
    char **images; /* short names, or ids, of those that need it */
    size_t image_count;
};

struct findings {
    struct finding *list;
    size_t count, room;
};

/* What was looked at. */
struct check_sum {
    size_t images, blobs, layers;
};

/* Adds a copy, without images. Returns it (valid until the next), or NULL with *err. */
struct finding *findings_add(struct findings *findings, const struct finding *finding,
                             struct error *err);

/* Notes that an image needs what was found; once. Returns 0, or -1 with *err. */
int finding_add_image(struct finding *finding, const char *name, struct error *err);

/* The finding about this object, or NULL. */
struct finding *findings_find(const struct findings *findings, const char *object);

/* Can `check --repair` mend it? */
bool finding_is_mendable(const struct finding *finding);

/* Prints lines, or one JSON object, and the sum. repaired: what can be mended is. Returns 0 if no
 * problem is left, 1 if one is, or -1 with *err. */
int findings_print(struct findings *findings, const struct check_sum *sum, bool repaired, bool json,
                   struct error *err);

void findings_free(struct findings *findings);

#endif

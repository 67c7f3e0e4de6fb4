/* What the parts of a check share. */
#ifndef HYBRID_CHECK_PARTS_H
#define HYBRID_CHECK_PARTS_H

#include "runtime/image/helper/check.h"
#include "runtime/image/helper/check_findings.h"
#include "runtime/image/helper/staging.h"
#include "runtime/image/marks.h"

enum { CHECK_NAME = 300 };

struct check {
    const struct check_options *options;
    struct store store;
    struct findings findings;
    struct check_sum sum;
    struct index_list entries;  /* those that can be read */
    struct marks blobs, layers; /* what images and workloads need and is there */
    bool blind;                 /* an image does not say what it needs: nothing is an orphan */
};

/* Notes what is wrong with an object, once. whose: an image that is to go with it; NULL: none.
 * Returns 0, or -1 with *err. */
int check_blame(struct check *check, const struct finding *finding, const char *whose,
                struct error *err);

/* What a user calls the image. Returns text. */
const char *check_name_of(const struct index_entry *entry, char text[CHECK_NAME]);

/*
 * Reads one index entry and the documents of its image, and sees to it that all is there that they
 * name. Returns 0, or -1 with *err.
 */
int check_entry(struct check *check, const char *file, struct error *err);

/*
 * Has each image in the index its directory, with links to what it needs (right: whoever changed
 * the store last has left it so), and is there none besides, and nothing but layers in what is kept
 * for workloads? What is too much in an image's directory keeps only what goes with the image, and
 * is not looked for. Returns 0, or -1 with *err.
 */
int check_links(struct check *check, bool right, struct error *err);

/* Is there what a workload needs? For users_visit; context: the check. */
int check_workload(const char *id, const json_t *state, void *context, struct error *err);

/* Reads what blobs (unless quick) and layers hold. Returns 0, or -1 with *err. */
int check_content(struct check *check, struct error *err);

/* Adds the names of images to what was found about their blobs and layers. The same. */
int check_name_users(struct check *check, struct error *err);

#endif

/* What `hybrid compare` measures: topics, their rows, and the isolations they are measured in. */
#ifndef HYBRID_COMPARE_ROWS_H
#define HYBRID_COMPARE_ROWS_H

#include <stddef.h>

enum compare_topic {
    TOPIC_START,
    TOPIC_STOP,
    TOPIC_MEMORY,
    TOPIC_COST,
    TOPIC_REACH,
    TOPIC_HOST,
    TOPIC_NEIGHBOURS,
    TOPICS,
};

enum compare_isolation {
    IN_CONTAINER,
    IN_UNFILTERED, /* a container without seccomp, for reference */
    IN_VM,
    ISOLATIONS,
};

enum compare_unit {
    UNIT_TIME,  /* nanoseconds */
    UNIT_BYTES, /* bytes */
    UNIT_COUNT,
    UNIT_TEXT,
};

struct compare_topic_info {
    const char *name;  /* one word: --only, explain, "topic" of JSON */
    const char *title; /* of a section */
    const char *text;  /* how it is measured and where it misleads, as `explain` prints it */
};

struct compare_row {
    enum compare_topic topic;
    const char *name; /* in JSON: "TOPIC.NAME" */
    const char *title;
    enum compare_unit unit;
    const char *text; /* one sentence: what it is */
};

struct compare_isolation_info {
    const char *name;  /* key of JSON */
    const char *title; /* of a column */
};

extern const struct compare_topic_info compare_topics[TOPICS];
extern const struct compare_row compare_rows[]; /* in the order of the table; ends with name NULL */
extern const struct compare_isolation_info compare_isolations[ISOLATIONS];
extern const char *const compare_units[]; /* by enum compare_unit, as JSON names them */

/* Number of the topic of that name, or -1. */
int compare_find_topic(const char *name);

#endif

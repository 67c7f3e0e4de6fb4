/*
 * Making plans: image configuration and options become an OCI runtime configuration
 * (oci_compose), and any OCI runtime configuration becomes a struct plan (plan_parse). Pure: no
 * system call except memory, so that every decision can be tested as a table.
 */
#ifndef HYBRID_COMPOSE_H
#define HYBRID_COMPOSE_H

#include <jansson.h>

#include "error.h"
#include "plan.h"

enum plan_parse_flags {
    PLAN_PARSE_OWN = 1, /* the document was made by oci_compose: hybrid's extensions are allowed */
    PLAN_PARSE_UPDATE = 2, /* parse_resources: device rules stay as they are */
    /* Of a pod's sandbox: its namespaces, names, sysctls, hooks and limits, in an empty root; no
     * program of the image, and nothing of what that would need. */
    PLAN_PARSE_SANDBOX = 4,
};

/*
 * Parses an OCI runtime configuration into *plan, which takes over the reference to document also
 * on failure. Everything unsupported is refused by its field name. Returns 0, or -1 with *err.
 */
int plan_parse(json_t *document, unsigned int flags, struct plan *plan, struct error *err);

/* The filter (linux.seccomp) of a pod's sandbox, for PLAN_PARSE_SANDBOX. New reference, or NULL. */
json_t *plan_sandbox_filter(void);

/*
 * Parses an OCI process object (exec) into a plan of process steps only. `base` is the workload's
 * configuration: it supplies user maps, seccomp (linux.seccomp) and namespaces. *plan takes over
 * the reference to process, also on failure. Returns 0, or -1 with *err.
 */
int plan_parse_process(json_t *process, const struct plan *base, unsigned int flags,
                       struct plan *plan, struct error *err);

/*
 * Parses linux.resources alone, for `hybrid update`, into plan->resources. Takes resources over,
 * also on failure. Returns 0, or -1 with *err.
 */
int plan_parse_update(json_t *resources, struct plan *plan, struct error *err);

/*
 * Reads a configuration from text. Go programs write unlimited as 2^64-1: a whole number that does
 * not fit into 63 bits is read as a string of its digits, so that no value is changed unseen. New
 * reference, or NULL with *where.
 */
json_t *plan_load_json(const char *text, json_error_t *where);

struct option_list { /* repeated options, in order; strings are borrowed */
    const char **values;
    size_t count;
};

/* What `hybrid run` was asked for. Strings are borrowed from the command line. NULL/0/-1: not
 * given. */
struct run_options {
    const char *hostname; /* NULL: the id */
    const char *id;
    const char *workdir;
    const char *user;       /* user[:group] */
    const char *entrypoint; /* NULL: the image's; "": none */
    bool entrypoint_given;
    struct option_list env;     /* NAME=VALUE; NAME alone was already resolved by the caller */
    struct option_list ulimits; /* name=soft[:hard] */
    struct option_list tmpfs;   /* path[:options] */
    struct option_list volumes; /* host:target[:options] */
    struct option_list mounts;  /* type=bind,source=...,target=... */
    const char *directory;      /* absolute: where relative host paths of these begin */
    struct option_list cap_add, cap_drop;
    struct option_list security;            /* seccomp=..., no-new-privileges[=true|false] */
    struct option_list labels, annotations; /* key=value */
    json_t *seccomp_profile; /* parsed --security-opt seccomp=FILE; NULL: the default profile */
    bool seccomp_unconfined;
    int64_t memory; /* bytes; -1 */
    int64_t memory_swap;
    double cpus; /* 0: not given */
    const char *cpuset_cpus;
    int64_t pids_limit;            /* -1: not given */
    const char *rates[PLAN_RATES]; /* texts; NULL: not given */
    bool readonly;
    bool terminal;
    bool init;
    const char *network_path; /* of a network namespace to join; NULL: a new one */
    const char *resolver;     /* content of /etc/resolv.conf; NULL: there is no network */
    const char *userns;       /* "host" (default) or CONTAINER:HOST:SIZE: what userns_parse takes */
    struct plan_id_map userns_map; /* size 0: no user namespace */
    const char *stop_signal;
    const char *isolation;      /* "container" or "vm" */
    const char *image;          /* the reference as it was resolved */
    const char *const *command; /* NULL-terminated; may be empty */
};

/*
 * Makes the OCI runtime configuration for image_config (an OCI image configuration) and options.
 * Docker's defaults: capabilities, seccomp, masked paths, devices, mounts, cgroup and user rules,
 * ENTRYPOINT and CMD. Returns a new reference, or NULL with *err (exit code 125, names the option).
 */
json_t *oci_compose(const json_t *image_config, const struct run_options *options,
                    struct error *err);

/*
 * Makes an OCI process object for `hybrid exec`: the workload's own process with the command, -e,
 * -u, -w and -t of the options in its place.
 */
json_t *oci_compose_process(const json_t *config, const struct run_options *options,
                            struct error *err);

/*
 * --cpus, a number of processors such as 1.5, into `cpu` (linux.resources.cpu) as quota and period.
 * Returns 0, or -1 with *err.
 */
int oci_compose_cpus(json_t *cpu, double cpus, struct error *err);

/*
 * Compiles linux.seccomp of an OCI configuration to BPF for this architecture. *program is
 * malloc'd, the caller's. No profile: *program NULL, length 0. Returns 0, or -1 with *err.
 * System calls newer than those libseccomp knows answer ENOSYS, so that programs fall back.
 */
int seccomp_compile(const json_t *seccomp, uint8_t **program, size_t *length, unsigned int *flags,
                    struct error *err);

/*
 * What the compiled program depends on, as text: two equal texts mean equal programs. Compiling
 * takes about 10 ms, which is worth a cache by this key. malloc'd, or NULL without memory.
 */
char *seccomp_cache_key(const json_t *seccomp);

/* The default profile (Docker's) as linux.seccomp for a bounding set of capabilities. New
 * reference. */
json_t *seccomp_default_profile(uint64_t capabilities);

/* "CAP_NET_RAW", "net_raw", any case -> number; -1: unknown. */
int capability_from_name(const char *name);
const char *capability_name(int number);

/* For `hybrid features`: linux.seccomp of features.md, and names of namespaces. New references. */
json_t *seccomp_features(void);
json_t *namespace_names(void);

/* "TERM", "SIGTERM", "15", "RTMIN+3" -> number; -1: unknown. */
int signal_from_name(const char *name);

/* "64m", "1.5GiB", "1073741824" -> bytes; -1 with *err. `what` names the option in the error. */
int64_t size_parse(const char *text, const char *what, struct error *err);

/* The valid name nearest to `word` (edit distance), or NULL if none is near; for error texts. */
const char *nearest_name(const char *word, const char *const *names);
const char *capability_nearest(const char *name);
const char *signal_nearest(const char *name);

/*
 * "CONTAINER:HOST:SIZE" (--userns) -> the one range of user and group ids; "host" -> size 0.
 * Returns 0, or -1 with *err.
 */
int userns_parse(const char *text, struct plan_id_map *map, struct error *err);

/* "--device-read-bps", and the like; for messages. */
const char *rate_option(enum plan_rate rate);

/* "hybrid.disk.readBps", and the like: the same in a configuration. */
const char *rate_annotation(enum plan_rate rate);

/* The whole plan as text, a line a step, as --dry-run shows it. Returns 0, or -1 with errno. */
int plan_print(const struct plan *plan, FILE *out);

/*
 * The plan for `--dry-run --format json`: its OCI configuration with one more member, "steps", an
 * array of {"step", "text"} in order. Still a valid configuration: unknown members are ignored.
 * New reference, or NULL without memory.
 */
json_t *plan_to_json(const struct plan *plan);

#endif

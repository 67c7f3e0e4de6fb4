/* The parts of oci_compose, each of which makes one member of the configuration. */
#ifndef HYBRID_COMPOSE_PARTS_H
#define HYBRID_COMPOSE_PARTS_H

#include "compose.h"
#include "image_config.h"

/* Appends and sets as jansson does, with *err where memory runs out. `value` is taken over; a
 * NULL value (a constructor that failed) is an error too. Return 0 or -1. */
int compose_set(json_t *object, const char *key, json_t *value, struct error *err);
int compose_append(json_t *array, json_t *value, struct error *err);

/* A new JSON string, or NULL with *err: JSON has no way to carry bytes that are not UTF-8. `what`
 * names the option in the error. */
json_t *compose_string(const char *text, const char *what, struct error *err);

/* The workload's own name in the UTS namespace: --hostname, or the id, cut to 12 as Docker does. */
int compose_hostname(const struct run_options *options, char *hostname, size_t size,
                     struct error *err);

/* The bounding set that --cap-add and --cap-drop leave, over Docker's default of 14. */
int compose_capabilities(const struct run_options *options, uint64_t *set, struct error *err);
json_t *compose_capability_names(uint64_t set, struct error *err);

/* What --security-opt says. */
struct security_options {
    bool no_new_privileges;
    bool seccomp_unconfined;
    bool seccomp_given; /* options->seccomp_profile is to be used */
};
int compose_security(const struct run_options *options, struct security_options *security,
                     struct error *err);

/* process. */
json_t *compose_process(const struct image_config *image, const struct run_options *options,
                        const char *hostname, struct error *err);

/* process.env: defaults, image, -e. Either may be NULL. */
json_t *compose_env(const json_t *base, const struct run_options *options, const char *hostname,
                    struct error *err);

/* mounts, and linux without seccomp. */
json_t *compose_mounts(const struct run_options *options, const char *hostname, struct error *err);
json_t *compose_linux(const struct run_options *options, struct error *err);
int compose_rates(json_t *annotations, const struct run_options *options, struct error *err);

/* --tmpfs, --volume and --mount as entries of mounts, parents before what is mounted below them. */
json_t *compose_volumes(const struct run_options *options, struct error *err);

/* Appends a tmpfs for "PATH[:OPTIONS]"; `option` begins messages: "--tmpfs ". */
int compose_tmpfs(json_t *mounts, const char *option, const char *argument, struct error *err);

/* Checks a path to mount on and removes a slash at its end. */
int compose_check_target(const char *option, const char *argument, char *path, struct error *err);

/* Whether one of the mounts has this target. */
bool compose_has_target(const json_t *mounts, const char *target);

/* linux.resources. */
json_t *compose_resources(const struct run_options *options, struct error *err);

/*
 * Docker's profile format (archMap, includes, excludes) or linux.seccomp -> linux.seccomp, as it
 * applies to a bounding set on this architecture. New reference, or NULL with *err.
 */
json_t *seccomp_profile_resolve(const json_t *profile, uint64_t capabilities, struct error *err);

#endif

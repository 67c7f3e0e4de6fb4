/* The parts of plan_parse, each of which reads one member of the configuration. */
#ifndef HYBRID_PARSE_PARTS_H
#define HYBRID_PARSE_PARTS_H

#include "compose.h"

/* Memory that lives as long as the plan, zeroed. NULL with *err. */
void *plan_allocate(struct plan *plan, size_t count, size_t size, struct error *err);

/* A new last step, valid until the next one is added. NULL with *err. */
struct plan_step *plan_add_step(struct plan *plan, enum plan_step_kind kind, struct error *err);

/* The strings of an array as a NULL-terminated vector, borrowed from the document. NULL with *err.
 */
const char **plan_string_vector(struct plan *plan, const json_t *strings, struct error *err);

/*
 * A known member that is not supported: refused by its path, unless its value asks for nothing
 * (null, false, 0, "", an empty list, or an object of such members).
 */
struct unsupported {
    const char *key;
    bool zero_counts; /* 0 and false are requests like any other value */
};
int parse_refuse(const json_t *parent, const char *path, const struct unsupported *members,
                 struct error *err);

/* mounts: steps before PLAN_ROOT. Read-only files are listed in *readonly (a new array) for steps
 * after it. */
int parse_mounts(struct plan *plan, unsigned int flags, json_t *readonly, struct error *err);

/* A list of id mappings, parent's member `key`; where: the path of parent. */
int parse_maps(struct plan *plan, const json_t *parent, const char *where, const char *key,
               const struct plan_id_map **result, size_t *count, struct error *err);

/* linux.namespaces, uidMappings, gidMappings. */
int parse_namespaces(struct plan *plan, const json_t *linux_part, struct error *err);

/* linux.devices and the default devices and links of config-linux: steps before PLAN_ROOT. */
int parse_devices(struct plan *plan, const json_t *linux_part, struct error *err);

/* hooks of the caller, and the createContainer steps: before PLAN_ROOT. */
int parse_hooks(struct plan *plan, struct error *err);

/* rate.c: annotations is NULL or an object. In parse_rates, rates before `first` are not looked at.
 */
int refuse_disk_rates(const json_t *annotations, struct error *err);
int parse_rates(struct plan *plan, const json_t *annotations, enum plan_rate first,
                struct error *err);

/* The startContainer steps: last before PLAN_SECCOMP. */
int parse_start_hooks(struct plan *plan, struct error *err);

/* hostname, domainname, loopback, linux.sysctl: steps after PLAN_ROOT. */
int parse_identity(struct plan *plan, const json_t *linux_part, struct error *err);

/* linux.maskedPaths and readonlyPaths: steps after PLAN_ROOT. */
int parse_paths(struct plan *plan, const json_t *linux_part, struct error *err);

/* linux.resources and cgroupsPath. */
int parse_resources(struct plan *plan, const json_t *linux_part, unsigned int flags,
                    struct error *err);

/* What of linux.resources is no more than values of control files. */
int parse_settings(struct plan *plan, const json_t *resources, struct error *err);

/* linux.personality; process.scheduler and ioPriority. */
int parse_personality(struct plan *plan, const json_t *document, struct error *err);
int parse_scheduler(struct plan *plan, const json_t *process, struct error *err);

/* process.execCPUAffinity. */
int parse_affinity(struct plan *plan, const json_t *process, struct error *err);

/* Everything of a pod's sandbox that makes a step (PLAN_PARSE_SANDBOX). */
int parse_sandbox(struct plan *plan, const json_t *linux_part, const json_t *process,
                  struct error *err);

/* process.oomScoreAdj. */
int parse_oom_score(struct plan *plan, const json_t *process, unsigned int flags,
                    struct error *err);

/* process: the steps on the process itself. `seccomp`: whether a filter is to be loaded. base: the
 * workload's plan for exec, or NULL. */
int parse_process(struct plan *plan, const json_t *process, const struct plan *base, bool seccomp,
                  unsigned int flags, struct error *err);

#endif

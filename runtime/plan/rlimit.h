/* Names of the kernel's resource limits: RLIMIT_NOFILE in OCI documents, nofile in options. */
#ifndef HYBRID_RLIMIT_H
#define HYBRID_RLIMIT_H

#include "error.h"
#include "plan.h"

/* "RLIMIT_NOFILE" -> RLIMIT_NOFILE, -1: unknown. */
int rlimit_from_name(const char *name);

/* RLIMIT_NOFILE -> "RLIMIT_NOFILE"; NULL: unknown. */
const char *rlimit_name(int resource);

/* "nofile=1024:2048", "core=-1" (--ulimit) -> *limit. Returns 0, or -1 with *err. */
int rlimit_parse(const char *text, struct plan_rlimit *limit, struct error *err);

#endif

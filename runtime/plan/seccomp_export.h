/* From a filter of libseccomp's to a BPF program. */
#ifndef HYBRID_PLAN_SECCOMP_EXPORT_H
#define HYBRID_PLAN_SECCOMP_EXPORT_H

#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

/*
 * absent_is_enosys: a system call newer than any that libseccomp knows answers ENOSYS. *program is
 * malloc'd, its *length in bytes. Returns 0, or -1 with *err.
 */
int seccomp_export_program(scmp_filter_ctx filter, bool absent_is_enosys, uint8_t **program,
                           size_t *length, struct error *err);

#endif

/* hybrid's own program file: where it is, and how to run without exposing it. */
#ifndef HYBRID_SELF_H
#define HYBRID_SELF_H

#include "error.h"

/*
 * The directory of hybrid-image, hybrid-vmm, vmlinux and images/: the directory of this program
 * if hybrid-vmm lies there, else ../libexec/hybrid. Returns a malloc'd path, or NULL with *err.
 */
char *self_find_directory(struct error *err);

/*
 * Makes sure that /proc/self/exe cannot be written by anybody who reaches it through us: a process
 * that joins a workload is visible inside, and the workload could open our program through
 * /proc/PID/exe and overwrite it for the next caller (CVE-2019-5736). Re-executes this program
 * once, from a read-only detached mount of itself. Returns 0 when we already run from there, does
 * not return when it re-executes, -1 with *err.
 */
int self_become_read_only(char **argv, const char *exe_dir, struct error *err);

#endif

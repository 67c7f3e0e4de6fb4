/* seccomp_without.c for hybrid-names. */
#define SECCOMP_TABLE "vmm/names/rules.c"
#include "tests/hostile/seccomp_without.c" /* NOLINT(bugprone-suspicious-include) */

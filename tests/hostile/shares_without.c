/* seccomp_without.c for a virtiofsd. */
#define SECCOMP_TABLE "runtime/vm/share_rules.c"
#include "tests/hostile/seccomp_without.c" /* NOLINT(bugprone-suspicious-include) */

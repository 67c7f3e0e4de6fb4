/* hybrid version, hybrid --version. */
#include <seccomp.h>

#include "verbs.h"

/* Engines read the first line and the line "spec:"; crun and runc print them in this form. */
static int run(const struct cli *cli, const void *settings, char **operands, size_t count,
               struct error *err)
{
    (void)settings, (void)operands, (void)count, (void)err;
    const struct scmp_version *seccomp = seccomp_version();
    (void)fprintf(cli->out, "hybrid version %s\nspec: 1.2.0\nlibseccomp: %u.%u.%u\n",
                  HYBRID_VERSION, seccomp->major, seccomp->minor, seccomp->micro);
    return 0;
}

const struct verb verb_version = {
    .name = "version",
    .group = CLI_GROUP_OTHER,
    .synopsis = "",
    .summary = "Print the versions of hybrid and of the specification it follows",
    .run = run,
};

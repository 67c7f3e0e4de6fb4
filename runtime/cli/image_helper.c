#include "image_helper.h"

#include <stdlib.h>
#include <unistd.h>

#include "cleanup.h"

int image_helper_exec(const struct cli *cli, const char *const *arguments, char *const *operands,
                      struct error *err)
{
    size_t operand_count = 0;
    while (operands[operand_count])
        operand_count++;
    _cleanup_free_ char *program = NULL;
    _cleanup_free_ const char **argv =
        calloc(IMAGE_HELPER_MAX_ARGUMENTS + operand_count + 8, sizeof *argv);
    if (!argv || asprintf(&program, "%s/hybrid-image", cli->exe_dir) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    size_t used = 0;
    argv[used++] = program;
    argv[used++] = "--store";
    argv[used++] = cli->store;
    argv[used++] = "--root";
    argv[used++] = cli->root;
    while (*arguments)
        argv[used++] = *arguments++;
    argv[used++] = "--";
    while (*operands)
        argv[used++] = *operands++;
    (void)fflush(cli->out);
    (void)execv(program, (char *const *)argv);
    return error_set_errno(err, EXIT_OURS, errno, "cannot run %s; reinstall hybrid", program);
}

/* hybrid policy: whether a policy is one, and what it decides. */
#include <string.h>

#include "cleanup.h"
#include "run.h"
#include "runtime/policy/policy.h"
#include "verbs.h"

static int check(const struct cli *cli, char **operands, size_t count, struct error *err)
{
    _cleanup_policy_ struct policy *policy = NULL;
    if (count != 1)
        return error_set(err, EXIT_OURS, "policy check: which file? hybrid policy check FILE");
    if (policy_load(operands[0], &policy, err) < 0)
        return -1;
    (void)fprintf(cli->out, "%s: valid, %zu rules\n", operands[0], policy_rule_count(policy));
    return 0;
}

/* Everything behind `explain` is read as `run` reads it, but that options may follow the image. */
static int explain(const struct cli *cli, char **operands, struct error *err)
{
    static const struct verb reader = {
        .name = "policy",
        .synopsis = "explain IMAGE [OPTIONS] [-- COMMAND]",
        .options = run_option_table,
        .settings_size = sizeof(struct run_settings),
        .defaults = &run_defaults,
        .min_operands = 1,
        .max_operands = -1,
    };
    struct run_settings settings;
    size_t count = 0;
    int result = cli_parse(&reader, operands, &settings, &count, err);
    if (result == 1)
        cli_print_help(&verb_policy, cli->out);
    if (result == 0)
        result = run_explain(cli, &settings, operands, err);
    cli_settings_free(&reader, &settings);
    return result == 1 ? 0 : result;
}

static int run_policy_verb(const struct cli *cli, const void *settings, char **operands,
                           size_t count, struct error *err)
{
    static const char *const names[] = { "check", "explain", NULL };
    (void)settings;
    if (strcmp(operands[0], names[0]) == 0)
        return check(cli, operands + 1, count - 1, err);
    if (strcmp(operands[0], names[1]) == 0)
        return explain(cli, operands + 1, err);
    const char *near = nearest_name(operands[0], names);
    return error_set(err, EXIT_OURS, "policy: unknown word \"%.80s\"; %s %s", operands[0],
                     near ? "did you mean" : "it is", near ? near : "check or explain");
}

const struct verb verb_policy = {
    .name = "policy",
    .group = CLI_GROUP_OTHER,
    .synopsis = "check FILE | explain IMAGE [OPTIONS OF RUN] [-- COMMAND]",
    .summary = "Check a policy, or show which of its rules decides",
    .description =
        "check says whether FILE can be in force: its owner, who can write it, its content.\n"
        "explain shows what would be decided about `hybrid run` with these options, rule by rule; "
        "with\n"
        "--format=json as JSON. Its exit status is 125 where the run would be refused.",
    .examples = "  hybrid policy check /etc/hybrid/policy.json\n"
                "  hybrid policy explain busybox --cap-add SYS_ADMIN\n"
                "  hybrid --policy multi-tenant.json policy explain busybox",
    .settings_size = 1,
    .min_operands = 1,
    .max_operands = -1,
    .operand_ends_options = true,
    .run = run_policy_verb,
};

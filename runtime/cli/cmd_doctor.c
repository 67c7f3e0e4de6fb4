/* hybrid doctor: what works here, and what to do about the rest. */
#include <string.h>

#include "runtime/doctor/doctor.h"
#include "verbs.h"

struct settings {
    bool json;
};

static const struct cli_option options[] = {
    CLI_OPTION_FLAG(struct settings, json, "json", 0, "Print the findings as JSON"),
    { 0 },
};

static const char *const status_names[] = {
    [FINDING_GOOD] = "good",
    [FINDING_NOTE] = "note",
    [FINDING_MISSING] = "missing",
};

/* By the isolations that do not work: bits of NEEDED_BY_*. */
static const int exit_statuses[] = {
    [0] = 0,
    [NEEDED_BY_VM] = 1,
    [NEEDED_BY_CONTAINER] = 2,
    [NEEDED_BY_BOTH] = 3,
};

static void print_finding(const struct check *check, const struct finding *finding, FILE *out)
{
    (void)fprintf(out, "%-13s %-8s %s\n", check->name, status_names[finding->status],
                  finding->text);
    if (*finding->remedy)
        (void)fprintf(out, "%22s -> %s\n", "", finding->remedy);
}

static json_t *describe_finding(const struct check *check, const struct finding *finding)
{
    json_t *needed = json_array();
    if (check->needed_by & NEEDED_BY_CONTAINER)
        (void)json_array_append_new(needed, json_string("container"));
    if (check->needed_by & NEEDED_BY_VM)
        (void)json_array_append_new(needed, json_string("vm"));
    return json_pack("{s:s, s:s, s:s, s:s*, s:o}", "name", check->name, "status",
                     status_names[finding->status], "text", finding->text, "remedy",
                     *finding->remedy ? finding->remedy : NULL, "neededBy", needed);
}

/* Returns the isolations that do not work. */
static unsigned int look_at(const struct cli *cli, const struct check *checks, json_t *rows)
{
    unsigned int broken = 0;
    for (const struct check *check = checks; check->name; check++) {
        struct finding finding = { 0 };
        check->look(&cli->runtime, &finding);
        if (finding.status == FINDING_MISSING)
            broken |= check->needed_by;
        if (rows)
            (void)json_array_append_new(rows, describe_finding(check, &finding));
        else
            print_finding(check, &finding, cli->out);
    }
    return broken;
}

static int run(const struct cli *cli, const void *settings, char **operands, size_t count,
               struct error *err)
{
    const struct settings *given = settings;
    json_t *rows = given->json ? json_array() : NULL;
    (void)operands;
    (void)count;
    unsigned int broken = look_at(cli, host_checks, rows);
    broken |= look_at(cli, machine_checks, rows);
    broken |= look_at(cli, network_checks, rows);
    bool container = !(broken & NEEDED_BY_CONTAINER), vm = !(broken & NEEDED_BY_VM);
    if (given->json) {
        json_t *value = json_pack("{s:b, s:b, s:o}", "container", (int)container, "vm", (int)vm,
                                  "findings", rows);
        if (!value)
            return error_set(err, EXIT_OURS, "out of memory");
        cli_print_json(cli->out, value);
        json_decref(value);
    } else {
        (void)fprintf(cli->out, "\n--isolation=container %s here; --isolation=vm %s.\n",
                      container ? "works" : "does not work", vm ? "works" : "does not");
    }
    return exit_statuses[broken];
}

const struct verb verb_doctor = {
    .name = "doctor",
    .group = CLI_GROUP_OTHER,
    .synopsis = "[OPTIONS]",
    .summary = "Tell what works on this machine, and what to do about the rest",
    .description =
        "Looks at everything that a workload needs. The exit status is 0 if both isolations work\n"
        "here, 1 if only containers do, 2 if only VMs do, 3 if neither does.",
    .examples = "  hybrid doctor\n"
                "  hybrid doctor --json | jq '.findings[] | select(.status == \"missing\")'",
    .options = options,
    .settings_size = sizeof(struct settings),
    .run = run,
};

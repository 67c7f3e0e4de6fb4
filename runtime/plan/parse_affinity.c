/* process.execCPUAffinity. Specification: runtime-spec, config.md, "Linux Process". */
#include "json_read.h"
#include "parse_parts.h"

#define PATH "process.execCPUAffinity"

/* The number at *text, which is moved behind it; -1 if there is none that a set can hold. */
static long read_number(const char **text)
{
    char *end;
    if (**text < '0' || **text > '9')
        return -1;
    unsigned long number = strtoul(*text, &end, 10);
    *text = end;
    return number < PLAN_MAX_PROCESSORS ? (long)number : -1;
}

/* "0-3,7", the form of cpuset(7) without strides. Returns 0, or -1. */
static int read_list(const char *text, struct plan_processors *set)
{
    for (;;) {
        long first = read_number(&text), last = first;
        if (*text == '-' && first >= 0) {
            text++;
            last = read_number(&text);
        }
        if (first < 0 || last < first)
            return -1;
        for (long i = first; i <= last; i++)
            set->words[i / 64] |= UINT64_C(1) << (i % 64);
        if (*text == '\0')
            return 0;
        if (*text++ != ',')
            return -1;
    }
}

static int parse_set(struct plan *plan, const json_t *affinity, const char *key,
                     const struct plan_processors **result, struct error *err)
{
    const char *text = NULL;
    if (json_read_string(affinity, PATH, key, &text, err) < 0)
        return -1;
    if (!text || !*text)
        return 0;
    struct plan_processors *set = plan_allocate(plan, 1, sizeof *set, err);
    if (!set)
        return -1;
    if (read_list(text, set) < 0)
        return json_read_refuse(PATH, key, "a list of processors such as 0-3,7", err);
    *result = set;
    return 0;
}

int parse_affinity(struct plan *plan, const json_t *process, struct error *err)
{
    json_t *affinity = NULL;
    if (json_read_object(process, "process", "execCPUAffinity", &affinity, err) < 0 ||
        parse_set(plan, affinity, "initial", &plan->affinity_initial, err) < 0)
        return -1;
    return parse_set(plan, affinity, "final", &plan->affinity_final, err);
}

#include "compose.h"

/* Decimal digits from *text up to `stop`, below 2^32 - 1; *text moves behind `stop`. */
static int id_number(const char **text, char stop, uint32_t *value)
{
    const char *at = *text;
    uint64_t number = 0;
    while (*at >= '0' && *at <= '9' && number < UINT32_MAX)
        number = number * 10 + (uint64_t)(*at++ - '0');
    if (at == *text || *at != stop || number >= UINT32_MAX)
        return -1;
    *value = (uint32_t)number;
    *text = stop ? at + 1 : at;
    return 0;
}

int userns_parse(const char *text, struct plan_id_map *map, struct error *err)
{
    static const char *const form = "write CONTAINER:HOST:SIZE, such as 0:100000:65536, or host";
    *map = (struct plan_id_map){ 0 };
    if (strcmp(text, "host") == 0)
        return 0;
    const char *at = text;
    if (id_number(&at, ':', &map->container) < 0 || id_number(&at, ':', &map->host) < 0 ||
        id_number(&at, '\0', &map->size) < 0)
        return error_set(err, EXIT_OURS, "--userns=%s: not an id range; %s", text, form);
    if (map->size == 0)
        return error_set(err, EXIT_OURS, "--userns=%s: an empty range; %s", text, form);
    if (map->container != 0)
        return error_set(err, EXIT_OURS,
                         "--userns=%s: the range must begin at id 0 of the container, which sets "
                         "it up; %s",
                         text, form);
    if (map->host == 0)
        return error_set(err, EXIT_OURS,
                         "--userns=%s: root of the container would be root of the host; %s", text,
                         form);
    if ((uint64_t)map->host + map->size > UINT32_MAX)
        return error_set(err, EXIT_OURS, "--userns=%s: the range ends above id 4294967294; %s",
                         text, form);
    return 0;
}

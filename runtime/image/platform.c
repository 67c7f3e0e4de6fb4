#include "platform.h"

#include <string.h>
#include <sys/utsname.h>

#include "document.h"

struct platform platform_host(void)
{
    static const struct {
        const char *machine, *architecture;
    } known[] = { { "x86_64", "amd64" }, { "aarch64", "arm64" } };
    struct platform platform = { .os = "linux", .architecture = "unknown" };
    struct utsname names;
    if (uname(&names) == 0)
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (strcmp(names.machine, known[i].machine) == 0)
                (void)snprintf(platform.architecture, sizeof platform.architecture, "%s",
                               known[i].architecture);
    return platform;
}

int platform_parse(const char *text, struct platform *platform, struct error *err)
{
    char *const words[] = { platform->os, platform->architecture, platform->variant };
    const char *at = text;
    size_t count = 0;
    *platform = (struct platform){ .os = "" };
    for (; count < sizeof words / sizeof *words; count++) {
        size_t length = strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789_");
        if (length == 0 || length >= PLATFORM_WORD)
            break;
        memcpy(words[count], at, length);
        at += length;
        if (*at != '/') {
            count++;
            break;
        }
        at++;
    }
    char printable[100];
    if (*at || count < 2 || at[-1] == '/')
        return error_set(err, EXIT_OURS,
                         "\"%s\" is not a platform: write OS/ARCHITECTURE[/VARIANT], such as "
                         "linux/arm64",
                         document_printable(text, printable, sizeof printable));
    return 0;
}

static const char *member(const json_t *object, const char *key, const char *absent)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value && *value ? value : absent;
}

bool platform_matches(const struct platform *platform, const json_t *object)
{
    return strcmp(member(object, "os", ""), platform->os) == 0 &&
           strcmp(member(object, "architecture", ""), platform->architecture) == 0 &&
           (!*platform->variant || strcmp(member(object, "variant", ""), platform->variant) == 0);
}

int platform_check(const struct platform *platform, const json_t *config, const char *what,
                   struct error *err)
{
    const char *words[2];
    const struct platform host = platform_host();
    if (document_get_string(config, "os", what, &words[0], err) < 0 ||
        document_get_string(config, "architecture", what, &words[1], err) < 0)
        return -1;
    const char *os = member(config, "os", host.os);
    const char *architecture = member(config, "architecture", host.architecture);
    if (strcmp(os, platform->os) == 0 && strcmp(architecture, platform->architecture) == 0)
        return 0;
    bool is_host = strcmp(platform->os, host.os) == 0 &&
                   strcmp(platform->architecture, host.architecture) == 0;
    char printable[2][64];
    return error_set(
        err, EXIT_OURS, "the image is for %s/%s; %s %s/%s; %s",
        document_printable(os, printable[0], sizeof printable[0]),
        document_printable(architecture, printable[1], sizeof printable[1]),
        is_host ? "this machine runs" : "asked for is", platform->os, platform->architecture,
        is_host ? "use one that was built for it" : "leave --platform out, or name another");
}

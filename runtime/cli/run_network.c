#include "run_network.h"

#include <string.h>

#include "runtime/network/network.h"

/* Forms that others have and this has not: the part before a colon, and why. */
static const struct {
    const char *name, *why;
} refused[] = {
    { "host", "no workload is given the host's own network" },
    { "bridge", "hybrid makes no networks yet; make a namespace with `ip netns add NAME`, connect "
                "it, and use ns:/run/netns/NAME; or use none" },
    { "container", "use ns:/proc/PID/ns/net with a process of the other workload" },
    { "private", "every workload has a network of its own unless it joins one; use none" },
    { "slirp4netns", "there is no user-mode network yet; use none, or ns:PATH" },
    { "pasta", "there is no user-mode network yet; use none, or ns:PATH" },
};

static int refuse(const char *text, struct error *err)
{
    size_t length = strcspn(text, ":=");
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (strlen(refused[i].name) == length && strncmp(refused[i].name, text, length) == 0)
            return error_set(err, EXIT_OURS, "--network=%.200s is not supported: %s", text,
                             refused[i].why);
    }
    return error_set(err, EXIT_OURS,
                     "--network=%.200s is not valid: it is none, or ns:PATH with the absolute path "
                     "of a network namespace, such as ns:/run/netns/NAME",
                     text);
}

int run_network_parse(const char *text, struct run_options *options, char **resolver,
                      struct error *err)
{
    static const char NAMESPACE[] = "ns:/";
    if (strcmp(text, "none") == 0)
        return 0;
    if (strncmp(text, NAMESPACE, sizeof NAMESPACE - 1) != 0)
        return refuse(text, err);
    options->network_path = text + sizeof NAMESPACE - 2;
    *resolver = network_read_resolver(options->network_path, err);
    options->resolver = *resolver;
    return *resolver ? 0 : -1;
}

#include "runtime/image/registry/remote.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "io.h"

enum { MAX_CA_BYTES = 4 * 1024 * 1024 };

bool remote_is_loopback(const char *host)
{
    char name[256];
    struct in_addr address;
    (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(host, ":"), host);
    if (strcmp(name, "localhost") == 0)
        return true;
    return inet_pton(AF_INET, name, &address) == 1 && ntohl(address.s_addr) >> 24 == IN_LOOPBACKNET;
}

static char *read_authorities(const char *path, struct error *err)
{
    struct stat status;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &status) < 0) {
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot open \"ca_file\" %s", path);
        return NULL;
    }
    _cleanup_free_ char *text = NULL;
    if (S_ISREG(status.st_mode) && status.st_size <= MAX_CA_BYTES)
        text = calloc(1, (size_t)status.st_size + 1);
    if (!text || io_read_all(fd, text, (size_t)status.st_size) != status.st_size) {
        (void)error_set(err, EXIT_OURS,
                        "cannot read \"ca_file\" %s: not a file of at most %d bytes", path,
                        MAX_CA_BYTES);
        return NULL;
    }
    return take_pointer(&text);
}

static enum endpoint_scheme choose_scheme(const struct registry_options *registry, const char *host,
                                          bool plain_http)
{
    if (plain_http)
        return ENDPOINT_HTTP;
    if (registry->plain_http_given)
        return registry->plain_http ? ENDPOINT_HTTP : ENDPOINT_HTTPS;
    return remote_is_loopback(host) ? ENDPOINT_EITHER : ENDPOINT_HTTPS;
}

static int add_endpoint(struct remote *remote, const struct registry_settings *settings,
                        const char *host, bool plain_http, struct error *err)
{
    static const char docker[] = "docker.io";
    const struct registry_options registry = registry_settings_of(settings, host);
    struct endpoint *endpoint = &remote->endpoints[remote->count++];
    enum endpoint_scheme scheme = choose_scheme(&registry, host, plain_http);
    remote->vouched &= !plain_http && (scheme == ENDPOINT_HTTPS || registry.plain_http_given);
    *endpoint = (struct endpoint){
        .name = strdup(host),
        /* The name that users write is not the name of the machine that answers. */
        .host = strdup(strcmp(host, docker) == 0 ? "registry-1.docker.io" : host),
        .scheme = scheme,
        .loopback = remote_is_loopback(host),
        .verify = !registry.skip_verify,
    };
    if (!endpoint->name || !endpoint->host)
        return error_set(err, EXIT_OURS, "out of memory");
    if (registry.ca_file && !(endpoint->ca = read_authorities(registry.ca_file, err)))
        return -1;
    return credentials_find(host, &endpoint->credentials, err);
}

static int add_endpoints(struct remote *remote, const struct registry_settings *settings,
                         const char *domain, bool plain_http, struct error *err)
{
    const json_t *mirrors = registry_settings_of(settings, domain).mirrors;
    remote->parallel = settings->parallel;
    remote->stall_seconds = settings->stall_seconds;
    remote->endpoints = calloc(json_array_size(mirrors) + 1, sizeof *remote->endpoints);
    if (!remote->endpoints)
        return error_set(err, EXIT_OURS, "out of memory");
    for (size_t i = 0; i < json_array_size(mirrors); i++)
        if (add_endpoint(remote, settings, json_string_value(json_array_get(mirrors, i)), false,
                         err) < 0)
            return -1;
    return add_endpoint(remote, settings, domain, plain_http, err);
}

/* docker.io/library/busybox:1.36 -> docker.io, library/busybox and 1.36 */
static int split(struct remote *remote, const char *reference, char **domain, struct error *err)
{
    const char *slash = strchr(reference, '/');
    const char *at = strchr(reference, '@');
    const char *end = at ? at : strrchr(reference, ':');
    remote->reference = strdup(reference);
    *domain = strndup(reference, (size_t)(slash - reference));
    remote->repository = strndup(slash + 1, (size_t)(end - slash - 1));
    remote->version = strdup(end + 1);
    return remote->reference && *domain && remote->repository && remote->version
               ? 0
               : error_set(err, EXIT_OURS, "out of memory");
}

int remote_open(const char *reference, const char *settings_path, bool plain_http,
                struct remote *remote, struct error *err)
{
    struct registry_settings settings;
    _cleanup_free_ char *domain = NULL;
    *remote = (struct remote){ .vouched = strcmp(settings_path, REGISTRY_SETTINGS_PATH) == 0 };
    if (registry_settings_read(settings_path, &settings, err) < 0)
        return -1;
    int result = split(remote, reference, &domain, err);
    if (result == 0)
        result = add_endpoints(remote, &settings, domain, plain_http, err);
    registry_settings_free(&settings);
    if (result < 0)
        remote_free(remote);
    return result;
}

void remote_free(struct remote *remote)
{
    for (size_t i = 0; i < remote->count; i++) {
        struct endpoint *endpoint = &remote->endpoints[i];
        free(endpoint->name);
        free(endpoint->host);
        free(endpoint->ca);
        free(endpoint->authorization);
        credentials_free(&endpoint->credentials);
    }
    free(remote->endpoints);
    free(remote->reference);
    free(remote->repository);
    free(remote->version);
    *remote = (struct remote){ 0 };
}

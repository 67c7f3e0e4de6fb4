#include "runtime/image/registry/credentials.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>

#include "cleanup.h"
#include "runtime/image/document.h"
#include "runtime/image/registry/credential_helper.h"

enum { MAX_AUTH = 16384 };

static void forget(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

void credentials_free(struct credentials *credentials)
{
    free(credentials->user);
    forget(credentials->password);
    forget(credentials->identity_token);
    free(credentials->trouble);
    *credentials = (struct credentials){ 0 };
}

static int set(char **target, const char *value, struct error *err)
{
    free(*target);
    *target = value && *value ? strdup(value) : NULL;
    return value && *value && !*target ? error_set(err, EXIT_OURS, "out of memory") : 0;
}

int credentials_parse_helper(const char *text, size_t length, struct credentials *credentials,
                             struct error *err)
{
    static const char what[] = "its answer";
    const char *user;
    const char *secret;
    _cleanup_json_ json_t *answer = document_parse(text, length, what, err);
    if (!answer || document_get_string(answer, "Username", what, &user, err) < 0 ||
        document_get_string(answer, "Secret", what, &secret, err) < 0)
        return -1;
    if (!user || !secret)
        return error_set(err, EXIT_OURS, "%s lacks Username or Secret", what);
    if (strcmp(user, "<token>") == 0)
        return set(&credentials->identity_token, secret, err);
    return set(&credentials->user, user, err) < 0 ? -1 : set(&credentials->password, secret, err);
}

/* base64 of "user:password"; EVP_DecodeBlock pads its result with zeros, which end the text. */
static int parse_auth(const char *auth, struct credentials *credentials, struct error *err)
{
    size_t length = strlen(auth);
    char plain[MAX_AUTH + 1] = "";
    int decoded =
        length % 4 == 0 && length <= MAX_AUTH
            ? EVP_DecodeBlock((unsigned char *)plain, (const unsigned char *)auth, (int)length)
            : -1;
    char *colon = decoded > 0 ? strchr(plain, ':') : NULL;
    if (!colon)
        return error_set(err, EXIT_OURS, "\"auth\" is not base64 of user:password");
    *colon = '\0';
    return set(&credentials->user, plain, err) < 0 ? -1
                                                   : set(&credentials->password, colon + 1, err);
}

int credentials_parse_entry(const json_t *entry, struct credentials *credentials, struct error *err)
{
    static const char what[] = "\"auths\"";
    const char *auth;
    const char *user;
    const char *password;
    const char *token;
    if (document_get_string(entry, "auth", what, &auth, err) < 0 ||
        document_get_string(entry, "username", what, &user, err) < 0 ||
        document_get_string(entry, "password", what, &password, err) < 0 ||
        document_get_string(entry, "identitytoken", what, &token, err) < 0)
        return -1;
    if (token && *token && set(&credentials->identity_token, token, err) < 0)
        return -1;
    if (auth && *auth)
        return parse_auth(auth, credentials, err);
    return user && password ? (set(&credentials->user, user, err) < 0
                                   ? -1
                                   : set(&credentials->password, password, err))
                            : 0;
}

/* Docker's login writes its own registry under a URL of the registry API's first version. */
static const char docker_hub_key[] = "https://index.docker.io/v1/";

/* The key of `auths` may be a host, or a URL of it as older Docker wrote it. */
static const json_t *find_entry(const json_t *auths, const char *host)
{
    static const struct {
        const char *before, *after;
    } forms[] = { { "", "" },
                  { "https://", "" },
                  { "http://", "" },
                  { "https://", "/v1/" },
                  { "https://", "/v2/" },
                  { "http://", "/v1/" },
                  { "http://", "/v2/" } };
    char key[300];
    if (strcmp(host, "docker.io") == 0 && json_object_get(auths, docker_hub_key))
        return json_object_get(auths, docker_hub_key);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        (void)snprintf(key, sizeof key, "%s%s%s", forms[i].before, host, forms[i].after);
        if (json_object_get(auths, key))
            return json_object_get(auths, key);
    }
    return NULL;
}

static int find_in(const json_t *config, const char *path, const char *host,
                   struct credentials *credentials, struct error *err)
{
    const json_t *helpers;
    const json_t *auths;
    const char *helper;
    const char *store;
    struct error cause = { 0 };
    const char *key = strcmp(host, "docker.io") == 0 ? docker_hub_key : host;
    if (document_get_object(config, "credHelpers", path, &helpers, err) < 0 ||
        document_get_object(config, "auths", path, &auths, err) < 0 ||
        document_get_string(config, "credsStore", path, &store, err) < 0 ||
        document_get_string(helpers, host, path, &helper, err) < 0 ||
        (!helper && document_get_string(helpers, key, path, &helper, err) < 0))
        return -1;
    helper = helper ? helper : store;
    if (helper && *helper && credential_helper_get(helper, key, credentials, &cause) < 0) {
        credentials_free(credentials);
        if (asprintf(&credentials->trouble, "docker-credential-%s, which %s names: %s", helper,
                     path, cause.message) < 0)
            credentials->trouble = NULL;
    }
    const json_t *entry = find_entry(auths, host);
    if (credentials->user || credentials->identity_token || !entry)
        return 0;
    if (credentials_parse_entry(entry, credentials, &cause) < 0)
        return error_set(err, EXIT_OURS, "%s: the entry of %s: %s", path, host, cause.message);
    return 0;
}

static char *find_config(void)
{
    char *path = NULL;
    const char *directory = getenv("DOCKER_CONFIG");
    const char *home = getenv("HOME");
    int length = directory && *directory ? asprintf(&path, "%s/config.json", directory)
                 : home && *home         ? asprintf(&path, "%s/.docker/config.json", home)
                                         : -1;
    return length < 0 ? NULL : path;
}

int credentials_find(const char *host, struct credentials *credentials, struct error *err)
{
    int errnum;
    *credentials = (struct credentials){ 0 };
    _cleanup_free_ char *path = find_config();
    if (!path)
        return 0;
    _cleanup_json_ json_t *config = document_read(AT_FDCWD, path, path, &errnum, err);
    if (!config)
        return errnum == ENOENT || errnum == ENOTDIR ? 0 : -1;
    if (find_in(config, path, host, credentials, err) == 0)
        return 0;
    credentials_free(credentials);
    return -1;
}

/* link: helper image plan */
/* The registry client's parsers: challenges, tokens, credentials, settings, platforms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/x509_vfy.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/image/platform.h"
#include "runtime/image/registry/challenge.h"
#include "runtime/image/registry/credentials.h"
#include "runtime/image/registry/remote.h"
#include "runtime/image/registry/response.h"
#include "runtime/image/registry/token.h"
#include "runtime/image/registry/trouble.h"

static void test_challenge(void **state)
{
    static const struct {
        const char *value;
        enum challenge_scheme scheme;
        const char *realm, *service;
    } rows[] = {
        { "Basic realm=\"r\"", CHALLENGE_BASIC, "r", "" },
        { "basic REALM=r", CHALLENGE_BASIC, "r", "" },
        { "Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:a:pull,push\"",
          CHALLENGE_BEARER, "https://a/t", "s" },
        { "Bearer realm = \"https://a/t\" , service = s", CHALLENGE_BEARER, "https://a/t", "s" },
        { "Bearer realm=\"a\\\"b\\\\c\"", CHALLENGE_BEARER, "a\"b\\c", "" },
        { "Basic realm=\"b\", Bearer realm=\"t\",service=\"s\"", CHALLENGE_BEARER, "t", "s" },
        { "Bearer realm=\"t\",service=\"s\", Basic realm=\"b\"", CHALLENGE_BEARER, "t", "s" },
        { "Negotiate, Basic realm=\"b\"", CHALLENGE_BASIC, "b", "" },
        { "Digest realm=\"d\", nonce=\"n\"", CHALLENGE_NONE, "", "" },
        { "Bearer", CHALLENGE_NONE, "", "" },
        { "Bearer service=\"s\"", CHALLENGE_NONE, "", "" },
        { "Bearer realm=\"open", CHALLENGE_NONE, "", "" },
        { "", CHALLENGE_NONE, "", "" },
        { ",,, ,", CHALLENGE_NONE, "", "" },
        { "=", CHALLENGE_NONE, "", "" },
        { "\"", CHALLENGE_NONE, "", "" },
        { "Basic", CHALLENGE_BASIC, "", "" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct challenge challenge;
        challenge_parse(rows[i].value, &challenge);
        if (challenge.scheme != rows[i].scheme)
            fail_msg("%s: scheme %d", rows[i].value, challenge.scheme);
        assert_string_equal(challenge.realm, rows[i].realm);
        assert_string_equal(challenge.service, rows[i].service);
    }
}

static void test_challenge_too_long(void **state)
{
    char value[3 * CHALLENGE_TEXT];
    struct challenge challenge;
    (void)state;
    for (size_t length = CHALLENGE_TEXT - 2; length < CHALLENGE_TEXT + 2; length++) {
        int used = snprintf(value, sizeof value, "Bearer realm=\"");
        memset(value + used, 'x', length);
        memcpy(value + used + length, "\"", 2);
        challenge_parse(value, &challenge);
        assert_int_equal(challenge.scheme,
                         length < CHALLENGE_TEXT ? CHALLENGE_BEARER : CHALLENGE_NONE);
    }
}

static void test_token(void **state)
{
    static const struct {
        const char *text, *expected;
    } rows[] = {
        { "{\"token\": \"abc\"}", "abc" },
        { "{\"access_token\": \"abc\", \"expires_in\": 60}", "abc" },
        { "{\"token\": \"\", \"access_token\": \"b\"}", "b" },
        { "{\"token\": \"a b\"}", NULL },
        { "{\"token\": \"a\\n\"}", NULL },
        { "{\"token\": \"\\u00e9\"}", NULL },
        { "{\"token\": 7}", NULL },
        { "[]", NULL },
        { "{}", NULL },
        { "", NULL },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error err = { 0 };
        char *token = token_parse(rows[i].text, strlen(rows[i].text), &err);
        if (rows[i].expected)
            assert_string_equal(token, rows[i].expected);
        else
            assert_true(!token && err.exit_code == EXIT_OURS);
        free(token);
    }
}

static void test_credentials(void **state)
{
    static const struct {
        const char *entry, *user, *password, *token;
    } rows[] = {
        { "{\"auth\": \"ZXZlOnNlY3JldA==\"}", "eve", "secret", NULL },
        { "{\"auth\": \"ZXZlOmE6Yg==\"}", "eve", "a:b", NULL },
        { "{\"username\": \"eve\", \"password\": \"x\"}", "eve", "x", NULL },
        { "{\"auth\": \"ZXZlOnNlY3JldA==\", \"identitytoken\": \"t\"}", "eve", "secret", "t" },
        { "{}", NULL, NULL, NULL },
    };
    static const char *const wrong[] = { "{\"auth\": \"ZXZl\"}", "{\"auth\": \"%%%%\"}",
                                         "{\"auth\": \"abc\"}", "{\"auth\": 1}" };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error err = { 0 };
        struct credentials got = { 0 };
        json_t *entry = json_loads(rows[i].entry, 0, NULL);
        assert_int_equal(credentials_parse_entry(entry, &got, &err), 0);
        const char *const pairs[][2] = { { got.user, rows[i].user },
                                         { got.password, rows[i].password },
                                         { got.identity_token, rows[i].token } };
        for (size_t n = 0; n < 3; n++)
            assert_string_equal(pairs[n][0] ? pairs[n][0] : "(none)",
                                pairs[n][1] ? pairs[n][1] : "(none)");
        credentials_free(&got);
        json_decref(entry);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct error err = { 0 };
        struct credentials got = { 0 };
        json_t *entry = json_loads(wrong[i], 0, NULL);
        assert_int_equal(credentials_parse_entry(entry, &got, &err), -1);
        credentials_free(&got);
        json_decref(entry);
    }
}

static void test_helper_answer(void **state)
{
    static const char pair[] = "{\"ServerURL\": \"x\", \"Username\": \"eve\", \"Secret\": \"s\"}";
    static const char token[] = "{\"Username\": \"<token>\", \"Secret\": \"t\"}";
    static const char lacking[] = "{\"Username\": \"eve\"}";
    struct credentials got = { 0 };
    struct error err = { 0 };
    (void)state;
    assert_int_equal(credentials_parse_helper(pair, strlen(pair), &got, &err), 0);
    assert_string_equal(got.user, "eve");
    assert_string_equal(got.password, "s");
    credentials_free(&got);
    assert_int_equal(credentials_parse_helper(token, strlen(token), &got, &err), 0);
    assert_null(got.user);
    assert_string_equal(got.identity_token, "t");
    credentials_free(&got);
    assert_int_equal(credentials_parse_helper(lacking, strlen(lacking), &got, &err), -1);
    credentials_free(&got);
}

static void take(struct response *response, const char *line)
{
    struct error err = { 0 };
    assert_int_equal(response_take_header(response, line, strlen(line), &err), 0);
}

static void test_response(void **state)
{
    static const char digest[] =
        "Docker-Content-Digest: sha256:"
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n";
    struct response *response = calloc(1, sizeof *response);
    struct error err = { 0 };
    char line[1000];
    (void)state;
    assert_non_null(response);
    response_begin(response);
    take(response, "HTTP/1.1 401 Unauthorized\r\n");
    take(response, "www-authenticate: Basic realm=a \r\n");
    take(response, "WWW-Authenticate: Bearer realm=b\r\n");
    take(response, "Location:/v2/x\r\n");
    take(response, "Content-Range: bytes 100-199/200\r\n");
    take(response, digest);
    assert_string_equal(response->challenge, "Basic realm=a, Bearer realm=b");
    assert_string_equal(response->location, "/v2/x");
    assert_int_equal(response->range_start, 100);
    assert_int_equal(strlen(response->digest), 64);
    take(response, "HTTP/2 200\r\n"); /* what the redirection led to */
    take(response, "Docker-Content-Digest: sha512:1234\r\n");
    take(response, "Content-Range: nonsense\r\n");
    assert_string_equal(response->challenge, "");
    assert_string_equal(response->digest, "");
    assert_int_equal(response->range_start, -1);
    memset(line, 'x', sizeof line);
    int refused = 0;
    for (int i = 0; i < 100 && !refused; i++)
        refused = response_take_header(response, line, sizeof line, &err) < 0;
    assert_true(refused);
    assert_int_equal(response_take_body(response, line, sizeof line), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(response_take_body(response, line, sizeof line), 0);
    assert_int_equal(response_take_body(response, line, sizeof line), -1);
    free(response);
}

static void test_loopback(void **state)
{
    static const char *const yes[] = { "localhost", "localhost:5000", "127.0.0.1", "127.9.9.9:1" };
    static const char *const no[] = { "localhost.example", "128.0.0.1", "127.0.0.1.example",
                                      "127.example:1", "docker.io" };
    (void)state;
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        assert_true(remote_is_loopback(yes[i]));
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        assert_false(remote_is_loopback(no[i]));
}

/* Writes settings to a file of the test; its path is in *state. */
static void write_settings(void **state, const char *text)
{
    FILE *file = fopen(*state, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0 && fclose(file) == 0);
}

static void test_remote(void **state)
{
    struct remote remote;
    struct error err = { 0 };
    (void)setenv("DOCKER_CONFIG", "/nonexistent", 1);
    write_settings(state, "{\"stall_seconds\": 7, \"registries\": {"
                          "\"docker.io\": {\"mirrors\": [\"m.example:1\", \"localhost:2\"]},"
                          "\"m.example:1\": {\"skip_verify\": true},"
                          "\"localhost:2\": {\"plain_http\": false}}}");
    assert_int_equal(remote_open("docker.io/library/busybox:1.36", *state, false, &remote, &err),
                     0);
    assert_int_equal(remote.count, 3);
    assert_int_equal(remote.stall_seconds, 7);
    assert_string_equal(remote.repository, "library/busybox");
    assert_string_equal(remote.version, "1.36");
    assert_string_equal(remote.endpoints[0].host, "m.example:1");
    assert_false(remote.endpoints[0].verify);
    assert_string_equal(remote.endpoints[1].host, "localhost:2");
    assert_int_equal(remote.endpoints[1].scheme, ENDPOINT_HTTPS);
    assert_string_equal(remote.endpoints[2].host, "registry-1.docker.io");
    assert_true(remote.endpoints[2].verify);
    remote_free(&remote);
    write_settings(state, "{}");
    assert_int_equal(remote_open("a.b:1/c@sha256:x", *state, true, &remote, &err), 0);
    assert_string_equal(remote.version, "sha256:x");
    assert_int_equal(remote.endpoints[0].scheme, ENDPOINT_HTTP);
    remote_free(&remote);
    assert_int_equal(remote_open("localhost/c:1", *state, false, &remote, &err), 0);
    assert_int_equal(remote.endpoints[0].scheme, ENDPOINT_EITHER);
    remote_free(&remote);
    write_settings(state, "{\"registries\": {\"a.b\": {\"plainhttp\": true}}}");
    assert_int_equal(remote_open("a.b/c:1", *state, false, &remote, &err), -1);
    assert_non_null(strstr(err.message, "did you mean \"plain_http\""));
}

static void test_platform(void **state)
{
    static const struct {
        const char *text, *os, *architecture, *variant;
    } rows[] = { { "linux/amd64", "linux", "amd64", "" },
                 { "linux/arm64/v8", "linux", "arm64", "v8" } };
    static const char *const wrong[] = { "",           "linux",       "linux/",
                                         "/amd64",     "linux//",     "linux/a/b/c",
                                         "linux/a/b/", "Linux/amd64", "linux/amd64 " };
    struct platform got;
    struct error err = { 0 };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(platform_parse(rows[i].text, &got, &err), 0);
        assert_string_equal(got.os, rows[i].os);
        assert_string_equal(got.architecture, rows[i].architecture);
        assert_string_equal(got.variant, rows[i].variant);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (platform_parse(wrong[i], &got, &err) != -1)
            fail_msg("\"%s\" is taken", wrong[i]);
    json_t *object =
        json_pack("{s:s, s:s, s:s}", "os", "linux", "architecture", "arm64", "variant", "v8");
    (void)platform_parse("linux/arm64", &got, &err);
    assert_true(platform_matches(&got, object));
    (void)platform_parse("linux/arm64/v9", &got, &err);
    assert_false(platform_matches(&got, object));
    assert_false(platform_matches(&got, NULL));
    json_decref(object);
}

static void test_trouble(void **state)
{
    static const struct {
        void (*explain)(long code, struct trouble *trouble);
        long code;
        const char *cause, *remedy;
    } rows[] = {
        { trouble_of_certificate, X509_V_ERR_CERT_HAS_EXPIRED, "expired", "clock" },
        { trouble_of_certificate, X509_V_ERR_CERT_NOT_YET_VALID, "not valid yet", "clock" },
        { trouble_of_certificate, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
          "no known authority", "ca_file" },
        { trouble_of_certificate, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "nobody but itself",
          "ca_file" },
        { trouble_of_certificate, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "not known", "ca_file" },
        { trouble_of_certificate, X509_V_ERR_UNSPECIFIED, "another name", "check the name" },
        { trouble_of_certificate, X509_V_OK, "another name", "check the name" },
        { trouble_of_certificate, X509_V_ERR_CERT_REVOKED, "revoked", "ca_file" },
        { trouble_of_name, EAI_NONAME, "knows no such host", "check the name" },
        { trouble_of_name, EAI_NODATA, "knows no such host", "check the name" },
        { trouble_of_name, EAI_AGAIN, "does not answer", "/etc/resolv.conf" },
        { trouble_of_name, EAI_FAIL, "cannot be resolved (", "check the network" },
        { trouble_of_name, 0, "could not be resolved", "try again" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct trouble trouble = { .remedy = NULL };
        rows[i].explain(rows[i].code, &trouble);
        if (!strstr(trouble.cause, rows[i].cause) || !strstr(trouble.remedy, rows[i].remedy))
            fail_msg("row %zu: %s; %s", i, trouble.cause, trouble.remedy);
    }
}

static void test_trouble_elsewhere(void **state)
{
    struct trouble trouble = { .remedy = "untouched" };
    CURL *easy = curl_easy_init();
    (void)state;
    assert_non_null(easy);
    assert_false(trouble_explain(easy, CURLE_RECV_ERROR, &trouble));
    assert_string_equal(trouble.remedy, "untouched");
    assert_true(trouble_explain(easy, CURLE_SSL_CONNECT_ERROR, &trouble));
    assert_non_null(strstr(trouble.remedy, "--plain-http"));
    curl_easy_cleanup(easy);
}

static int make_file(void **state)
{
    char path[] = "/tmp/test-registry-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    *state = strdup(path);
    return fd < 0 || close(fd) < 0 || !*state ? -1 : 0;
}

static int remove_file(void **state)
{
    int result = unlink(*state);
    free(*state);
    return result;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_challenge),
        cmocka_unit_test(test_challenge_too_long),
        cmocka_unit_test(test_token),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_helper_answer),
        cmocka_unit_test(test_loopback),
        cmocka_unit_test(test_platform),
        cmocka_unit_test(test_response),
        cmocka_unit_test(test_trouble),
        cmocka_unit_test(test_trouble_elsewhere),
        cmocka_unit_test_setup_teardown(test_remote, make_file, remove_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

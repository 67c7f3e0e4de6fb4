/* Signatures over images: whose they are, and what they say. */
/* link: helper image plan */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "runtime/image/helper/signature.h"

#define HEX   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define OTHER "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define PAYLOAD(type, digest, reference)                                                           \
    "{\"critical\":{\"identity\":{\"docker-reference\":\"" reference                               \
    "\"},\"image\":{\"docker-manifest-digest\":\"" digest "\"},\"type\":\"" type                   \
    "\"},\"optional\":null}"
#define TYPE "cosign container image signature"

static const struct signature_claim claim = { HEX, "registry.example/team/app" };

/* The public half in PEM form, as a key of the room. */
static struct signature_key *public_half(EVP_PKEY *pair, struct error *err)
{
    char *text = NULL;
    BIO *pem = BIO_new(BIO_s_mem());
    assert_non_null(pair);
    assert_int_equal(PEM_write_bio_PUBKEY(pem, pair), 1);
    (void)BIO_write(pem, "", 1);
    (void)BIO_get_mem_data(pem, &text);
    struct signature_key *key = signature_read_key(text, "test.pem", err);
    (void)BIO_free(pem);
    return key;
}

/* In base64, malloc'd. */
static char *sign(EVP_PKEY *pair, const char *payload)
{
    unsigned char bytes[1024];
    size_t size = sizeof bytes;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    char *text = malloc(2048);
    assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, pair), 1);
    assert_int_equal(
        EVP_DigestSign(context, bytes, &size, (const unsigned char *)payload, strlen(payload)), 1);
    EVP_MD_CTX_free(context);
    (void)EVP_EncodeBlock((unsigned char *)text, bytes, (int)size);
    return text;
}

static void test_payloads(void **state)
{
    static const struct {
        const char *payload, *error; /* NULL: good */
    } cases[] = {
        { PAYLOAD(TYPE, "sha256:" HEX, "registry.example/team/app"), NULL },
        { PAYLOAD(TYPE, "sha256:" HEX, "registry.example/team/app:1"), NULL },
        { PAYLOAD(TYPE, "sha256:" HEX, "registry.example/team/app@sha256:" HEX), NULL },
        { PAYLOAD(TYPE, "sha256:" OTHER, "registry.example/team/app"), "another image" },
        { PAYLOAD(TYPE, HEX, "registry.example/team/app"), "another image" },
        { PAYLOAD(TYPE, "sha256:" HEX, "registry.example/team/app2"), "signed as" },
        { PAYLOAD(TYPE, "sha256:" HEX, "registry.example/team"), "signed as" },
        { PAYLOAD(TYPE, "sha256:" HEX, "\\u001b[31m"), "signed as" },
        { PAYLOAD("atomic container signature", "sha256:" HEX, "registry.example/team/app"),
          "no \"cosign" },
        { "{\"critical\":{}}", "no \"cosign" },
        { "{\"critical\":{\"type\":\"" TYPE "\"}}", "another image" },
        { "{\"critical\":[]}", "critical" },
        { "{\"critical\":{\"type\":1}}", "type" },
        { "[]", "" },
        { "{}", "no \"cosign" },
        { "no JSON", "payload" },
    };
    EVP_PKEY *pair = EVP_EC_gen("P-256");
    struct error err = { 0 };
    struct signature_key *key = public_half(pair, &err);
    (void)state;
    assert_non_null(key);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *signature = sign(pair, cases[i].payload);
        int result = signature_check(key, cases[i].payload, strlen(cases[i].payload), signature,
                                     &claim, &err);
        free(signature);
        if ((result == 0) != (cases[i].error == NULL) ||
            (result < 0 && !strstr(err.message, cases[i].error)))
            fail_msg("%s: %d, %s", cases[i].payload, result, err.message);
        assert_null(result < 0 ? strchr(err.message, '\033') : NULL);
    }
    signature_key_free(key);
    EVP_PKEY_free(pair);
}

static void expect_refused(const struct signature_key *key, const char *payload, size_t length,
                           const char *signature)
{
    struct error err = { 0 };
    assert_int_equal(signature_check(key, payload, length, signature, &claim, &err), -1);
    assert_non_null(strstr(err.message, "not of this key"));
}

static void test_signatures(void **state)
{
    static const char payload[] = PAYLOAD(TYPE, "sha256:" HEX, "registry.example/team/app");
    static const char *const malformed[] = {
        "", "AAAA", "=", "====", "A===", "not base64!!", "AA=A"
    };
    EVP_PKEY *pairs[] = { EVP_EC_gen("P-256"), EVP_RSA_gen(2048) };
    struct error err = { 0 };
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct signature_key *key = public_half(pairs[i], &err);
        char *signature = sign(pairs[i], payload), *other = sign(pairs[1 - i], payload);
        size_t length = sizeof payload - 1;
        assert_int_equal(signature_check(key, payload, length, signature, &claim, &err), 0);
        expect_refused(key, payload, length, other);
        expect_refused(key, payload, length - 1, signature);
        for (size_t n = 0; n < sizeof malformed / sizeof *malformed; n++)
            expect_refused(key, payload, length, malformed[n]);
        signature[10] = signature[10] == 'A' ? 'B' : 'A';
        expect_refused(key, payload, length, signature);
        char *huge = calloc(1, 8001);
        memset(huge, 'A', 8000);
        expect_refused(key, payload, length, huge);
        free(huge);
        free(signature);
        free(other);
        signature_key_free(key);
    }
    EVP_PKEY_free(pairs[0]);
    EVP_PKEY_free(pairs[1]);
}

static void test_keys(void **state)
{
    enum { REFUSED = 3 };
    EVP_PKEY *const refused[REFUSED] = { EVP_EC_gen("P-384"), EVP_RSA_gen(1024),
                                         EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") };
    struct error err;
    (void)state;
    for (size_t i = 0; i < REFUSED; i++) {
        assert_null(public_half(refused[i], &err));
        assert_non_null(strstr(err.message, "neither ECDSA"));
        EVP_PKEY_free(refused[i]);
    }
    assert_null(signature_read_key("-----BEGIN PUBLIC KEY-----\nAAAA\n", "x.pem", &err));
    assert_non_null(strstr(err.message, "x.pem is not a public key"));
    assert_null(signature_read_key("", "x.pem", &err));
}

static void test_repositories(void **state)
{
    static const char *const cases[][2] = {
        { "docker.io/library/busybox:latest", "docker.io/library/busybox" },
        { "localhost:5000/app:1", "localhost:5000/app" },
        { "localhost:5000/app", "localhost:5000/app" },
        { "localhost:5000/app@sha256:" HEX, "localhost:5000/app" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *repository = signature_repository(cases[i][0]);
        assert_string_equal(repository, cases[i][1]);
        free(repository);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_payloads),
        cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_repositories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

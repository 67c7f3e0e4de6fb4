#include "runtime/image/helper/signature.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "runtime/image/document.h"
#include "runtime/image/index.h"

enum { MAX_SIGNATURE = 2048, MIN_RSA_BITS = 2048 }; /* bytes in base64: RSA of 8192 bits fits */

struct signature_key {
    EVP_PKEY *key;
};

static int check_kind(const EVP_PKEY *key, const char *name, struct error *err)
{
    char group[64] = "";
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA && EVP_PKEY_get_bits(key) >= MIN_RSA_BITS)
        return 0;
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
        EVP_PKEY_get_group_name(key, group, sizeof group, NULL) == 1 &&
        strcmp(group, "prime256v1") == 0)
        return 0;
    return error_set(err, EXIT_OURS,
                     "the key %s is neither ECDSA on P-256 nor RSA of %d bits or more; cosign "
                     "generate-key-pair makes the former",
                     name, MIN_RSA_BITS);
}

struct signature_key *signature_read_key(const char *pem, const char *name, struct error *err)
{
    BIO *text = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = text ? PEM_read_bio_PUBKEY(text, NULL, NULL, NULL) : NULL;
    struct signature_key *result = NULL;
    (void)BIO_free(text);
    if (!key)
        (void)error_set(err, EXIT_OURS,
                        "%s is not a public key in PEM form (-----BEGIN PUBLIC KEY-----)", name);
    if (key && check_kind(key, name, err) == 0 && !(result = calloc(1, sizeof *result)))
        (void)error_set(err, EXIT_OURS, "out of memory");
    if (!result) {
        EVP_PKEY_free(key);
        return NULL;
    }
    result->key = key;
    return result;
}

void signature_key_free(struct signature_key *key)
{
    if (key)
        EVP_PKEY_free(key->key);
    free(key);
}

/* Returns the length of what base64 stands for, or -1: it is none. */
static int decode(const char *base64, unsigned char bytes[MAX_SIGNATURE])
{
    size_t length = strlen(base64);
    if (length == 0 || length > MAX_SIGNATURE || length % 4 != 0)
        return -1;
    int size = EVP_DecodeBlock(bytes, (const unsigned char *)base64, (int)length);
    for (size_t i = length; size > 0 && i > length - 2 && base64[i - 1] == '='; i--)
        size--; /* EVP_DecodeBlock counts the padding */
    return size;
}

static bool is_signed(const struct signature_key *key, const char *payload, size_t length,
                      const char *signature)
{
    unsigned char bytes[MAX_SIGNATURE];
    int size = decode(signature, bytes);
    EVP_MD_CTX *context = size > 0 ? EVP_MD_CTX_new() : NULL;
    bool good =
        context && EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key->key) == 1 &&
        EVP_DigestVerify(context, bytes, (size_t)size, (const unsigned char *)payload, length) == 1;
    EVP_MD_CTX_free(context);
    return good;
}

char *signature_repository(const char *reference)
{
    const char *end = strchr(reference, '@');
    const char *slash = strrchr(reference, '/');
    if (!end)
        end = strchr(slash ? slash : reference, ':');
    return end ? strndup(reference, (size_t)(end - reference)) : strdup(reference);
}

/* Whether the text names the repository; go-containerregistry calls docker.io index.docker.io. */
static bool names_repository(const char *text, const char *repository)
{
    static const char index[] = "index.";
    if (strncmp(text, "index.docker.io/", strlen("index.docker.io/")) == 0)
        text += sizeof index - 1;
    _cleanup_free_ char *reference = reference_normalize(text, NULL);
    _cleanup_free_ char *named = reference ? signature_repository(reference) : NULL;
    return named && strcmp(named, repository) == 0;
}

static int check_payload(const json_t *payload, const struct signature_claim *claim,
                         struct error *err)
{
    static const char wanted_type[] = "cosign container image signature";
    const json_t *critical, *image = NULL, *identity = NULL;
    const char *type = NULL, *digest = NULL, *reference = NULL;
    if (document_get_object(payload, "critical", "payload", &critical, err) < 0 ||
        (critical && (document_get_string(critical, "type", "payload", &type, err) < 0 ||
                      document_get_object(critical, "image", "payload", &image, err) < 0 ||
                      document_get_object(critical, "identity", "payload", &identity, err) < 0)) ||
        (image &&
         document_get_string(image, "docker-manifest-digest", "payload", &digest, err) < 0) ||
        (identity &&
         document_get_string(identity, "docker-reference", "payload", &reference, err) < 0))
        return -1;
    if (!type || strcmp(type, wanted_type) != 0)
        return error_set(err, EXIT_OURS, "what was signed is no \"%s\"", wanted_type);
    const char *hex = digest ? digest_hex(digest) : NULL;
    if (!hex || strcmp(hex, claim->digest) != 0)
        return error_set(err, EXIT_OURS, "what was signed is another image, not sha256:%s",
                         claim->digest);
    if (!reference || !names_repository(reference, claim->repository)) {
        char shown[200];
        return error_set(err, EXIT_OURS, "it was signed as \"%s\", not as %s",
                         document_printable(reference ? reference : "", shown, sizeof shown),
                         claim->repository);
    }
    return 0;
}

int signature_check(const struct signature_key *key, const char *payload, size_t length,
                    const char *signature, const struct signature_claim *claim, struct error *err)
{
    if (!is_signed(key, payload, length, signature))
        return error_set(err, EXIT_OURS, "the signature is not of this key");
    _cleanup_json_ json_t *document = document_parse(payload, length, "payload", err);
    return document ? check_payload(document, claim, err) : -1;
}

#include "runtime/image/helper/verify.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/descriptor.h"
#include "runtime/image/helper/fetch.h"
#include "runtime/image/helper/privileges.h"
#include "runtime/image/helper/session.h"
#include "runtime/image/helper/signature.h"

enum { MAX_KEY = 64 << 10, MAX_SIGNATURES = 100 };

#define PAYLOAD_TYPE   "application/vnd.dev.cosign.simplesigning.v1+json"
#define SIGNATURE_KEY  "dev.cosignproject.cosign/signature"
#define SIGNATURES_DIR "signatures"

struct verify {
    const struct verify_options *options;
    char *key_text;
    struct signature_key *key;
    char hex[STORE_DIGEST_HEX + 1]; /* of the image's manifest */
    char *reference, *repository;
    struct fetcher fetcher;
};

static char *read_key(const char *path, struct error *err)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    _cleanup_free_ char *text = calloc(1, MAX_KEY + 1);
    if (!text) {
        (void)error_set(err, EXIT_OURS, "out of memory");
        return NULL;
    }
    ssize_t length = fd < 0 ? -1 : io_read_all(fd, text, MAX_KEY + 1);
    if (length < 0)
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot read the key %s", path);
    else if (length > MAX_KEY || strlen(text) != (size_t)length)
        (void)error_set(err, EXIT_OURS, "%s is not a public key in PEM form", path);
    else
        return take_pointer(&text);
    return NULL;
}

static int find_image(struct verify *verify, const char *store_path, struct error *err)
{
    struct index_entry entry = { 0 };
    int found = index_find(store_path, verify->options->name, &entry, NULL, err);
    if (found > 0 && !entry.reference)
        found = error_set(err, EXIT_OURS,
                          "%s has no name, which would say where its signatures are; `hybrid tag` "
                          "gives it one",
                          verify->options->name);
    else if (found > 0) {
        memcpy(verify->hex, entry.manifest, sizeof verify->hex);
        verify->repository = signature_repository(entry.reference);
        if (!verify->repository ||
            asprintf(&verify->reference, "%s:sha256-%s.sig", verify->repository, verify->hex) < 0)
            found = error_set(err, EXIT_OURS, "out of memory");
    }
    index_entry_free(&entry);
    return found > 0 ? 0 : -1;
}

/* One entry of the signatures' manifest. Returns 0: it is the key's, or -1 with *err. */
static int check_entry(struct fetch *fetch, const struct verify *verify, const json_t *entry,
                       struct error *err)
{
    struct descriptor payload;
    struct blob blob;
    char type[FETCHER_MEDIA_TYPE];
    if (descriptor_parse(entry, "signatures", &payload, err) < 0)
        return -1;
    const char *signature = json_string_value(json_object_get(payload.annotations, SIGNATURE_KEY));
    if (strcmp(payload.media_type, PAYLOAD_TYPE) != 0 || !signature)
        return error_set(err, EXIT_OURS, "an entry is no signature of cosign's");
    struct fetch_document wanted = { .what = "payload", .size = payload.size };
    memcpy(wanted.hex, payload.hex, sizeof wanted.hex);
    _cleanup_json_ json_t *document = fetch_document(fetch, &wanted, &blob, type, err);
    _cleanup_free_ char *text =
        document ? blob_read_text(fetch->staging, &blob, "payload", err) : NULL;
    const struct signature_claim claim = { .digest = verify->hex,
                                           .repository = verify->repository };
    return text ? signature_check(verify->key, text, (size_t)blob.size, signature, &claim, err)
                : -1;
}

static int check_entries(struct fetch *fetch, const struct verify *verify, struct error *err)
{
    struct fetch_document wanted = { .what = "signatures", .manifest = true, .size = -1 };
    struct blob blob;
    char type[FETCHER_MEDIA_TYPE];
    const json_t *entries;
    _cleanup_json_ json_t *manifest = fetch_document(fetch, &wanted, &blob, type, err);
    if (!manifest || document_get_array(manifest, "layers", "signatures", &entries, err) < 0)
        return -1;
    size_t count = json_array_size(entries);
    (void)error_set(err, EXIT_OURS, "there are none");
    for (size_t i = 0; i < count && i < MAX_SIGNATURES; i++)
        if (check_entry(fetch, verify, json_array_get(entries, i), err) == 0)
            return 0;
    if (count > MAX_SIGNATURES) /* anybody may add some: how many are tried must end */
        return error_set(err, EXIT_OURS, "there are %zu, and none of the first %d is good", count,
                         MAX_SIGNATURES);
    return -1; /* *err says what was wrong with the last one */
}

/* The document of the image's signers so far, with this key among them. */
static json_t *add_signer(int directory, const struct verify *verify, struct error *err)
{
    int missing = 0;
    size_t i;
    const json_t *known;
    json_t *document = document_read(directory, verify->hex, "signers", &missing, err);
    if (!document && missing == ENOENT)
        document = json_pack("{s:[]}", "keys");
    json_t *keys = json_object_get(document, "keys");
    json_array_foreach(keys, i, known)
    {
        if (strcmp(json_string_value(known) ? json_string_value(known) : "", verify->key_text) == 0)
            return document;
    }
    if (document && json_array_append_new(keys, json_string(verify->key_text)) < 0) {
        (void)error_set(err, EXIT_OURS, "cannot add a key to %s/%s", SIGNATURES_DIR, verify->hex);
        json_decref(document);
        return NULL;
    }
    return document;
}

/* Made whole beside, renamed into place: a reader sees the old one or the new one. */
static int record(const struct staging *staging, const struct verify *verify, struct error *err)
{
    static const char name[] = "signers";
    const struct store *store = staging->store;
    _cleanup_close_ int lock = store_lock(store, err);
    if (lock < 0)
        return -1;
    if (mkdirat(store->fd, SIGNATURES_DIR, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make %s in the store",
                               SIGNATURES_DIR);
    _cleanup_close_ int directory =
        openat(store->fd, SIGNATURES_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (directory < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open %s in the store",
                               SIGNATURES_DIR);
    _cleanup_json_ json_t *document = add_signer(directory, verify, err);
    _cleanup_free_ char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;
    if (!text)
        return document ? error_set(err, EXIT_OURS, "out of memory") : -1;
    _cleanup_close_ int fd =
        openat(staging->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || io_write_all(fd, text, strlen(text)) < 0 || fsync(fd) < 0 ||
        renameat(staging->fd, name, directory, verify->hex) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot write down who signed the image");
    return 0;
}

static int work(const struct staging *staging, void *context, struct error *err)
{
    const struct verify *verify = context;
    struct error cause = { 0 };
    struct fetch fetch = { .staging = staging,
                           .fetcher = &verify->fetcher,
                           .quiet = verify->options->quiet };
    if (check_entries(&fetch, verify, &cause) < 0)
        return error_set(err, EXIT_OURS, "%s is not known to be signed by %s: %s",
                         verify->options->name, verify->options->key, cause.message);
    if (record(staging, verify, err) < 0)
        return -1;
    if (!verify->options->quiet)
        (void)printf("%s: sha256:%s is signed by %s\n", verify->options->name, verify->hex,
                     verify->options->key);
    return fflush(stdout) == 0
               ? 0
               : error_set_errno(err, EXIT_OURS, errno, "cannot write to standard output");
}

static int fetch_and_check(struct verify *verify, const char *store_path, struct error *err)
{
    const struct verify_options *options = verify->options;
    struct remote remote;
    if (remote_open(verify->reference, options->settings, options->plain_http, &remote, err) < 0)
        return -1;
    int started = fetcher_start(&remote, &verify->fetcher, err);
    remote_free(&remote);
    if (started < 0 || privileges_reduce(false, err) < 0)
        return -1;
    const struct session session = {
        .root = options->root, .handover = verify->fetcher.socket, .work = work, .context = verify
    };
    return session_run(store_path, &session, err);
}

int verify_run(const char *store_path, const struct verify_options *options, struct error *err)
{
    struct verify verify = { .options = options };
    int status = -1;
    verify.key_text = read_key(options->key, err);
    if (verify.key_text)
        verify.key = signature_read_key(verify.key_text, options->key, err);
    if (verify.key && find_image(&verify, store_path, err) == 0)
        status = fetch_and_check(&verify, store_path, err);
    signature_key_free(verify.key);
    free(verify.key_text);
    free(verify.reference);
    free(verify.repository);
    return status;
}

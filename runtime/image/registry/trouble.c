#include "runtime/image/registry/trouble.h"

#include <netdb.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "runtime/image/document.h"
#include "runtime/image/registry/settings.h"

static const char unreachable[] = "check the network and the name";
static const char unknown_authority[] =
    "name the authority as \"ca_file\" in " REGISTRY_SETTINGS_PATH
    ", or add it to the system's certificates";
static const char another_name[] =
    "check the name; whoever runs the registry must add it to the certificate";
static const char no_name_server[] = "check the network, and the name servers of /etc/resolv.conf";

static void tell(struct trouble *trouble, const char *cause, const char *remedy)
{
    (void)snprintf(trouble->cause, sizeof trouble->cause, "%s", cause);
    trouble->remedy = remedy;
}

/* --- certificates ----------------------------------------------------------------------------- */

static const struct {
    long verified;
    const char *cause;
    const char *remedy;
} certificates[] = {
    /* libcurl compares the name itself, and does so first: nothing is said of the rest yet. */
    { X509_V_ERR_UNSPECIFIED, "its certificate is made out to another name", another_name },
    { X509_V_OK, "its certificate is made out to another name", another_name },
    { X509_V_ERR_CERT_HAS_EXPIRED, "its certificate has expired",
      "check this machine's clock; whoever runs the registry must renew it" },
    { X509_V_ERR_CERT_NOT_YET_VALID, "its certificate is not valid yet",
      "check this machine's clock" },
    { X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
      "its certificate is not to be trusted: no known authority has signed it", unknown_authority },
    { X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
      "its certificate is not to be trusted: no known authority has signed it", unknown_authority },
    { X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
      "its certificate is not to be trusted: nobody but itself has signed it", unknown_authority },
    { X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
      "its certificate is not to be trusted: the authority that signed it is not known",
      unknown_authority },
};

void trouble_of_certificate(long verified, struct trouble *trouble)
{
    for (size_t i = 0; i < sizeof certificates / sizeof *certificates; i++)
        if (certificates[i].verified == verified) {
            tell(trouble, certificates[i].cause, certificates[i].remedy);
            return;
        }
    (void)snprintf(trouble->cause, sizeof trouble->cause,
                   "its certificate is not to be trusted: %s",
                   X509_verify_cert_error_string(verified));
    trouble->remedy = unknown_authority;
}

static void explain_certificate(CURL *easy, struct trouble *trouble)
{
    long verified = X509_V_OK;
    (void)curl_easy_getinfo(easy, CURLINFO_SSL_VERIFYRESULT, &verified);
    trouble_of_certificate(verified, trouble);
}

/* --- names ------------------------------------------------------------------------------------ */

void trouble_of_name(long code, struct trouble *trouble)
{
    switch (code) {
    case EAI_NONAME:
    case EAI_NODATA:
        tell(trouble, "it cannot be reached: the name service knows no such host",
             "check the name");
        break;
    case EAI_AGAIN:
        tell(trouble, "it cannot be reached: the name service does not answer, or fails",
             no_name_server);
        break;
    case 0: /* it is known by now */
        tell(trouble, "it cannot be reached: its name could not be resolved", "try again");
        break;
    default:
        (void)snprintf(trouble->cause, sizeof trouble->cause,
                       "it cannot be reached: its name cannot be resolved (%s)",
                       gai_strerror((int)code));
        trouble->remedy = unreachable;
    }
}

/* What the URL that was last asked names as its host, or NULL; curl_free() it. */
static char *host_of(CURL *easy)
{
    char *host = NULL;
    const char *text = NULL;
    CURLU *url = curl_url();
    (void)curl_easy_getinfo(easy, CURLINFO_EFFECTIVE_URL, &text);
    if (!url || !text || curl_url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK)
        host = NULL;
    curl_url_cleanup(url);
    return host;
}

static void explain_name(CURL *easy, struct trouble *trouble)
{
    enum { SLOW_MICROSECONDS = 3 * 1000 * 1000 };
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    curl_off_t took = 0;
    int code = EAI_AGAIN;
    char *host = host_of(easy);
    (void)curl_easy_getinfo(easy, CURLINFO_TOTAL_TIME_T, &took);
    if (took < SLOW_MICROSECONDS && host)
        code = getaddrinfo(host, NULL, &hints, &found);
    if (found)
        freeaddrinfo(found);
    curl_free(host);
    trouble_of_name(code, trouble);
}

/* --- connections ------------------------------------------------------------------------------ */

static void explain_refusal(CURL *easy, CURLcode code, struct trouble *trouble)
{
    long number = 0;
    (void)curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &number);
    (void)snprintf(trouble->cause, sizeof trouble->cause, "it cannot be reached (%s)",
                   number > 0 ? strerror((int)number) : curl_easy_strerror(code));
    trouble->remedy = unreachable;
}

/* A time that has run out before the request was sent. */
static bool explain_silence(CURL *easy, struct trouble *trouble)
{
    curl_off_t resolved = 0;
    curl_off_t sent = 0;
    (void)curl_easy_getinfo(easy, CURLINFO_NAMELOOKUP_TIME_T, &resolved);
    (void)curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &sent);
    if (sent > 0)
        return false;
    if (resolved > 0)
        tell(trouble, "it cannot be reached (no answer)", unreachable);
    else
        trouble_of_name(EAI_AGAIN, trouble);
    return true;
}

static bool explain(CURL *easy, CURLcode code, struct trouble *trouble)
{
    switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
        explain_certificate(easy, trouble);
        return true;
    case CURLE_SSL_CONNECT_ERROR:
        tell(trouble, "it does not speak TLS as it should",
             "if it is a registry with plain HTTP: --plain-http");
        return true;
    case CURLE_COULDNT_RESOLVE_HOST:
        explain_name(easy, trouble);
        return true;
    case CURLE_COULDNT_RESOLVE_PROXY:
        tell(trouble, "it cannot be reached: the name of the proxy cannot be resolved",
             "check the environment's https_proxy");
        return true;
    case CURLE_COULDNT_CONNECT:
        explain_refusal(easy, code, trouble);
        return true;
    case CURLE_OPERATION_TIMEDOUT:
        return explain_silence(easy, trouble);
    default:
        return false;
    }
}

bool trouble_explain(CURL *easy, CURLcode code, struct trouble *trouble)
{
    long redirections = 0;
    struct trouble found = { 0 };
    if (!explain(easy, code, &found))
        return false;
    *trouble = found;
    (void)curl_easy_getinfo(easy, CURLINFO_REDIRECT_COUNT, &redirections);
    char *host = redirections > 0 ? host_of(easy) : NULL;
    if (host) { /* whoever reads it knows only the host that was asked first */
        char printable[200];
        (void)snprintf(trouble->cause, sizeof trouble->cause, "it redirects to %s, and %.180s",
                       document_printable(host, printable, sizeof printable), found.cause);
    }
    curl_free(host);
    return true;
}

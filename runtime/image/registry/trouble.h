/* Why a host could not be spoken to, in words that lead to the cause: names, connections, TLS. */
#ifndef HYBRID_TROUBLE_H
#define HYBRID_TROUBLE_H

#include <curl/curl.h>
#include <stdbool.h>

struct trouble {
    char cause[400];    /* a sentence about the host: "its certificate has expired" */
    const char *remedy; /* static */
};

/*
 * Explains the failure `code` of a request that got no answer. May ask the name service again, for
 * the reason that libcurl keeps to itself: not where that had been slow. Returns false, and leaves
 * *trouble alone, where the connection is not the trouble.
 */
bool trouble_explain(CURL *easy, CURLcode code, struct trouble *trouble);

/* The words for a certificate: verified is CURLINFO_SSL_VERIFYRESULT, OpenSSL's X509_V_* code. */
void trouble_of_certificate(long verified, struct trouble *trouble);

/* The words for a name: code is one of getaddrinfo's EAI_*. */
void trouble_of_name(long code, struct trouble *trouble);

#endif

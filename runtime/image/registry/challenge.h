/*
 * WWW-Authenticate (RFC 9110, section 11.6.1), as registries send it:
 * Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a:pull"
 */
#ifndef HYBRID_CHALLENGE_H
#define HYBRID_CHALLENGE_H

#include <stdbool.h>

enum { CHALLENGE_TEXT = 1024 };

enum challenge_scheme { CHALLENGE_NONE, CHALLENGE_BASIC, CHALLENGE_BEARER };

struct challenge {
    enum challenge_scheme scheme;
    char realm[CHALLENGE_TEXT], service[CHALLENGE_TEXT], scope[CHALLENGE_TEXT];
};

/*
 * Reads the value of one or several (comma-separated) header fields. Of several challenges Bearer
 * is preferred to Basic; schemes that are not known, and challenges that are malformed or too
 * long, are passed over: the scheme is then CHALLENGE_NONE.
 */
void challenge_parse(const char *value, struct challenge *challenge);

#endif

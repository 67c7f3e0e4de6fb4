/* Every verb, each defined in its own cmd_*.c. */
#ifndef HYBRID_VERBS_H
#define HYBRID_VERBS_H

#include "cli.h"

extern const struct verb verb_version;

#endif

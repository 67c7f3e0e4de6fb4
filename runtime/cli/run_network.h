/* --network of `hybrid run`. */
#ifndef HYBRID_RUN_NETWORK_H
#define HYBRID_RUN_NETWORK_H

#include "cli.h"

/*
 * Reads "none" or "ns:PATH" into options->network_path (borrowed from text) and options->resolver
 * (borrowed from *resolver, which is malloc'd, the caller's). All other forms are refused by name.
 * Returns 0, or -1 with *err.
 */
int run_network_parse(const char *text, struct run_options *options, char **resolver,
                      struct error *err);

#endif

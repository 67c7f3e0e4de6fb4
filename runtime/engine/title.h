/* What `ps` shows of a process that stays when the command it was forked from has ended. */
#ifndef HYBRID_ENGINE_TITLE_H
#define HYBRID_ENGINE_TITLE_H

/* Names the process, and writes name and operand over its command line: as much as fits there. */
void title_set(const char *name, const char *operand);

#endif

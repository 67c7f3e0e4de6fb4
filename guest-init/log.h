/* Words for whoever reads the guest's console: the kernel's log is the only place there is. */
#ifndef HYBRID_INIT_LOG_H
#define HYBRID_INIT_LOG_H

/* Writes one line to /dev/kmsg with a level that reaches the console although it is quiet. */
__attribute__((format(printf, 1, 2))) void log_error(const char *format, ...);

#endif

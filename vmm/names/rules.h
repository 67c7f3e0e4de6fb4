/* Where in memory hybrid-names keeps the address of its name server. */
#ifndef HYBRID_VMM_NAMES_RULES_H
#define HYBRID_VMM_NAMES_RULES_H

enum {
    /* Far below anything else of a position-independent program, above what kernels forbid
     * (vm.mmap_min_addr), and in 32 bits, as seccomp_rules has it. */
    NAMES_SERVER_PAGE = 0x10000000,
};

#endif

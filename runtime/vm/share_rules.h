/* Where in memory the path of virtiofsd is while it is executed. */
#ifndef HYBRID_VM_SHARE_RULES_H
#define HYBRID_VM_SHARE_RULES_H

enum {
    /*
     * In 32 bits, as seccomp_rules has it, where no program may map anything: mmap is allowed at
     * addresses of more, or where the kernel likes, which begins at the upper end of 47 bits and,
     * with RLIMIT_AS at half of that, never comes down here; MAP_32BIT begins at 0x40000000. What
     * grows down from above comes no further than RLIMIT_STACK, of some MiB.
     */
    SHARE_PROGRAM_PAGE = 0x18000000,
};

#endif

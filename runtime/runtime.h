/*
 * What every part of `hybrid` is given that works on the host: where its files are, and what was
 * chosen for all verbs. The command line fills it in; nothing here depends on one.
 */
#ifndef HYBRID_RUNTIME_H
#define HYBRID_RUNTIME_H

/* Strings live as long as the program. Paths are absolute. */
struct runtime {
    const char *root;           /* --root, HYBRID_ROOT: runtime directory */
    const char *data;           /* --data, HYBRID_DATA: data directory */
    const char *store;          /* <data>/store */
    const char *exe_dir;        /* where hybrid-image, hybrid-vmm, vmlinux, images/ are */
    const char *policy;         /* --policy; NULL: the default file */
    const char *called_as;      /* the last part of argv[0]: "hybrid", "hybrid-vm" */
    const char *cgroup_manager; /* --cgroup-manager: "cgroupfs", "systemd", "disabled" */

    /* Tells the user at once of what is no failure: one line, without the newline. */
    void (*warn)(const char *message);

    /* The same for what engines do every day: where there is a log (--log), only it is told. */
    void (*note)(const void *log, const char *message);
    const void *log; /* for note, and for errors of those of several names that failed */
};

#endif

/*
 * A layer as its archive tells it: names and inodes, in memory. The content of files is elsewhere:
 * on its way to the layer's file (erofs.h). Paths are resolved here and not by the kernel, so no
 * link of an archive ever meets the host's file system.
 */
#ifndef HYBRID_TREE_H
#define HYBRID_TREE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TREE_MAX_LINKS = 40 /* that one path may follow: path_resolution(7) */ };
#define TREE_MAX_BYTES (1ULL << 30) /* of names, link targets and attributes */

struct tree_inode {
    uint32_t mode; /* as stat(2) has it: type and permissions */
    uint32_t uid, gid;
    uint32_t links;
    int64_t mtime;
    uint32_t mtime_nsec;
    uint32_t device; /* of a device: as the kernel encodes it for disks */
    uint64_t size;   /* bytes of content, or of the link's target */
    union {
        const char *target; /* a symbolic link's */
        void *entries;      /* a directory's: a tsearch(3) tree of names, "." and ".." among them */
    };
    struct tree_inode *directory;    /* a directory's: the one made before it, to free them all */
    const unsigned char *attributes; /* encoded (erofs_attributes.h) */
    uint32_t attributes_size;
    bool opaque;      /* a directory that hides what lower layers have in it */
    bool is_left_out; /* a directory that the archive has no entry for */

    /* Where erofs.c puts it. */
    bool is_placed;
    bool has_inline_tail;    /* what follows the whole blocks lies behind the inode */
    uint32_t block;          /* the first whole block of its content */
    uint64_t tail;           /* where the spool keeps the tail meanwhile */
    uint64_t position;       /* of the inode, in bytes from the start of the inodes */
    struct tree_inode *next; /* in the order of positions */
    struct tree_inode *next_directory;
};

/* The keys of a directory's tsearch(3) tree are the names: tree_entry_of() finds what is around. */
struct tree_entry {
    struct tree_inode *inode;
    char name[];
};

struct tree {
    struct tree_inode *root;
    struct tree_inode *directories; /* all ever made, also those replaced since */
    struct tree_chunk *chunks;
    size_t used;    /* of the newest chunk */
    uint64_t bytes; /* in all chunks */
};

static inline struct tree_entry *tree_entry_of(const void *node)
{
    const char *name = *(const char *const *)node;
    return (struct tree_entry *)(void *)(name - offsetof(struct tree_entry, name));
}

/* Makes a tree of an empty root: 0755, user 0, the epoch. Returns 0, or -1 with errno. */
int tree_begin(struct tree *tree);
void tree_free(struct tree *tree);

/* Zeroed memory that lives as long as the tree. NULL: errno, EOVERFLOW beyond TREE_MAX_BYTES. */
void *tree_allocate(struct tree *tree, size_t size);

/* An inode that has no name yet; not a directory. NULL with errno. */
struct tree_inode *tree_make_inode(struct tree *tree, uint32_t mode);

/* Makes the directory `name`, left out so far, in place of what had that name. NULL with errno. */
struct tree_inode *tree_make_directory(struct tree *tree, struct tree_inode *parent,
                                       const char *name);

/* Gives inode the name, in place of what had it. Returns 0, or -1 with errno. */
int tree_put(struct tree *tree, struct tree_inode *parent, const char *name,
             struct tree_inode *inode);

/* What has the name in the directory, or NULL. */
struct tree_inode *tree_find(const struct tree_inode *parent, const char *name);

/* A whiteout as overlayfs has it: a character device 0:0. */
bool tree_is_whiteout(const struct tree_inode *inode);

/*
 * Finds a directory by its path from the root ("" is the root), following symbolic links within
 * the tree. make: directories that are missing are made; one that the layer deletes hides what
 * lower layers have in it. NULL with errno: EXDEV for a link that is absolute or leaves the root,
 * ELOOP, ENOTDIR, ENOENT, ENAMETOOLONG.
 */
struct tree_inode *tree_open_directory(struct tree *tree, const char *path, bool make);

#endif

#include "runtime/image/helper/tree.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CHUNK_BYTES = 256 * 1024, ALIGNMENT = 8 };

struct tree_chunk {
    struct tree_chunk *former;
    _Alignas(ALIGNMENT) unsigned char bytes[];
};

/* --- memory ---------------------------------------------------------------------------------- */

static void *add_chunk(struct tree *tree, size_t size)
{
    const size_t room = size > CHUNK_BYTES ? size : CHUNK_BYTES;
    if (room > TREE_MAX_BYTES - tree->bytes) {
        errno = EOVERFLOW;
        return NULL;
    }
    struct tree_chunk *chunk = calloc(1, sizeof *chunk + room);
    if (!chunk)
        return NULL;
    chunk->former = tree->chunks;
    tree->chunks = chunk;
    tree->bytes += room;
    tree->used = size;
    return chunk->bytes;
}

void *tree_allocate(struct tree *tree, size_t size)
{
    size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (!tree->chunks || tree->used > CHUNK_BYTES || size > CHUNK_BYTES - tree->used)
        return add_chunk(tree, size);
    void *memory = tree->chunks->bytes + tree->used;
    tree->used += size;
    return memory;
}

static void free_nothing(void *name)
{
    (void)name; /* it lies in a chunk */
}

void tree_free(struct tree *tree)
{
    for (struct tree_inode *inode = tree->directories; inode; inode = inode->directory)
        tdestroy(inode->entries, free_nothing);
    while (tree->chunks) {
        struct tree_chunk *former = tree->chunks->former;
        free(tree->chunks);
        tree->chunks = former;
    }
}

/* --- names ----------------------------------------------------------------------------------- */

static int compare_names(const void *left, const void *right)
{
    return strcmp(left, right);
}

static struct tree_entry *find_entry(const struct tree_inode *parent, const char *name)
{
    void *const *node = tfind(name, &parent->entries, compare_names);
    return node ? tree_entry_of(node) : NULL;
}

struct tree_inode *tree_find(const struct tree_inode *parent, const char *name)
{
    const struct tree_entry *entry = find_entry(parent, name);
    return entry ? entry->inode : NULL;
}

int tree_put(struct tree *tree, struct tree_inode *parent, const char *name,
             struct tree_inode *inode)
{
    struct tree_entry *entry = find_entry(parent, name);
    if (!entry) {
        const size_t length = strlen(name);
        entry = tree_allocate(tree, sizeof *entry + length + 1);
        if (!entry)
            return -1;
        memcpy(entry->name, name, length + 1);
        if (!tsearch(entry->name, &parent->entries, compare_names)) {
            errno = ENOMEM;
            return -1;
        }
    }
    entry->inode = inode;
    return 0;
}

bool tree_is_whiteout(const struct tree_inode *inode)
{
    return S_ISCHR(inode->mode) && inode->device == 0;
}

/* --- inodes ---------------------------------------------------------------------------------- */

struct tree_inode *tree_make_inode(struct tree *tree, uint32_t mode)
{
    struct tree_inode *inode = tree_allocate(tree, sizeof *inode);
    if (inode)
        inode->mode = mode;
    return inode;
}

static struct tree_inode *make_directory(struct tree *tree, struct tree_inode *parent)
{
    struct tree_inode *inode = tree_make_inode(tree, S_IFDIR | 0755);
    if (!inode)
        return NULL;
    inode->is_left_out = true;
    inode->directory = tree->directories;
    tree->directories = inode;
    return tree_put(tree, inode, ".", inode) < 0 ||
                   tree_put(tree, inode, "..", parent ? parent : inode) < 0
               ? NULL
               : inode;
}

struct tree_inode *tree_make_directory(struct tree *tree, struct tree_inode *parent,
                                       const char *name)
{
    struct tree_inode *inode = make_directory(tree, parent);
    return inode && tree_put(tree, parent, name, inode) == 0 ? inode : NULL;
}

int tree_begin(struct tree *tree)
{
    *tree = (struct tree){ 0 };
    tree->root = make_directory(tree, NULL);
    return tree->root ? 0 : -1;
}

/* --- paths ----------------------------------------------------------------------------------- */

static struct tree_inode *fail(int number)
{
    errno = number;
    return NULL;
}

/*
 * A directory that the layer has no entry for. One that it deletes as well is a new one: nothing
 * that lower layers have in it shows through.
 */
static struct tree_inode *imply_directory(struct tree *tree, struct tree_inode *parent,
                                          const char *name, bool is_deleted)
{
    struct tree_inode *inode = tree_make_directory(tree, parent, name);
    if (inode)
        inode->opaque = is_deleted;
    return inode;
}

static struct tree_inode *walk(struct tree *tree, struct tree_inode *at, const char *path,
                               bool make, int *links);

static struct tree_inode *step(struct tree *tree, struct tree_inode *at, const char *name,
                               bool make, int *links)
{
    if (at == tree->root && strcmp(name, "..") == 0)
        return fail(EXDEV);
    struct tree_inode *found = tree_find(at, name);
    const bool is_deleted = found && tree_is_whiteout(found);
    if (!found || is_deleted)
        return make ? imply_directory(tree, at, name, is_deleted) : fail(ENOENT);
    if (S_ISDIR(found->mode))
        return found;
    if (!S_ISLNK(found->mode))
        return fail(ENOTDIR);
    if (++*links > TREE_MAX_LINKS)
        return fail(ELOOP);
    return found->target[0] == '/' ? fail(EXDEV) : walk(tree, at, found->target, false, links);
}

static struct tree_inode *walk(struct tree *tree, struct tree_inode *at, const char *path,
                               bool make, int *links)
{
    char name[NAME_MAX + 1];
    while (at && *path) {
        const size_t length = strcspn(path, "/");
        if (length > NAME_MAX)
            return fail(ENAMETOOLONG);
        memcpy(name, path, length);
        name[length] = '\0';
        if (length > 0)
            at = step(tree, at, name, make, links);
        path += length + (path[length] == '/');
    }
    return at;
}

struct tree_inode *tree_open_directory(struct tree *tree, const char *path, bool make)
{
    int links = 0;
    return walk(tree, tree->root, path, make, &links);
}

#include <errno.h>
#include <search.h>
#include <string.h>
#include <sys/stat.h>

#include "layer_marks.h"
#include "runtime/image/helper/erofs_attributes.h"
#include "runtime/image/helper/erofs_internal.h"

/* --- the content of directories -------------------------------------------------------------- */

enum {
    WINDOW = 16, /* blocks that are still open for small inodes */
    MOST_IN_BLOCK = EROFS_BLOCK / (int)(sizeof(struct erofs_dirent) + 1),
};

/* Collects the entries that a block has room for. */
struct listing {
    const struct tree_entry *entries[MOST_IN_BLOCK];
    size_t count;
    size_t used; /* bytes */
    erofs_take_directory_block *take;
    void *context;
    int result;
};

static uint8_t type_of(const struct tree_inode *inode)
{
    static const uint8_t types[] = {
        [S_IFREG >> 12] = 1, [S_IFDIR >> 12] = 2, [S_IFCHR >> 12] = 3,
        [S_IFBLK >> 12] = 4, [S_IFIFO >> 12] = 5, [S_IFLNK >> 12] = 7
    };
    const size_t type = (inode->mode & S_IFMT) >> 12;
    return type < sizeof types ? types[type] : 0;
}

static void end_block(struct listing *listing, size_t size)
{
    unsigned char block[EROFS_BLOCK] = { 0 };
    size_t name_at = listing->count * sizeof(struct erofs_dirent);
    if (listing->result < 0 || listing->count == 0)
        return;
    for (size_t i = 0; i < listing->count; i++) {
        const struct tree_entry *entry = listing->entries[i];
        const size_t length = strlen(entry->name);
        const struct erofs_dirent dirent = { .inode = erofs_inode_number(entry->inode),
                                             .name_offset = (uint16_t)name_at,
                                             .type = type_of(entry->inode) };
        memcpy(block + i * sizeof dirent, &dirent, sizeof dirent);
        memcpy(block + name_at, entry->name, length);
        name_at += length;
    }
    listing->result = listing->take(listing->context, block, size);
    listing->count = listing->used = 0;
}

static bool is_visited(VISIT which)
{
    return which == postorder || which == leaf; /* "postorder" is the one visit in the middle */
}

static void list_entry(const void *node, VISIT which, void *context)
{
    struct listing *listing = context;
    if (!is_visited(which))
        return;
    const struct tree_entry *entry = tree_entry_of(node);
    const size_t size = sizeof(struct erofs_dirent) + strlen(entry->name);
    if (listing->used + size > EROFS_BLOCK)
        end_block(listing, EROFS_BLOCK);
    listing->entries[listing->count++] = entry;
    listing->used += size;
}

int erofs_list_directory(const struct tree_inode *directory, erofs_take_directory_block *take,
                         void *context)
{
    struct listing listing = { .take = take, .context = context };
    twalk_r(directory->entries, list_entry, &listing);
    end_block(&listing, listing.used);
    return listing.result;
}

/* --- first pass: what the root reaches ------------------------------------------------------- */

struct visit {
    struct tree_inode *last; /* after this one the next directory goes */
};

static void visit_entry(const void *node, VISIT which, void *context)
{
    struct visit *visit = context;
    if (!is_visited(which))
        return;
    const struct tree_entry *entry = tree_entry_of(node);
    struct tree_inode *inode = entry->inode;
    inode->links++; /* of a directory: its name, its "." and the ".." of those in it */
    if (!S_ISDIR(inode->mode) || strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
        return;
    inode->next_directory = visit->last->next_directory;
    visit->last->next_directory = inode;
    visit->last = inode;
}

static int count_bytes(void *context, const unsigned char *block, size_t size)
{
    (void)block;
    *(uint64_t *)context += size;
    return 0;
}

static int prepare_directory(struct erofs *erofs, struct tree *tree, struct tree_inode *directory)
{
    directory->size = 0;
    (void)erofs_list_directory(directory, count_bytes, &directory->size);
    if (directory->opaque && erofs_mark(tree, directory, "trusted.overlay.opaque") < 0)
        return -1;
    if (directory == tree->root && directory->is_left_out &&
        erofs_mark(tree, directory, LAYER_ROOT_LEFT_OUT) < 0)
        return -1;
    return erofs_take_blocks(erofs, directory);
}

/* --- second pass: positions ------------------------------------------------------------------ */

/* The last blocks of the inodes and what room they have left; block number n is at n % WINDOW. */
struct window {
    struct erofs_layout *layout;
    struct tree_inode *last;
    uint64_t room[WINDOW];
};

static void open_block(struct window *window, uint64_t room)
{
    window->room[window->layout->meta_blocks++ % WINDOW] = room;
}

/* The fullest block of the window that has room for size bytes; a new one if none has. */
static uint64_t choose_block(struct window *window, uint64_t size)
{
    const uint64_t blocks = window->layout->meta_blocks;
    uint64_t best = blocks;
    for (uint64_t i = blocks < WINDOW ? 0 : blocks - WINDOW; i < blocks; i++)
        if (window->room[i % WINDOW] >= size &&
            (best == blocks || window->room[i % WINDOW] < window->room[best % WINDOW]))
            best = i;
    if (best == blocks)
        open_block(window, EROFS_BLOCK);
    return best;
}

/* An inode of at most a block never crosses blocks: its tail must not. */
static void place(struct window *window, struct tree_inode *inode)
{
    uint64_t size = erofs_head_size(inode) + erofs_tail_size(inode);
    size = (size + EROFS_SLOT - 1) / EROFS_SLOT * EROFS_SLOT;
    if (inode->is_placed)
        return;
    if (size > EROFS_BLOCK) {
        inode->position = window->layout->meta_blocks * EROFS_BLOCK;
        for (uint64_t left = size; left > 0; left -= left < EROFS_BLOCK ? left : EROFS_BLOCK)
            open_block(window, left < EROFS_BLOCK ? EROFS_BLOCK - left : 0);
    } else {
        const uint64_t block = choose_block(window, size);
        uint64_t *room = &window->room[block % WINDOW];
        inode->position = block * EROFS_BLOCK + EROFS_BLOCK - *room;
        *room -= size;
    }
    inode->is_placed = true;
    inode->next = NULL;
    if (window->last)
        window->last->next = inode;
    window->last = inode;
    window->layout->inodes++;
}

static void place_entry(const void *node, VISIT which, void *context)
{
    if (is_visited(which))
        place(context, tree_entry_of(node)->inode);
}

/* The first slot stays empty: programs take the inode number 0 for none. */
static void place_all(struct tree *tree, struct erofs_layout *layout)
{
    struct window window = { .layout = layout };
    open_block(&window, EROFS_BLOCK - EROFS_SLOT);
    place(&window, tree->root);
    const struct tree_inode *at = tree->root;
    do
        twalk_r(at->entries, place_entry, &window);
    while ((at = at->next_directory));
}

int erofs_lay_out(struct erofs *erofs, struct tree *tree, struct erofs_layout *layout)
{
    struct tree_inode *at = tree->root;
    do {
        struct visit visit = { .last = at };
        twalk_r(at->entries, visit_entry, &visit);
        if (prepare_directory(erofs, tree, at) < 0)
            return -1;
    } while ((at = at->next_directory));
    *layout = (struct erofs_layout){ .first = tree->root, .meta_block = erofs->blocks };
    place_all(tree, layout);
    if (layout->meta_blocks >= EROFS_NO_BLOCK - erofs->blocks) {
        errno = EFBIG;
        return -1;
    }
    erofs->blocks += layout->meta_blocks;
    return 0;
}

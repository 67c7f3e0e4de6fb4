#include "runtime/image/helper/erofs_attributes.h"

#include <errno.h>
#include <string.h>

#include "runtime/image/document.h"
#include "runtime/image/helper/erofs_format.h"

enum {
    MAX_NAME = UINT8_MAX, /* without its prefix */
    MAX_VALUE = UINT16_MAX,
    MAX_SIZE = (UINT16_MAX - 1) * 4, /* of all of an inode */
    MAX_COUNT = 512,                 /* each is compared with those before it */
};

/* The prefixes that EROFS knows by number, and whether they are the whole name. */
static const struct prefix {
    const char *text;
    uint8_t number;
    bool is_whole;
} prefixes[] = {
    { "user.", 1, false },     { "system.posix_acl_access", 2, true },
    { "trusted.", 4, false },  { "system.posix_acl_default", 3, true },
    { "security.", 6, false },
};

static const struct prefix *find_prefix(const char *name)
{
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        const size_t length = strlen(prefixes[i].text);
        if (strncmp(name, prefixes[i].text, length) == 0 &&
            (name[length] == '\0') == prefixes[i].is_whole)
            return &prefixes[i];
    }
    return NULL;
}

static bool is_foreign(const char *name)
{
    static const char *const foreign[] = { "trusted.overlay.", "user.overlay." };
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (strncmp(name, foreign[i], strlen(foreign[i])) == 0)
            return true;
    return strcmp(name, "security.selinux") == 0;
}

static int refuse(const char *name, const char *reason, struct error *err)
{
    char printable[300];
    return error_set(err, EXIT_OURS, "its attribute %s %s",
                     document_printable(name, printable, sizeof printable), reason);
}

static size_t encoded_size(size_t name_length, size_t value_size)
{
    return (sizeof(struct erofs_attribute) + name_length + value_size + 3) / 4 * 4;
}

/* Writes one attribute to `at`. Returns what it takes. */
static size_t encode(unsigned char *at, const struct prefix *prefix, const char *name,
                     const void *value, size_t size)
{
    const char *rest = name + strlen(prefix->text);
    const struct erofs_attribute attribute = { .name_length = (uint8_t)strlen(rest),
                                               .prefix = prefix->number,
                                               .value_size = (uint16_t)size };
    memcpy(at, &attribute, sizeof attribute);
    memcpy(at + sizeof attribute, rest, attribute.name_length);
    if (size > 0)
        memcpy(at + sizeof attribute + attribute.name_length, value, size);
    return encoded_size(attribute.name_length, size);
}

/* Has the name come before? libarchive gives the last one first, and the last one counts. */
static bool is_repeated(const unsigned char *encoded, size_t size, const struct prefix *prefix,
                        const char *name)
{
    const char *rest = name + strlen(prefix->text);
    for (size_t at = 0; at < size;) {
        struct erofs_attribute attribute;
        memcpy(&attribute, encoded + at, sizeof attribute);
        if (attribute.prefix == prefix->number && attribute.name_length == strlen(rest) &&
            memcmp(encoded + at + sizeof attribute, rest, attribute.name_length) == 0)
            return true;
        at += encoded_size(attribute.name_length, attribute.value_size);
    }
    return false;
}

static int check(const char *name, const struct prefix *prefix, size_t size, struct error *err)
{
    if (!prefix)
        return refuse(name, "is of no kind that EROFS holds", err);
    if (strlen(name) - strlen(prefix->text) > MAX_NAME)
        return refuse(name, "has a name of more than 255 bytes", err);
    if (size > MAX_VALUE)
        return refuse(name, "holds more than 65,535 bytes", err);
    return 0;
}

/* Returns what all attributes take at most, or -1 with *err. */
static int64_t measure(struct archive_entry *entry, struct error *err)
{
    const char *name;
    const void *value;
    size_t size;
    int64_t sum = 0;
    if (archive_entry_xattr_count(entry) > MAX_COUNT)
        return error_set(err, EXIT_OURS, "it has more than %d attributes", MAX_COUNT);
    archive_entry_xattr_reset(entry);
    while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
        if (!name || is_foreign(name))
            continue;
        const struct prefix *prefix = find_prefix(name);
        if (check(name, prefix, size, err) < 0)
            return -1;
        sum += (int64_t)encoded_size(strlen(name) - strlen(prefix->text), size);
        if (sum > MAX_SIZE)
            return error_set(err, EXIT_OURS, "its attributes take more than 256 KiB");
    }
    return sum;
}

int erofs_set_attributes(struct tree *tree, struct tree_inode *inode, struct archive_entry *entry,
                         struct error *err)
{
    const char *name;
    const void *value;
    size_t size;
    size_t used = 0;
    const int64_t room = measure(entry, err);
    inode->attributes_size = 0;
    if (room <= 0)
        return (int)room;
    unsigned char *encoded = tree_allocate(tree, (size_t)room);
    if (!encoded)
        return error_set_errno(err, EXIT_OURS, errno, "cannot keep its attributes");
    archive_entry_xattr_reset(entry);
    while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
        const struct prefix *prefix = name && !is_foreign(name) ? find_prefix(name) : NULL;
        if (prefix && !is_repeated(encoded, used, prefix, name))
            used += encode(encoded + used, prefix, name, value, size);
    }
    inode->attributes = encoded;
    inode->attributes_size = (uint32_t)used;
    return 0;
}

int erofs_mark(struct tree *tree, struct tree_inode *inode, const char *name)
{
    const struct prefix *prefix = find_prefix(name);
    const size_t size = encoded_size(strlen(name) - strlen(prefix->text), 1);
    if (inode->attributes_size + size > MAX_SIZE) {
        errno = E2BIG;
        return -1;
    }
    unsigned char *encoded = tree_allocate(tree, inode->attributes_size + size);
    if (!encoded)
        return -1;
    if (inode->attributes_size > 0)
        memcpy(encoded, inode->attributes, inode->attributes_size);
    (void)encode(encoded + inode->attributes_size, prefix, name, "y", 1);
    inode->attributes = encoded;
    inode->attributes_size += (uint32_t)size;
    return 0;
}

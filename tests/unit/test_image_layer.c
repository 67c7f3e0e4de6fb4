/* link: helper image plan */
/* A layer's archive becomes an EROFS file, which a reader of its own looks into. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layer_marks.h"
#include "runtime/image/helper/unpack.h"

enum { ARCHIVE_ROOM = 1 << 20, NAME_255 = 255 };

/* --- making a layer -------------------------------------------------------------------------- */

struct file { /* an entry of the archive */
    const char *name;
    const char *target;
    size_t size; /* of content: bytes that count */
    const char *attribute, *value;
    mode_t type; /* 0: a hard link */
    unsigned int device;
};

static void add(struct archive *tar, const struct file *file)
{
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, file->name);
    archive_entry_set_filetype(entry, file->type ? file->type : S_IFREG);
    archive_entry_set_perm(entry, 0640);
    archive_entry_set_uid(entry, 4000000000);
    archive_entry_set_mtime(entry, 1234567890, 5);
    archive_entry_set_size(entry, (int64_t)file->size);
    if (file->type == S_IFLNK)
        archive_entry_set_symlink(entry, file->target);
    if (!file->type)
        archive_entry_set_hardlink(entry, file->target);
    if (file->attribute)
        archive_entry_xattr_add_entry(entry, file->attribute, file->value, strlen(file->value));
    archive_entry_set_rdevmajor(entry, file->device >> 16);
    archive_entry_set_rdevminor(entry, file->device & 0xffff);
    assert_int_equal(archive_write_header(tar, entry), ARCHIVE_OK);
    for (size_t i = 0; i < file->size; i++) {
        const char byte = (char)(i * 31 + i / 4096);
        assert_int_equal(archive_write_data(tar, &byte, 1), 1);
    }
    archive_entry_free(entry);
}

static int apply_all(struct unpack *unpack, const char *data, size_t size, struct error *err)
{
    int found = 0;
    struct archive_entry *entry;
    struct archive *tar = archive_read_new();
    archive_read_support_format_tar(tar);
    assert_int_equal(archive_read_open_memory(tar, data, size), ARCHIVE_OK);
    while ((found = archive_next_entry(tar, "layer", &entry, err)) > 0)
        if (unpack_entry(unpack, tar, entry, err) < 0) {
            found = -1;
            break;
        }
    (void)archive_read_free(tar);
    return found < 0 ? -1 : unpack_finish(unpack, err);
}

struct image {
    unsigned char *bytes;
    size_t size;
    int fd;
};

/* Returns 0, or -1 with *err if the layer is refused. */
static int make(const struct file *files, size_t count, struct image *image, struct error *err)
{
    char *data = malloc(ARCHIVE_ROOM);
    size_t size = 0;
    struct stat status;
    struct unpack unpack;
    struct archive *tar = archive_write_new();
    archive_write_set_format_pax(tar);
    assert_int_equal(archive_write_open_memory(tar, data, ARCHIVE_ROOM, &size), ARCHIVE_OK);
    for (size_t i = 0; i < count; i++)
        add(tar, &files[i]);
    assert_int_equal(archive_write_free(tar), ARCHIVE_OK);
    image->fd = memfd_create("layer", MFD_CLOEXEC);
    int spool = memfd_create("spool", MFD_CLOEXEC);
    assert_int_equal(unpack_begin(&unpack, image->fd, spool, err), 0);
    int result = apply_all(&unpack, data, size, err);
    unpack_free(&unpack);
    (void)close(spool);
    free(data);
    assert_int_equal(fstat(image->fd, &status), 0);
    image->size = (size_t)status.st_size;
    image->bytes =
        result == 0 ? mmap(NULL, image->size, PROT_READ, MAP_PRIVATE, image->fd, 0) : NULL;
    return result;
}

static void end(struct image *image)
{
    if (image->bytes)
        assert_int_equal(munmap(image->bytes, image->size), 0);
    (void)close(image->fd);
}

/* --- reading it again ------------------------------------------------------------------------ */

struct found {
    struct erofs_inode head;
    size_t at; /* of the inode, in the image */
};

static struct found inode_at(const struct image *image, uint64_t number)
{
    struct found found;
    const struct erofs_super *super = (const void *)(image->bytes + EROFS_SUPER_OFFSET);
    found.at = (size_t)super->meta_block * EROFS_BLOCK + number * EROFS_SLOT;
    assert_true(found.at + sizeof found.head <= image->size);
    memcpy(&found.head, image->bytes + found.at, sizeof found.head);
    return found;
}

static size_t attributes_size(const struct found *found)
{
    return found->head.attribute_count == 0 ? 0
                                            : 12 + (size_t)(found->head.attribute_count - 1) * 4;
}

/* Copies block `index` of the content; returns its size. */
static size_t read_block(const struct image *image, const struct found *found, size_t index,
                         unsigned char block[EROFS_BLOCK])
{
    const size_t left = found->head.size - index * EROFS_BLOCK;
    const size_t size = left < EROFS_BLOCK ? left : EROFS_BLOCK;
    size_t at = ((size_t)found->head.block_or_device + index) * EROFS_BLOCK;
    if (size < EROFS_BLOCK && (found->head.format & 0xe) == EROFS_LAYOUT_INLINE) {
        at = found->at + sizeof found->head + attributes_size(found);
        assert_int_equal(at / EROFS_BLOCK, (at + size - 1) / EROFS_BLOCK); /* never across blocks */
    }
    assert_true(at + size <= image->size);
    memcpy(block, image->bytes + at, size);
    return size;
}

/* Looks a name up in a directory, and checks the order of all; 0: it is not there. */
static uint64_t look_up(const struct image *image, const struct found *directory, const char *name)
{
    unsigned char block[EROFS_BLOCK];
    char former[NAME_255 + 1] = "", current[NAME_255 + 1];
    uint64_t number = 0;
    for (size_t index = 0; index * EROFS_BLOCK < directory->head.size; index++) {
        const size_t size = read_block(image, directory, index, block);
        struct erofs_dirent *entries = (void *)block;
        const size_t count = entries[0].name_offset / sizeof *entries;
        for (size_t i = 0; i < count; i++) {
            size_t to = i + 1 < count ? entries[i + 1].name_offset : size;
            size_t length =
                strnlen((char *)block + entries[i].name_offset, to - entries[i].name_offset);
            assert_in_range(length, 1, NAME_255);
            memcpy(current, block + entries[i].name_offset, length);
            current[length] = '\0';
            assert_true(strcmp(former, current) < 0);
            memcpy(former, current, length + 1);
            if (strcmp(current, name) == 0)
                number = entries[i].inode;
        }
    }
    return number;
}

static bool find(const struct image *image, const char *path, struct found *found)
{
    char copy[ARCHIVE_MAX_PATH + 1], *rest = copy;
    const struct erofs_super *super = (const void *)(image->bytes + EROFS_SUPER_OFFSET);
    uint64_t number = super->root;
    (void)snprintf(copy, sizeof copy, "%s", path);
    for (const char *name; (name = strtok_r(rest, "/", &rest));) {
        *found = inode_at(image, number);
        assert_true(S_ISDIR(found->head.mode));
        number = look_up(image, found, name);
        if (number == 0)
            return false;
    }
    *found = inode_at(image, number);
    return true;
}

static bool has_attribute(const struct image *image, const struct found *found, uint8_t prefix,
                          const char *rest, const char *value)
{
    size_t at = found->at + sizeof found->head + sizeof(struct erofs_attributes_header);
    const size_t until = found->at + sizeof found->head + attributes_size(found);
    while (at < until) {
        struct erofs_attribute attribute;
        memcpy(&attribute, image->bytes + at, sizeof attribute);
        const unsigned char *text = image->bytes + at + sizeof attribute;
        if (attribute.prefix == prefix && attribute.name_length == strlen(rest) &&
            memcmp(text, rest, strlen(rest)) == 0)
            return attribute.value_size == strlen(value) &&
                   memcmp(text + strlen(rest), value, strlen(value)) == 0;
        at += (sizeof attribute + attribute.name_length + attribute.value_size + 3) / 4 * 4;
    }
    return false;
}

static void check_content(const struct image *image, const char *path, size_t size)
{
    struct found found;
    unsigned char block[EROFS_BLOCK];
    assert_true(find(image, path, &found));
    assert_int_equal(found.head.size, size);
    for (size_t index = 0; index * EROFS_BLOCK < size; index++) {
        const size_t length = read_block(image, &found, index, block);
        for (size_t i = 0; i < length; i++)
            assert_int_equal(block[i], (unsigned char)((index * EROFS_BLOCK + i) * 31 + index));
    }
}

/* --- the tests ------------------------------------------------------------------------------- */

static void test_content(void **state)
{
    static const size_t sizes[] = { 0, 1, 4031, 4032, 4033, 4095, 4096, 4097, 8191, 8192, 100001 };
    enum { COUNT = sizeof sizes / sizeof *sizes, FILES = 2 * COUNT };
    struct file files[FILES];
    char names[FILES][32];
    struct image image;
    struct error err = { 0 };
    (void)state;
    for (size_t i = 0; i < FILES; i++) {
        (void)snprintf(names[i], sizeof names[i], "d/%zu.%zu", i / COUNT, sizes[i % COUNT]);
        files[i] = (struct file){ .name = names[i], .type = S_IFREG, .size = sizes[i % COUNT] };
        if (i >= COUNT) {
            files[i].attribute = "user.mark";
            files[i].value = "a value";
        }
    }
    assert_int_equal(make(files, FILES, &image, &err), 0);
    assert_int_equal(image.size % EROFS_BLOCK, 0);
    for (size_t i = 0; i < FILES; i++) {
        struct found found;
        check_content(&image, names[i], sizes[i % COUNT]);
        assert_true(find(&image, names[i], &found));
        assert_int_equal(has_attribute(&image, &found, 1, "mark", "a value"), i >= COUNT);
        assert_int_equal(found.head.uid, 4000000000);
        assert_int_equal(found.head.mtime, 1234567890);
        assert_int_equal(found.head.mtime_nsec, 5);
        assert_int_equal(found.head.mode, S_IFREG | 0640);
    }
    end(&image);
}

static void test_large_directory(void **state)
{
    enum { COUNT = 300 };
    static char names[COUNT][NAME_255 + 3];
    static struct file files[COUNT];
    struct image image;
    struct found found;
    struct error err = { 0 };
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        const size_t length = NAME_255 - i % 3 * 100;
        memcpy(names[i], "d/", 2);
        memset(names[i] + 2, 'n', length);
        names[i][2 + length] = '\0';
        (void)snprintf(names[i] + 2, 4, "%03zu", i);
        names[i][5] = '!'; /* instead of the end that snprintf wrote */
        files[i] = (struct file){ .name = names[i], .type = S_IFREG, .size = i % 7 };
    }
    assert_int_equal(make(files, COUNT, &image, &err), 0);
    for (size_t i = 0; i < COUNT; i++)
        check_content(&image, names[i], i % 7);
    assert_true(find(&image, "d", &found));
    assert_int_equal(found.head.links, 2);
    assert_false(find(&image, "d/absent", &found));
    end(&image);
}

static void test_meaning(void **state)
{
    static const struct file files[] = {
        { .name = "a/one", .type = S_IFREG, .size = 10 },
        { .name = "two", .target = "a/one" },
        { .name = "three", .target = "two" },
        { .name = "gone/.wh.file", .type = S_IFREG },
        { .name = "opaque/x", .type = S_IFREG },
        { .name = "opaque/.wh..wh..opq", .type = S_IFREG },
        { .name = ".wh.anew", .type = S_IFREG },
        { .name = "anew/x", .type = S_IFREG },
        { .name = "link", .type = S_IFLNK, .target = "a" },
        { .name = "link/through", .type = S_IFREG, .size = 3 },
        { .name = "disk", .type = S_IFBLK, .device = 259 << 16 | 7000 },
        { .name = "twice", .type = S_IFDIR },
        { .name = "twice/below", .type = S_IFREG },
        { .name = "twice", .type = S_IFREG, .size = 5 },
        { .name = "foreign",
          .type = S_IFREG,
          .attribute = "trusted.overlay.redirect",
          .value = "/" },
    };
    struct image image;
    struct found found;
    struct error err = { 0 };
    (void)state;
    assert_int_equal(make(files, sizeof files / sizeof *files, &image, &err), 0);
    assert_true(find(&image, "three", &found));
    assert_int_equal(found.head.links, 3);
    assert_true(find(&image, "gone/file", &found));
    assert_int_equal(found.head.mode, S_IFCHR);
    assert_int_equal(found.head.block_or_device, 0);
    assert_true(find(&image, "opaque", &found));
    assert_true(has_attribute(&image, &found, 4, "overlay.opaque", "y"));
    assert_false(find(&image, "opaque/.wh..wh..opq", &found));
    assert_true(find(&image, "anew", &found));
    assert_true(has_attribute(&image, &found, 4, "overlay.opaque", "y"));
    check_content(&image, "a/through", 3);
    assert_true(find(&image, "disk", &found));
    assert_int_equal(found.head.block_or_device, (7000 & 0xff) | 259 << 8 | (7000 & ~0xff) << 12);
    check_content(&image, "twice", 5);
    assert_true(find(&image, "foreign", &found));
    assert_int_equal(found.head.attribute_count, 0);
    assert_true(find(&image, "", &found));
    assert_int_equal(found.head.links, 2 + 4); /* a, gone, opaque, anew */
    assert_true(has_attribute(&image, &found, 4, LAYER_ROOT_LEFT_OUT + strlen("trusted."), "y"));
    end(&image);
}

static void test_refused(void **state)
{
    static char long_name[NAME_255 + 2];
    static const struct {
        struct file files[3];
        const char *said;
    } rows[] = {
        { { { .name = "l", .type = S_IFLNK, .target = "/etc" },
            { .name = "l/x", .type = S_IFREG } },
          "leaves the root" },
        { { { .name = "l", .type = S_IFLNK, .target = ".." }, { .name = "l/x", .type = S_IFREG } },
          "leaves the root" },
        { { { .name = "l", .type = S_IFLNK, .target = "l" }, { .name = "l/x", .type = S_IFREG } },
          "leaves the root" },
        { { { .name = "f", .type = S_IFREG }, { .name = "f/x", .type = S_IFREG } }, "directory" },
        { { { .name = "x", .target = "absent" } }, "does not hold" },
        { { { .name = ".wh.y", .type = S_IFREG }, { .name = "x", .target = "y" } },
          "does not hold" },
        { { { .name = "d", .type = S_IFDIR }, { .name = "x", .target = "d" } }, "to a directory" },
        { { { .name = "x", .type = S_IFREG, .attribute = "odd.kind", .value = "" } }, "no kind" },
        { { { .name = "x", .type = S_IFCHR, .device = 5000U << 16 } }, "device number" },
        { { { .name = long_name, .type = S_IFREG } }, "longer than 255" },
    };
    (void)state;
    memset(long_name, 'n', NAME_255 + 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct image image;
        struct error err = { 0 };
        size_t count = 0;
        while (count < 3 && rows[i].files[count].name)
            count++;
        if (make(rows[i].files, count, &image, &err) == 0)
            fail_msg("row %zu is not refused", i);
        if (!strstr(err.message, rows[i].said))
            fail_msg("row %zu: %s", i, err.message);
        end(&image);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content),
        cmocka_unit_test(test_large_directory),
        cmocka_unit_test(test_meaning),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Files whose content comes with the plan (/etc/hosts): written to the workshop, then mounted over
 * the target. */
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "context.h"
#include "io.h"
#include "path.h"

static int write_content(int workshop_fd, const char *name, const struct plan_file *file,
                         struct error *err)
{
    _cleanup_close_ int fd =
        openat(workshop_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, file->mode);
    if (fd < 0 || io_write_all(fd, file->content, file->length) < 0)
        return sandbox_fail(err, "cannot write the content of %s", file->target);
    return 0;
}

int file_make(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    const struct plan_file *file = &step->file;
    if (sandbox->workshop_fd < 0)
        return error_set(err, EXIT_OURS, "the file %s must be made before the root is entered",
                         file->target);
    char name[16];
    (void)snprintf(name, sizeof name, "file%u", sandbox->file_count++);
    if (write_content(sandbox->workshop_fd, name, file, err) < 0)
        return -1;
    _cleanup_close_ int bind =
        open_tree(sandbox->workshop_fd, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (bind < 0)
        return sandbox_fail(err, "cannot bind the content of %s", file->target);
    _cleanup_close_ int target = path_make_file(sandbox->root_fd, file->target, err);
    if (target < 0)
        return -1;
    if (path_attach(bind, target) < 0)
        return sandbox_fail(err, "cannot mount on %s in the root file system", file->target);
    return 0;
}

/* The names of the UTS namespace, and the loopback interface of the network namespace. */
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "context.h"

int hostname_set(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    (void)sandbox;
    if (sethostname(step->name, strlen(step->name)) < 0)
        return sandbox_fail(err, "cannot set the host name to \"%s\"", step->name);
    return 0;
}

int domainname_set(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    (void)sandbox;
    if (setdomainname(step->name, strlen(step->name)) < 0)
        return sandbox_fail(err, "cannot set the domain name to \"%s\"", step->name);
    return 0;
}

/* The kernel gives lo its addresses once it is up. */
int loopback_up(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    (void)sandbox;
    (void)step;
    _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        return sandbox_fail(err, "cannot bring the loopback interface up");
    return 0;
}

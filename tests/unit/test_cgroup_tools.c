/* Whether a host has systemd, and the programs by which it is asked. */
/* link: cgroup sandbox plan program */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/cgroup/scope.h"

#define BOOTED "/run/systemd/system"

static const char *const *present; /* files of the host, NULL-terminated */

/* In place of the C library's: the host that runs this has whatever it has. */
int access(const char *name, int type)
{
    (void)type;
    for (size_t i = 0; present[i]; i++)
        if (strcmp(present[i], name) == 0)
            return 0;
    return -1;
}

static const struct {
    const char *files[4];
    bool tools;
    const char *refusal; /* NULL: none */
} hosts[] = {
    { { BOOTED, "/usr/bin/systemctl", "/usr/bin/systemd-run" }, true, NULL },
    { { BOOTED, "/bin/systemctl", "/usr/bin/systemd-run" }, true, NULL },
    { { BOOTED, "/run/current-system/sw/bin/systemctl", "/run/current-system/sw/bin/systemd-run" },
      true,
      NULL },
    { { BOOTED, "/usr/bin/systemctl" }, false, "/usr/bin/systemd-run is not there" },
    { { BOOTED, "/usr/bin/systemd-run" }, false, "/usr/bin/systemctl is not there" },
    { { BOOTED, "/usr/local/bin/systemctl", "/usr/local/bin/systemd-run" },
      false,
      "/usr/bin/systemd-run is not there" },
    { { "/usr/bin/systemctl", "/usr/bin/systemd-run" }, true, "it does not run here" },
    { { NULL }, false, "it does not run here" },
};

static void test_hosts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        struct error err = { 0 };
        present = hosts[i].files;
        assert_int_equal(cgroup_scope_has_tools(), hosts[i].tools);
        assert_int_equal(cgroup_scope_check_host(&err), hosts[i].refusal ? -1 : 0);
        if (hosts[i].refusal && !strstr(err.message, hosts[i].refusal))
            fail_msg("host %zu: %s", i, err.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_hosts) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

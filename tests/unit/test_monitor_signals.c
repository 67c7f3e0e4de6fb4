/* link: monitor plan state cgroup sandbox network program */
/* SIGTERM to the monitor of a bundle: what is being started gets it, what is only held does not. */
#include "runtime/monitor/monitor_parts.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cmocka.h>

static void expect_held(struct monitor *monitor, const struct monitor_hold *hold,
                        const struct monitor_client *starter, size_t expected)
{
    int ends[2];
    const struct signalfd_siginfo news = { .ssi_signo = SIGTERM };
    struct monitor_request request = { .hold = hold };
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], &news, sizeof news), sizeof news);
    *monitor = (struct monitor){ .request = &request, .signals = ends[0], .starter = starter };
    monitor_serve_signals(monitor);
    assert_int_equal(monitor->held_count, expected);
    if (expected > 0)
        assert_int_equal(monitor->held[0], SIGTERM);
    assert_false(monitor->abandoned);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void test_before_the_command(void **state)
{
    (void)state;
    static struct monitor monitor;
    static const struct monitor_client starter;
    const struct monitor_hold hold = { .terminal = -1 };
    expect_held(&monitor, NULL, NULL, 1);      /* an image is started at once */
    expect_held(&monitor, &hold, NULL, 0);     /* a bundle was created */
    expect_held(&monitor, &hold, &starter, 1); /* and is being started */
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_before_the_command) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "vmm/options.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum option_kind {
    OPTION_FD,
    OPTION_FD_LIST,
    OPTION_NET,
    OPTION_NUMBER,
    OPTION_TEXT,
    OPTION_SWITCH,
};

struct option_spec {
    const char *name;
    enum option_kind kind;
    size_t offset; /* of the value in struct options */
    uint64_t minimum, maximum, multiple;
    const char *argument, *help;
};

#define AT(field) offsetof(struct options, field)

enum { MIB = 1 << 20, MEMORY_STEP = 2 * MIB };

static const struct option_spec SPECS[] = {
    { "kernel-fd", OPTION_FD, AT(kernel_fd), 0, 0, 0, "N", "guest kernel: uncompressed ELF" },
    { "kvm-fd", OPTION_FD, AT(kvm_fd), 0, 0, 0, "N", "/dev/kvm, open for reading and writing" },
    { "control-fd", OPTION_FD, AT(control_fd), 0, 0, 0, "N",
      "SOCK_SEQPACKET to hybrid (without: messages go to stderr)" },
    { "memory", OPTION_NUMBER, AT(memory), 16ULL * MIB, 1ULL << 40, MEMORY_STEP, "BYTES",
      "guest RAM, a multiple of 2 MiB" },
    { "cpus", OPTION_NUMBER, AT(cpus), 1, MACHINE_MAX_CPUS, 1, "N", "virtual CPUs (default 1)" },
    { "command-line", OPTION_TEXT, AT(command_line), 0, 0, 0, "TEXT", "of the guest kernel" },
    { "disk-fds", OPTION_FD_LIST, AT(disk_fds), 0, 0, 0, "N,N,...",
      "files that make up the read-only disk /dev/vda" },
    { "scratch-fd", OPTION_FD, AT(scratch_fd), 0, 0, 0, "N", "writable disk, the next /dev/vdX" },
    { "disk-read-bps", OPTION_NUMBER, AT(disk_read_bps), 1, 1ULL << 40, 1, "BYTES",
      "a second, at most, read from all disks together" },
    { "disk-write-bps", OPTION_NUMBER, AT(disk_write_bps), 1, 1ULL << 40, 1, "BYTES",
      "the same for writing" },
    { "disk-read-iops", OPTION_NUMBER, AT(disk_read_iops), 1, 1ULL << 40, 1, "N",
      "requests a second, at most, to read" },
    { "disk-write-iops", OPTION_NUMBER, AT(disk_write_iops), 1, 1ULL << 40, 1, "N",
      "the same for writing" },
    { "share-fd", OPTION_FD, AT(share_fd), 0, 0, 0, "N",
      "socket of a virtiofsd, which gets the guest's memory" },
    { "share-tag", OPTION_TEXT, AT(share_tag), 0, 0, 0, "NAME", "what the guest mounts it by" },
    { "console-fd", OPTION_FD, AT(console_fd), 0, 0, 0, "N", "takes the guest's console output" },
    { "net", OPTION_NET, AT(nets), NET_MIN_MTU, NET_MAX_MTU, 1, "FD,MTU,MAC[,own]",
      "network device on a tap; may be repeated" },
    { "net-receive-bps", OPTION_NUMBER, AT(net_rates.receive_bytes), 1, 1ULL << 40, 1, "BYTES",
      "a second, at most, to the guest, on each network device" },
    { "net-send-bps", OPTION_NUMBER, AT(net_rates.send_bytes), 1, 1ULL << 40, 1, "BYTES",
      "the same for what the guest sends" },
    { "net-receive-pps", OPTION_NUMBER, AT(net_rates.receive_packets), 1, 1ULL << 40, 1, "N",
      "packets a second, at most, to the guest" },
    { "net-send-pps", OPTION_NUMBER, AT(net_rates.send_packets), 1, 1ULL << 40, 1, "N",
      "the same for what the guest sends" },
    { "uid", OPTION_NUMBER, AT(uid), 1, UINT_MAX - 1, 1, "N", "user id taken in the jail" },
    { "gid", OPTION_NUMBER, AT(gid), 1, UINT_MAX - 1, 1, "N", "group id taken in the jail" },
    { "probe", OPTION_SWITCH, AT(probe), 0, 0, 0, NULL,
      "tell whether this KVM can run Linux (with --kvm-fd)" },
    { "system-calls", OPTION_SWITCH, AT(system_calls), 0, 0, 0, NULL,
      "print the system calls that the filters allow, and to which threads" },
    { "help", OPTION_SWITCH, AT(help), 0, 0, 0, NULL, "print this" },
    { "version", OPTION_SWITCH, AT(version), 0, 0, 0, NULL, "print the version" },
};

/* Decimal digits only, all of them, in range. Returns 0, or -1. */
static int options_number(const char *text, const char **end, uint64_t minimum, uint64_t maximum,
                          uint64_t *value)
{
    char *stop;
    if (*text < '0' || *text > '9')
        return -1;
    errno = 0;
    unsigned long long number = strtoull(text, &stop, 10);
    if (errno || number < minimum || number > maximum)
        return -1;
    *end = stop;
    *value = number;
    return 0;
}

/* A descriptor that is open. 0 to 2 are the standard streams, never a file of the machine. */
static int options_descriptor(const char *name, const char *text, const char **end, int *fd,
                              struct error *err)
{
    uint64_t number;
    if (options_number(text, end, 3, INT_MAX, &number) < 0)
        return error_set(err, EXIT_OURS, "--%s=%s: not a descriptor number from 3 on", name, text);
    if (fcntl((int)number, F_GETFD) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "--%s: descriptor %llu", name,
                               (unsigned long long)number);
    *fd = (int)number;
    return 0;
}

static int options_descriptor_list(struct options *options, const char *name, const char *text,
                                   struct error *err)
{
    const char *at = text;
    options->disk_count = 0;
    for (;;) {
        if (options->disk_count == MACHINE_MAX_DISK_FILES)
            return error_set(err, EXIT_OURS, "--%s: more than %d files", name,
                             MACHINE_MAX_DISK_FILES);
        if (options_descriptor(name, at, &at, &options->disk_fds[options->disk_count], err) < 0)
            return -1;
        options->disk_count++;
        if (*at == '\0')
            return 0;
        if (*at++ != ',')
            return error_set(err, EXIT_OURS, "--%s=%s: descriptors are separated by commas", name,
                             text);
    }
}

/* "aa:bb:cc:dd:ee:ff" of one station. Returns 0 with *end behind it, or -1. */
static int options_mac(const char *text, const char **end, uint8_t mac[ETH_ALEN])
{
    unsigned bytes[ETH_ALEN];
    int length = 0;
    if (strspn(text, "0123456789abcdef:") < 17 ||
        /* NOLINTNEXTLINE(cert-err34-c): bounded numbers of digits */
        sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &bytes[0], &bytes[1], &bytes[2], &bytes[3],
               &bytes[4], &bytes[5], &length) != ETH_ALEN ||
        length != 17 || (bytes[0] & 1))
        return -1;
    for (size_t i = 0; i < ETH_ALEN; i++)
        mac[i] = (uint8_t)bytes[i];
    *end = text + length;
    return 0;
}

/* "FD,MTU,MAC[,own]" */
static int options_net(struct options *options, const struct option_spec *spec, const char *text,
                       struct error *err)
{
    const char *end;
    if (options->net_count == MACHINE_MAX_NETS)
        return error_set(err, EXIT_OURS, "--%s: more than %d devices", spec->name,
                         MACHINE_MAX_NETS);
    struct net_options *net = &options->nets[options->net_count];
    if (options_descriptor(spec->name, text, &end, &net->fd, err) < 0)
        return -1;
    if (*end++ != ',' || options_number(end, &end, spec->minimum, spec->maximum, &net->mtu) < 0 ||
        *end++ != ',' || options_mac(end, &end, net->mac) < 0)
        return error_set(err, EXIT_OURS, "--%s=%s: %s is needed, the MTU from %llu to %llu",
                         spec->name, text, spec->argument, (unsigned long long)spec->minimum,
                         (unsigned long long)spec->maximum);
    net->own_source_only = strcmp(end, ",own") == 0;
    if (*end != '\0' && !net->own_source_only)
        return error_set(err, EXIT_OURS, "--%s=%s: trailing characters", spec->name, text);
    options->net_count++;
    return 0;
}

static int options_set(struct options *options, const struct option_spec *spec, const char *text,
                       struct error *err)
{
    void *target = (char *)options + spec->offset;
    const char *end = "";
    switch (spec->kind) {
    case OPTION_SWITCH:
        *(bool *)target = true;
        return 0;
    case OPTION_TEXT:
        *(const char **)target = text;
        return 0;
    case OPTION_FD_LIST:
        return options_descriptor_list(options, spec->name, text, err);
    case OPTION_NET:
        return options_net(options, spec, text, err);
    case OPTION_FD:
        if (options_descriptor(spec->name, text, &end, target, err) < 0)
            return -1;
        break;
    case OPTION_NUMBER: {
        uint64_t value;
        if (options_number(text, &end, spec->minimum, spec->maximum, &value) < 0 ||
            value % spec->multiple != 0)
            return error_set(err, EXIT_OURS,
                             "--%s=%s: a number from %llu to %llu, multiple of %llu, is needed",
                             spec->name, text, (unsigned long long)spec->minimum,
                             (unsigned long long)spec->maximum, (unsigned long long)spec->multiple);
        *(uint64_t *)target = value;
        break;
    }
    }
    if (*end != '\0')
        return error_set(err, EXIT_OURS, "--%s=%s: trailing characters", spec->name, text);
    return 0;
}

static int options_parse_one(struct options *options, const char *argument, struct error *err)
{
    if (strncmp(argument, "--", 2) != 0)
        return error_set(err, EXIT_OURS, "unexpected argument \"%s\"; see --help", argument);
    const char *name = argument + 2;
    size_t length = strcspn(name, "=");
    const char *text = name[length] == '=' ? name + length + 1 : NULL;
    for (size_t i = 0; i < sizeof SPECS / sizeof SPECS[0]; i++) {
        if (strlen(SPECS[i].name) != length || memcmp(SPECS[i].name, name, length) != 0)
            continue;
        if ((SPECS[i].kind == OPTION_SWITCH) != !text)
            return error_set(err, EXIT_OURS, text ? "--%s takes no value" : "--%s needs a value",
                             SPECS[i].name);
        return options_set(options, &SPECS[i], text ? text : "", err);
    }
    return error_set(err, EXIT_OURS, "unknown option --%.*s; see --help", (int)length, name);
}

/* What a machine cannot be without, and what an option cannot. */
static int options_check(const struct options *options, struct error *err)
{
    const struct {
        bool missing;
        const char *name;
    } needed[] = {
        { options->kvm_fd < 0, "kvm-fd" },
        { options->kernel_fd < 0 && !options->probe, "kernel-fd" },
        { options->memory == 0 && !options->probe, "memory" },
        { options->uid == 0 && !options->probe, "uid" },
        { options->gid == 0 && !options->probe, "gid" },
        { options->share_fd >= 0 && !options->share_tag, "share-tag" },
        { options->share_fd < 0 && options->share_tag, "share-fd" },
    };
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (needed[i].missing)
            return error_set(err, EXIT_OURS, "--%s is missing; see --help", needed[i].name);
    }
    return 0;
}

int options_parse(struct options *options, int argument_count, char **arguments, struct error *err)
{
    *options = (struct options){ .kernel_fd = -1,
                                 .kvm_fd = -1,
                                 .control_fd = -1,
                                 .scratch_fd = -1,
                                 .console_fd = -1,
                                 .share_fd = -1,
                                 .cpus = 1,
                                 .command_line = "" };
    for (int i = 0; i < argument_count; i++) {
        if (options_parse_one(options, arguments[i], err) < 0)
            return -1;
    }
    bool prints = options->help || options->version || options->system_calls;
    return prints ? 0 : options_check(options, err);
}

void options_print_help(FILE *stream)
{
    (void)fputs("Usage: hybrid-vmm --kvm-fd=N --kernel-fd=N --memory=BYTES --uid=N --gid=N [...]\n"
                "       hybrid-vmm --probe --kvm-fd=N\n"
                "Runs one virtual machine. Files arrive as inherited descriptors, never as paths.\n"
                "\n",
                stream);
    for (size_t i = 0; i < sizeof SPECS / sizeof SPECS[0]; i++) {
        char left[40];
        (void)snprintf(left, sizeof left, "--%s%s%s", SPECS[i].name, SPECS[i].argument ? "=" : "",
                       SPECS[i].argument ? SPECS[i].argument : "");
        (void)fprintf(stream, "  %-24s %s\n", left, SPECS[i].help);
    }
}

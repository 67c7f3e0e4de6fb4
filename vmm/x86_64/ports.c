/* The I/O ports of the machine: an 8250 for the console, the reset line of port 0x64. */
#include "vmm/arch.h"
#include "vmm/bus.h"
#include "vmm/x86_64/layout.h"

#include <errno.h>
#include <linux/kvm.h>
#include <linux/serial_reg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    PORT_KEYBOARD_COMMAND = 0x64, /* of the 8042 that once drove the reset line */
    KEYBOARD_RESET = 0xfe,
    SERIAL_REGISTERS = 8,
};

struct arch_ports {
    struct console *console; /* NULL: the machine has no serial port */
    int serial_interrupt_fd; /* eventfd, owned */
    pthread_mutex_t lock;    /* the guest's vCPUs share the serial port */
    uint8_t interrupt_enable, line_control, modem_control, scratch;
    uint8_t divisor[2];
    bool transmit_pending; /* the transmitter-empty interrupt was raised and not yet read */
};

int arch_ports_create(struct arch_ports **ports, const struct kvm *kvm, struct console *console,
                      struct error *err)
{
    *ports = calloc(1, sizeof **ports);
    if (!*ports)
        return error_set(err, EXIT_OURS, "out of memory");
    (*ports)->console = console;
    (*ports)->serial_interrupt_fd = -1;
    (void)pthread_mutex_init(&(*ports)->lock, NULL);
    if (!console)
        return 0;
    (*ports)->serial_interrupt_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if ((*ports)->serial_interrupt_fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot create an eventfd");
    return kvm ? kvm_bind_interrupt(kvm, (*ports)->serial_interrupt_fd, X86_SERIAL_IRQ, err) : 0;
}

void arch_ports_destroy(struct arch_ports *ports)
{
    if (!ports)
        return;
    if (ports->serial_interrupt_fd >= 0)
        (void)close(ports->serial_interrupt_fd);
    (void)pthread_mutex_destroy(&ports->lock);
    free(ports);
}

static void serial_raise(struct arch_ports *ports)
{
    uint64_t one = 1;
    ports->transmit_pending = true;
    (void)!write(ports->serial_interrupt_fd, &one, sizeof one);
}

static void serial_write(struct arch_ports *ports, unsigned offset, uint8_t value)
{
    bool divisor_latch = ports->line_control & UART_LCR_DLAB;
    switch (offset) {
    case UART_TX: /* also UART_DLL */
        if (divisor_latch) {
            ports->divisor[0] = value;
        } else if (!(ports->modem_control & UART_MCR_LOOP)) {
            console_put(ports->console, (char)value);
            if (ports->interrupt_enable & UART_IER_THRI) /* sent at once: empty again */
                serial_raise(ports);
        }
        break;
    case UART_IER: /* also UART_DLM */
        if (divisor_latch) {
            ports->divisor[1] = value;
            break;
        }
        if ((value & ~ports->interrupt_enable & UART_IER_THRI) != 0)
            serial_raise(ports);
        ports->interrupt_enable = value & 0xf;
        break;
    case UART_LCR:
        ports->line_control = value;
        break;
    case UART_MCR:
        ports->modem_control = value & 0x1f;
        break;
    case UART_SCR:
        ports->scratch = value;
        break;
    default: /* FIFO control, and registers that are read-only */
        break;
    }
}

static uint8_t serial_read(struct arch_ports *ports, unsigned offset)
{
    bool divisor_latch = ports->line_control & UART_LCR_DLAB;
    switch (offset) {
    case UART_RX: /* also UART_DLL; nothing is ever received */
        return divisor_latch ? ports->divisor[0] : 0;
    case UART_IER:
        return divisor_latch ? ports->divisor[1] : ports->interrupt_enable;
    case UART_IIR:
        if (ports->transmit_pending && (ports->interrupt_enable & UART_IER_THRI)) {
            ports->transmit_pending = false; /* reading acknowledges it */
            return UART_IIR_THRI;
        }
        return UART_IIR_NO_INT;
    case UART_LCR:
        return ports->line_control;
    case UART_MCR:
        return ports->modem_control;
    case UART_LSR:
        return UART_LSR_TEMT | UART_LSR_THRE;
    case UART_MSR: /* the other side is always there; in loopback it echoes the modem control */
        if (ports->modem_control & UART_MCR_LOOP)
            return (uint8_t)((ports->modem_control & 0x0c) << 4 |
                             (ports->modem_control & 0x02) << 3 |
                             (ports->modem_control & 0x01) << 5);
        return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
    default:
        return ports->scratch;
    }
}

static bool port_is_serial(const struct arch_ports *ports, uint16_t port)
{
    return ports->console && port >= X86_SERIAL_PORT && port < X86_SERIAL_PORT + SERIAL_REGISTERS;
}

/* One byte-wide or wider access. Returns whether the guest pulled the reset line. */
static bool port_write(struct arch_ports *ports, uint16_t port, const uint8_t *data, unsigned size)
{
    if (port_is_serial(ports, port) && size == 1) {
        (void)pthread_mutex_lock(&ports->lock);
        serial_write(ports, port - X86_SERIAL_PORT, *data);
        (void)pthread_mutex_unlock(&ports->lock);
    }
    return port == PORT_KEYBOARD_COMMAND && size == 1 && *data == KEYBOARD_RESET;
}

static void port_read(struct arch_ports *ports, uint16_t port, uint8_t *data, unsigned size)
{
    memset(data, 0xff, size); /* as a bus where nobody answers */
    if (size != 1)
        return;
    if (port == PORT_KEYBOARD_COMMAND) {
        *data = 0; /* input buffer empty: ready for the reset command */
    } else if (port_is_serial(ports, port)) {
        (void)pthread_mutex_lock(&ports->lock);
        *data = serial_read(ports, port - X86_SERIAL_PORT);
        (void)pthread_mutex_unlock(&ports->lock);
    }
}

enum vcpu_outcome arch_handle_exit(struct vcpu *vcpu, struct vcpu_end *end, bool *known)
{
    struct kvm_run *run = vcpu->run;
    *known = run->exit_reason == KVM_EXIT_IO;
    if (!*known)
        return VCPU_ENDED;
    /* These come from KVM, not from the guest, and its data lie in a page of their own; they are
     * checked all the same, and read before the data are written. */
    const uint32_t size = run->io.size, count = run->io.count;
    const uint64_t offset = run->io.data_offset;
    const uint16_t port = run->io.port;
    const bool in = run->io.direction == KVM_EXIT_IO_IN;
    if (size == 0 || offset < sizeof *run || offset > vcpu->run_size ||
        (uint64_t)size * count > vcpu->run_size - offset)
        return VCPU_CONTINUE;
    uint8_t *data = (uint8_t *)run + offset;
    for (uint32_t i = 0; i < count; i++, data += size) {
        if (in) {
            port_read(vcpu->bus->ports, port, data, size);
        } else if (port_write(vcpu->bus->ports, port, data, size)) {
            end->kind = MACHINE_END_RESET;
            (void)snprintf(end->text, sizeof end->text, "the guest asked for a reset");
            return VCPU_ENDED;
        }
    }
    return VCPU_CONTINUE;
}

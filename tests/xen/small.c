/* A guest that costs nothing while it waits: it writes "userland: " and its command line to its console, then "tick N" once a second, and
 * sleeps in the hypervisor between. Built by guests.py, once as a PV kernel (64 bits) and once as a PVH kernel (32 bits, without paging;
 * its hypercalls are those of processors with SVM, which the rig's has).  Formats: Xen's public headers, docs/misc/pvh.pandoc. */
#include <stddef.h>
#include <stdint.h>
#define __XEN_INTERFACE_VERSION__ __XEN_LATEST_INTERFACE_VERSION__
#include <xen/elfnote.h>
#include <xen/event_channel.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>
#include <xen/io/console.h>
#include <xen/sched.h>
#include <xen/vcpu.h>
#include <xen/xen.h>
#include <xen/arch-x86/hvm/start_info.h>

enum { PAGE_SHIFT = 12, SECOND_NS = 1000000000 };
#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define NOTE(name, type, value) \
    __asm__(".pushsection .note." name ", \"a\", @note\n.align 4\n.long 4, 2f - 1f, " TEXT(type) "\n.asciz \"Xen\"\n" \
            "1: " value "\n2: .align 4\n.popsection\n")

static void run(struct xencons_interface *ring, evtchn_port_t port, const char *args);
static char stack[16384] __attribute__((aligned(16), used));

#ifdef __x86_64__

NOTE("guest", XEN_ELFNOTE_GUEST_OS, ".asciz \"small\"");
NOTE("loader", XEN_ELFNOTE_LOADER, ".asciz \"generic\"");
NOTE("version", XEN_ELFNOTE_XEN_VERSION, ".asciz \"xen-3.0\"");
NOTE("base", XEN_ELFNOTE_VIRT_BASE, ".quad 0");
NOTE("entry", XEN_ELFNOTE_ENTRY, ".quad start");
__asm__(".text\n.global start\nstart: lea stack + 16384(%rip), %rsp\nmov %rsi, %rdi\ncall main\n");

static long hypercall(long number, long a, const void *b, const void *c)
{
    long result;

    __asm__ volatile("syscall" : "=a"(result), "+D"(a), "+S"(b), "+d"(c) : "0"(number) : "rcx", "r11", "memory");
    return result;
}

/* The first pages of memory, its special ones among them, are mapped one to one. */
__attribute__((used)) void main(const start_info_t *info)
{
    const unsigned long *frames = (const unsigned long *)info->mfn_list;
    unsigned long page = 0;

    while (frames[page] != info->console.domU.mfn) page++;
    run((struct xencons_interface *)(page << PAGE_SHIFT), info->console.domU.evtchn, (const char *)info->cmd_line);
}

#else

NOTE("entry", XEN_ELFNOTE_PHYS32_ENTRY, ".long start");
__asm__(".text\n.global start\nstart: mov $stack + 16384, %esp\npush %ebx\ncall main\n");

static long hypercall(long number, long a, const void *b, const void *c)
{
    long result;

    __asm__ volatile("vmmcall" : "=a"(result), "+b"(a), "+c"(b), "+d"(c) : "0"(number) : "memory");
    return result;
}

static uint32_t parameter(uint32_t index)
{
    struct xen_hvm_param param = { .domid = DOMID_SELF, .index = index };

    hypercall(__HYPERVISOR_hvm_op, HVMOP_get_param, &param, NULL);
    return (uint32_t)param.value;
}

__attribute__((used)) void main(const struct hvm_start_info *info)
{
    run((struct xencons_interface *)(parameter(HVM_PARAM_CONSOLE_PFN) << PAGE_SHIFT), parameter(HVM_PARAM_CONSOLE_EVTCHN),
        (const char *)(uint32_t)info->cmdline_paddr);
}

#endif

/* What the hypervisor's clock said when this vcpu was last put on a processor. */
static uint64_t now_ns(void)
{
    struct vcpu_runstate_info state = { 0 };

    hypercall(__HYPERVISOR_vcpu_op, VCPUOP_get_runstate_info, 0, &state);
    return state.state_entry_time;
}

static void sleep_ns(uint64_t ns)
{
    struct sched_poll poll = { .timeout = now_ns() + ns };

    hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, &poll, NULL);
}

static void say(struct xencons_interface *ring, evtchn_port_t port, const char *text)
{
    struct evtchn_send send = { .port = port };

    for (; *text; text++) {
        while (ring->out_prod - ring->out_cons >= sizeof ring->out) sleep_ns(SECOND_NS / 100);
        ring->out[MASK_XENCONS_IDX(ring->out_prod, ring->out)] = *text;
        __asm__ volatile("" : : : "memory");
        ring->out_prod++;
    }
    hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_send, &send, NULL);
}

static void run(struct xencons_interface *ring, evtchn_port_t port, const char *args)
{
    say(ring, port, "userland: ");
    say(ring, port, args);
    say(ring, port, "\r\n");
    for (unsigned tick = 1;; tick++) {
        char digits[12], *text = digits + sizeof digits - 1;
        *text = '\0';
        for (unsigned rest = tick; rest; rest /= 10) *--text = (char)('0' + rest % 10);
        say(ring, port, "tick ");
        say(ring, port, text);
        say(ring, port, "\r\n");
        sleep_ns(SECOND_NS);
    }
}

/* The peer of P2, P5, P10, P11: a libvirtd with its test driver, driven by libvirt's own C client.
 * Called by: tests/bench/bench.py.  Calls: libvirt, bench.
 *
 *     libvirt-load URI define N DISKS           defines domains bench-0 .. with DISKS disks
 *     libvirt-load URI dominfo CONNECTIONS MS   virDomainGetInfo on the domain "test"
 *     libvirt-load URI cycle CONNECTIONS N      virDomainCreate and virDomainDestroy of N domains
 *     libvirt-load URI list N                   waits until N domains are listed (a daemon that starts)
 *     libvirt-load URI hold                     keeps a connection open until its input ends
 *
 * dominfo and cycle print "calls seconds". */
#include "tests/bench/bench.h"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { MAX_CONNECTIONS = 256 };

struct load {
    const char *uri;
    bool cycle;
    unsigned n_domains;
    int64_t end_ns;
    pthread_barrier_t ready;
    atomic_uint next;
};

struct worker {
    pthread_t thread;
    struct load *load;
    size_t n;
    int64_t last_ns;
};

static virConnectPtr need_connection(const char *uri)
{
    virConnectPtr conn = virConnectOpen(uri);

    if (!conn) die("%s: %s", uri, virGetLastErrorMessage());
    return conn;
}

static void define_domains(const char *uri, unsigned n, unsigned disks)
{
    virConnectPtr conn = need_connection(uri);

    for (unsigned i = 0; i < n; i++) {
        _cleanup_strbuf_ struct strbuf xml = STRBUF_INIT;
        strbuf_printf(&xml, "<domain type='%s'><name>bench-%u</name><memory unit='MiB'>256</memory><vcpu>1</vcpu>"
                            "<os><type>hvm</type></os><devices>", has_prefix(uri, "qemu") ? "qemu" : "test", i);
        for (unsigned d = 0; d < disks; d++)
            strbuf_printf(&xml, "<disk type='file' device='disk'><source file='/images/%u-%u.img'/>"
                                "<target dev='vd%c'/></disk>", i, d, 'a' + (int)(d % 26));
        strbuf_str(&xml, "</devices></domain>");
        virDomainPtr dom = virDomainDefineXML(conn, strbuf_cstr(&xml));
        if (!dom) die("defining: %s", virGetLastErrorMessage());
        virDomainFree(dom);
    }
    virConnectClose(conn);
}

static void ask_info(virConnectPtr conn, struct worker *w)
{
    virDomainPtr dom = virDomainLookupByName(conn, "test");
    virDomainInfo info;

    if (!dom) die("domain test: %s", virGetLastErrorMessage());
    do {
        if (virDomainGetInfo(dom, &info)) die("dominfo: %s", virGetLastErrorMessage());
        w->n++;
        w->last_ns = clock_monotonic_ns();
    } while (w->last_ns < w->load->end_ns);
    virDomainFree(dom);
}

static void cycle_domains(virConnectPtr conn, struct worker *w)
{
    for (;;) {
        unsigned i = atomic_fetch_add(&w->load->next, 1);
        if (i >= w->load->n_domains) return;
        _cleanup_free_ char *name = xasprintf("bench-%u", i);
        virDomainPtr dom = virDomainLookupByName(conn, name);
        if (!dom || virDomainCreate(dom) || virDomainDestroy(dom)) die("%s: %s", name, virGetLastErrorMessage());
        virDomainFree(dom);
        w->n++;
        w->last_ns = clock_monotonic_ns();
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;
    virConnectPtr conn = need_connection(w->load->uri);

    pthread_barrier_wait(&w->load->ready);
    pthread_barrier_wait(&w->load->ready);
    if (w->load->cycle) cycle_domains(conn, w);
    else ask_info(conn, w);
    virConnectClose(conn);
    return NULL;
}

static void run(struct load *load, size_t n, long ms)
{
    struct worker workers[MAX_CONNECTIONS] = { 0 };
    size_t calls = 0;

    if (!n || n > MAX_CONNECTIONS) die("1 to %d connections", MAX_CONNECTIONS);
    pthread_barrier_init(&load->ready, NULL, (unsigned)n + 1);
    for (size_t i = 0; i < n; i++) {
        workers[i].load = load;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i])) die("no thread");
    }
    pthread_barrier_wait(&load->ready);
    int64_t began = clock_monotonic_ns(), last = began;
    load->end_ns = began + ms * NS_PER_MS;
    pthread_barrier_wait(&load->ready);
    for (size_t i = 0; i < n; i++) {
        pthread_join(workers[i].thread, NULL);
        calls += workers[i].n;
        if (workers[i].last_ns > last) last = workers[i].last_ns;
    }
    printf("%zu %.6f\n", calls, (double)(last - began) / 1e9);
}

/* A daemon that starts refuses, then lists too few. */
static void wait_for_list(const char *uri, int wanted)
{
    for (;;) {
        virConnectPtr conn = virConnectOpen(uri);
        virDomainPtr *list = NULL;
        int n = conn ? virConnectListAllDomains(conn, &list, 0) : -1;
        for (int i = 0; i < n; i++) virDomainFree(list[i]);
        free(list);
        if (conn) virConnectClose(conn);
        if (n >= wanted) return;
        usleep(1000);
    }
}

static void ignore_error(void *arg, virErrorPtr e)
{
    (void)arg;
    (void)e;
}

int main(int argc, char **argv)
{
    if (argc < 3) die("usage: libvirt-load URI define|dominfo|cycle|list|hold ...");
    struct load load = { .uri = argv[1] };
    const char *what = argv[2];

    virSetErrorFunc(NULL, ignore_error);
    if (streq(what, "define") && argc == 5) {
        define_domains(argv[1], (unsigned)need_number(argv[3]), (unsigned)need_number(argv[4]));
    } else if (streq(what, "dominfo") && argc == 5) {
        run(&load, (size_t)need_number(argv[3]), need_number(argv[4]));
    } else if (streq(what, "cycle") && argc == 5) {
        load.cycle = true;
        load.n_domains = (unsigned)need_number(argv[4]);
        run(&load, (size_t)need_number(argv[3]), 0);
    } else if (streq(what, "list") && argc == 4) {
        wait_for_list(argv[1], (int)need_number(argv[3]));
    } else if (streq(what, "hold") && argc == 3) {
        virConnectPtr conn = need_connection(argv[1]);
        puts("open");
        fflush(stdout);
        while (getchar() != EOF) continue;
        virConnectClose(conn);
    } else {
        die("%s: not understood", what);
    }
    return 0;
}

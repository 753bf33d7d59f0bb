/* SPDX-FileCopyrightText: 2026 The xsfs authors */
/* SPDX-License-Identifier: MIT */
/*
 * An LD_PRELOAD library under which xenstored and oxenstored run without Xen.
 *
 * It stands in for the hypervisor libraries, and leads what the daemons have in
 * /proc/xen, /var/run/xen* and /var/log/xen to $XENSTORED_RUNDIR; the daemons' own code is untouched.  It is no simulation
 * of Xen: domains do what the test (rings.py) does.  The daemons are single-threaded and
 * so is this.  All it needs is in that folder:
 *
 *   xsd_kva, ring-N  the ring page of domain 0, of domain N (xs_wire.h)
 *   xsd_port         domain 0's event channel port, a decimal number
 *   domains          one byte per domain id: enum state below
 *   evtchn           datagram socket of the daemon; a datagram is one uint32_t,
 *                    the local port that becomes pending
 *   evtchn-N         datagram socket of domain N, if it wants to be notified
 *
 * $XENSTORED_SHIM_READY is a descriptor that gets one byte when the daemon
 * reaches its main loop; $XENSTORED_SHIM_LIFELINE is the reading end of a pipe, and when its
 * last writer is gone the kernel kills the daemon, also a stopped one.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <xenctrl.h>
#include <xenevtchn.h>
#include <xengnttab.h>

#define PAGE 4096
#define LIBC(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

enum state { ABSENT, RUNNING, SHUTDOWN, DYING };

/* A local port is the pair (domain, its port): no table is needed. */
#define PORT(domid, port) ((domid) << 16 | (port))
#define VIRQ_DOMAIN DOMID_SELF

static const char *rundir(void)
{
    const char *dir = getenv("XENSTORED_RUNDIR");

    if (!dir) {
        fputs("shim: XENSTORED_RUNDIR is not set\n", stderr);
        abort();
    }
    return dir;
}

static int format_path(char *out, size_t size, const char *name)
{
    if ((size_t)snprintf(out, size, "%s/%s", rundir(), name) < size)
        return 0;
    errno = ENAMETOOLONG;
    return -1;
}

/* The path to use in place of one that a daemon, or Debian's configuration of it, has built in. */
static const char *redirect(const char *path, char out[PATH_MAX])
{
    static const char *const folders[] = {
        "/var/run/xenstored", "/var/run/xen", "/var/log/xen", "/proc/xen",
    };

    for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
        size_t length = strlen(folders[i]);

        if (strncmp(path, folders[i], length) || (path[length] && path[length] != '/'))
            continue;
        path += length + (path[length] == '/');
        return format_path(out, PATH_MAX, path) ? path : out;
    }
    return path;
}

/* --- life of the process --- */

static int environment_fd(const char *name)
{
    const char *value = getenv(name);

    return value ? atoi(value) : -1;
}

__attribute__((constructor)) static void hold_lifeline(void)
{
    int fd = environment_fd("XENSTORED_SHIM_LIFELINE");
    char byte;

    if (fd < 0)
        return;
    if (fcntl(fd, F_SETOWN, getpid()) || fcntl(fd, F_SETSIG, SIGKILL) ||
        fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK)) {
        perror("shim: lifeline");
        _exit(1);
    }
    /* The writer may have gone before the signal was armed. */
    if (read(fd, &byte, 1) == 0)
        _exit(1);
}

/* Both daemons listen well before they are ready for signals, but first poll in the main loop. */
int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    static int ready = -2;

    if (ready == -2) {
        ready = environment_fd("XENSTORED_SHIM_READY");
        if (ready >= 0 && (write(ready, "", 1) != 1 || close(ready)))
            perror("shim: ready");
    }
    return LIBC(poll)(fds, count, timeout_ms);
}

/* The daemon wants more than an unprivileged user may have. */
int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
    return 0;
}

/* --- files --- */

#define OPEN(name)                                              \
    int name(const char *path, int flags, ...)                  \
    {                                                           \
        char other[PATH_MAX];                                   \
        va_list args;                                           \
        mode_t mode = 0;                                        \
                                                                \
        va_start(args, flags);                                  \
        if (flags & (O_CREAT | __O_TMPFILE))                    \
            mode = va_arg(args, mode_t);                        \
        va_end(args);                                           \
        return LIBC(name)(redirect(path, other), flags, mode);  \
    }

OPEN(open)
OPEN(open64)

int mkdir(const char *path, mode_t mode)
{
    char other[PATH_MAX];

    return LIBC(mkdir)(redirect(path, other), mode);
}

int unlink(const char *path)
{
    char other[PATH_MAX];

    return LIBC(unlink)(redirect(path, other));
}

int chmod(const char *path, mode_t mode)
{
    char other[PATH_MAX];

    return LIBC(chmod)(redirect(path, other), mode);
}

int bind(int fd, const struct sockaddr *address, socklen_t length)
{
    struct sockaddr_un local = { .sun_family = AF_UNIX };
    char name[sizeof(local.sun_path) + 1] = "", other[PATH_MAX];
    const char *path;

    if (address->sa_family != AF_UNIX)
        return LIBC(bind)(fd, address, length);
    memcpy(name, ((const struct sockaddr_un *)address)->sun_path,
           length - offsetof(struct sockaddr_un, sun_path));
    path = redirect(name, other);
    if (strlen(path) >= sizeof(local.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(local.sun_path, path);
    return LIBC(bind)(fd, (struct sockaddr *)&local, sizeof(local));
}

/* --- libxenctrl: which domains there are, and oxenstored's way to a ring --- */

static int a_handle; /* what the opaque handles point to */

xc_interface *xc_interface_open(xentoollog_logger *logger,
                                xentoollog_logger *dombuild_logger, unsigned flags)
{
    return (xc_interface *)&a_handle;
}

int xc_interface_close(xc_interface *xch)
{
    return 0;
}

static void *map_file(const char *name, size_t size, int prot)
{
    char path[PATH_MAX];
    struct stat st;
    void *page = MAP_FAILED;
    int fd;

    if (format_path(path, sizeof(path), name))
        return NULL;
    fd = open(path, prot & PROT_WRITE ? O_RDWR : O_RDONLY);
    if (fd < 0)
        return NULL;
    if (!fstat(fd, &st) && (size_t)st.st_size >= size)
        page = mmap(NULL, size, prot, MAP_SHARED, fd, 0);
    close(fd);
    return page == MAP_FAILED ? NULL : page;
}

static enum state domain_state(uint32_t domid)
{
    static const volatile uint8_t *states;

    if (!states)
        states = map_file("domains", DOMID_FIRST_RESERVED, PROT_READ);
    if (!states || domid >= DOMID_FIRST_RESERVED)
        return ABSENT;
    return states[domid];
}

/* Both calls give the domains from `first` on, at most `limit` of them. */
int xc_domain_getinfo(xc_interface *xch, uint32_t first, unsigned int limit,
                      xc_dominfo_t *info)
{
    unsigned int found = 0;

    for (uint32_t domid = first; domid < DOMID_FIRST_RESERVED && found < limit; domid++) {
        enum state state = domain_state(domid);

        if (state == ABSENT)
            continue;
        memset(&info[found], 0, sizeof(*info));
        info[found].domid = domid;
        info[found].running = state == RUNNING;
        info[found].shutdown = state == SHUTDOWN;
        info[found].dying = state == DYING;
        found++;
    }
    return found;
}

int xc_domain_getinfolist(xc_interface *xch, uint32_t first, unsigned int limit,
                          xc_domaininfo_t *info)
{
    unsigned int found = 0;

    for (uint32_t domid = first; domid < DOMID_FIRST_RESERVED && found < limit; domid++) {
        enum state state = domain_state(domid);

        if (state == ABSENT)
            continue;
        memset(&info[found], 0, sizeof(*info));
        info[found].domain = domid;
        info[found].flags = state == RUNNING    ? XEN_DOMINF_running
                            : state == SHUTDOWN ? XEN_DOMINF_shutdown
                                                : XEN_DOMINF_dying;
        found++;
    }
    return found;
}

static void *map_ring(uint32_t domid)
{
    char name[32];
    void *ring = NULL;

    snprintf(name, sizeof(name), "ring-%u", domid);
    if (domain_state(domid) != ABSENT)
        ring = map_file(name, PAGE, PROT_READ | PROT_WRITE);
    if (!ring)
        errno = EINVAL; /* as Linux's gntdev says */
    return ring;
}

void *xc_map_foreign_range(xc_interface *xch, uint32_t domid, int size, int prot,
                           unsigned long mfn)
{
    return map_ring(domid);
}

/* --- libxengnttab: xenstored's way to a ring --- */

xengnttab_handle *xengnttab_open(xentoollog_logger *logger, unsigned flags)
{
    return (xengnttab_handle *)&a_handle;
}

int xengnttab_close(xengnttab_handle *xgt)
{
    return 0;
}

int xengnttab_set_max_grants(xengnttab_handle *xgt, uint32_t count)
{
    return 0;
}

void *xengnttab_map_grant_ref(xengnttab_handle *xgt, uint32_t domid, uint32_t ref, int prot)
{
    return map_ring(domid);
}

int xengnttab_unmap(xengnttab_handle *xgt, void *address, uint32_t count)
{
    return munmap(address, (size_t)count * PAGE);
}

/* --- libxenevtchn: datagrams --- */

static int evtchn_fd = -1;

static int evtchn_address(struct sockaddr_un *address, const char *name)
{
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    return format_path(address->sun_path, sizeof(address->sun_path), name);
}

xenevtchn_handle *xenevtchn_fdopen(xentoollog_logger *logger, int fd, unsigned flags)
{
    evtchn_fd = fd;
    return (xenevtchn_handle *)&a_handle;
}

xenevtchn_handle *xenevtchn_open(xentoollog_logger *logger, unsigned int flags)
{
    struct sockaddr_un address;
    int fd;

    if (evtchn_address(&address, "evtchn"))
        return NULL;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    unlink(address.sun_path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)))
        return NULL;
    return xenevtchn_fdopen(logger, fd, flags);
}

int xenevtchn_close(xenevtchn_handle *xce)
{
    return close(evtchn_fd);
}

int xenevtchn_fd(xenevtchn_handle *xce)
{
    return evtchn_fd;
}

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *xce, uint32_t domid,
                                                     evtchn_port_t remote_port)
{
    if (domid < DOMID_FIRST_RESERVED && remote_port <= UINT16_MAX)
        return PORT(domid, remote_port);
    errno = EINVAL;
    return -1;
}

xenevtchn_port_or_error_t xenevtchn_bind_virq(xenevtchn_handle *xce, unsigned int virq)
{
    return PORT(VIRQ_DOMAIN, virq);
}

int xenevtchn_unbind(xenevtchn_handle *xce, evtchn_port_t port)
{
    return 0;
}

int xenevtchn_unmask(xenevtchn_handle *xce, evtchn_port_t port)
{
    return 0;
}

/* Like the hypervisor's, a notification that nobody takes is lost. */
int xenevtchn_notify(xenevtchn_handle *xce, evtchn_port_t port)
{
    struct sockaddr_un address;
    char name[32];
    int saved = errno;

    snprintf(name, sizeof(name), "evtchn-%u", port >> 16);
    if (evtchn_address(&address, name))
        return -1;
    sendto(evtchn_fd, &port, sizeof(port), MSG_DONTWAIT, (struct sockaddr *)&address,
           sizeof(address));
    errno = saved;
    return 0;
}

xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *xce)
{
    evtchn_port_t port;

    if (recv(evtchn_fd, &port, sizeof(port), MSG_DONTWAIT) == sizeof(port))
        return port;
    return -1;
}

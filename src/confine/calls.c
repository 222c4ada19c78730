// SPDX-License-Identifier: BSD-3-Clause
/*
 * Which system calls are let through, and why.
 *
 * The rule: what acts on something that the process holds already is harmless, what reaches for something by a
 * name (a path, a process id, an address) is a door. So there is no open, no exec, nothing that
 * takes a pid of another process; where a call is both, its arguments are looked at. Pointers cannot be
 * looked at by a filter, so calls with a path are not let through at all, but for the exceptions here:
 *
 *  - newfstatat and statx with AT_EMPTY_PATH: how C libraries do fstat. Attributes of files, no content.
 *  - readlink, for a frontend: it asks /proc/self/fd of which kind a VMM's descriptor is.
 *  - connect, for a frontend, which has to find its backend again. A backend has none: the monitor socket of a
 *    VMM that runs as the same user would give it all of the guest's memory. For a vsock device a process of its own
 *    connects, to one path and a number behind it (mediator/connector.c).
 *  - unlink, where Landlock bounds it to the folders of the program's own sockets.
 */
#include "confine/calls.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/vduse.h>
#include <linux/vhost.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <vhx/argo.h>

#include "confine/confine.h"

/* The kernel looks at the low half of these arguments only. */
#define INT_MASK 0xffffffffu
#define ALL_BITS UINT64_MAX

#define CALL(name)                   \
	{                            \
		.nr = SCMP_SYS(name) \
	}
#define CALL_WITH(name, n, bits, v)                                            \
	{                                                                      \
		.nr = SCMP_SYS(name), .arg = (n), .mask = (bits), .value = (v) \
	}
#define FCNTL(cmd) CALL_WITH(fcntl, 1, INT_MASK, cmd)
#define IOCTL(cmd) CALL_WITH(ioctl, 1, INT_MASK, cmd)

/* Neither a new thread's stack nor its memory are those of another process. */
#define THREAD_BITS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)
#define NAMESPACE_BITS                                                                 \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
	 CLONE_NEWPID | CLONE_NEWNET | CLONE_PTRACE)

static const struct vhx_call base[] = {
	CALL(read),
	CALL(write),
	CALL(readv),
	CALL(writev),
	CALL(close),
	CALL(lseek),
	CALL(_llseek),
	CALL(fstat),
	CALL(fstat64),
	CALL_WITH(newfstatat, 3, AT_EMPTY_PATH, AT_EMPTY_PATH),
	CALL_WITH(fstatat64, 3, AT_EMPTY_PATH, AT_EMPTY_PATH),
	CALL_WITH(statx, 2, AT_EMPTY_PATH, AT_EMPTY_PATH),
	CALL_WITH(mmap, 2, PROT_EXEC, 0),
	CALL_WITH(mmap2, 2, PROT_EXEC, 0),
	CALL_WITH(mprotect, 2, PROT_EXEC, 0),
	CALL(munmap),
	CALL(mremap),
	CALL(madvise),
	CALL(brk),
	CALL(futex),
	CALL(futex_time64),
	CALL(clock_gettime),
	CALL(clock_gettime64),
	CALL(clock_getres),
	CALL(clock_nanosleep),
	CALL(clock_nanosleep_time64),
	CALL(nanosleep),
	CALL(gettimeofday),
	CALL(time),
	CALL(getpid),
	CALL(gettid),
	CALL(getuid),
	CALL(geteuid),
	CALL(getgid),
	CALL(getegid),
	CALL(getrandom),
	CALL(sched_yield),
	CALL(sched_getaffinity),
	CALL(rt_sigreturn),
	CALL(sigreturn),
	CALL(rt_sigaction),
	CALL(rt_sigprocmask),
	CALL(sigaltstack),
	CALL(restart_syscall),
	CALL(exit),
	CALL(exit_group),
	CALL(poll),
	CALL(ppoll),
	CALL(ppoll_time64),
	CALL(dup),
	FCNTL(F_GETFD),
	FCNTL(F_SETFD),
	FCNTL(F_GETFL),
	FCNTL(F_SETFL),
	FCNTL(F_DUPFD),
	FCNTL(F_DUPFD_CLOEXEC),
};

static const struct vhx_call loop[] = {
	CALL(epoll_create1),	 CALL(epoll_ctl),	CALL(epoll_wait),     CALL(epoll_pwait),
	CALL(epoll_pwait2),	 CALL(eventfd2),	CALL(timerfd_create), CALL(timerfd_settime),
	CALL(timerfd_settime64), CALL(timerfd_gettime),
};

/* clone3 takes a structure, which cannot be looked at: filter.c says that there is none. */
static const struct vhx_call threads[] = {
#ifdef __s390x__
	CALL_WITH(clone, 1, THREAD_BITS | NAMESPACE_BITS, THREAD_BITS),
#else
	CALL_WITH(clone, 0, THREAD_BITS | NAMESPACE_BITS, THREAD_BITS),
#endif
	CALL(set_robust_list),
	CALL(rseq),
	CALL(set_tid_address),
};

/* No address: what is not connected stays so. A pair is this process's own until it passes an end on. */
static const struct vhx_call sockets[] = {
	CALL_WITH(socketpair, 0, INT_MASK, AF_UNIX),
	CALL_WITH(sendto, 4, ALL_BITS, 0),
	CALL(send),
	CALL(recvfrom),
	CALL(recv),
	CALL(sendmsg),
	CALL(recvmsg),
	CALL(recvmmsg),
	CALL(recvmmsg_time64),
	CALL(shutdown),
	CALL(getsockopt),
	CALL(getsockname),
	CALL(getpeername),
};

static const struct vhx_call accepting[] = {
	CALL(accept4),
};

static const struct vhx_call connecting[] = {
	CALL_WITH(socket, 0, INT_MASK, AF_UNIX),
	CALL(connect),
};

static const struct vhx_call section[] = {
	CALL(memfd_create), CALL(ftruncate), CALL(ftruncate64),	 CALL(fallocate),
	CALL(fstatfs),	    CALL(fstatfs64), FCNTL(F_ADD_SEALS), FCNTL(F_GET_SEALS),
};

/*
 * The ring of io_uring was made before, and can do what it was made for only (device/io_uring.c); a new
 * one, which could open files, cannot be had.
 */
static const struct vhx_call storage[] = {
	CALL(pread64),	    CALL(pwrite64),	CALL(preadv),	     CALL(pwritev),
	CALL(preadv2),	    CALL(pwritev2),	CALL(fdatasync),     CALL(fsync),
	CALL(fallocate),    CALL(fstatfs),	CALL(fstatfs64),     CALL(io_uring_enter),
	FCNTL(F_OFD_SETLK), FCNTL(F_OFD_GETLK), IOCTL(BLKGETSIZE64), IOCTL(BLKSSZGET),
	IOCTL(BLKPBSZGET),  IOCTL(BLKIOOPT),
};

static const struct vhx_call guest[] = {
	CALL(preadv2),
	CALL(readlink),
	CALL(readlinkat),
};

static const struct vhx_call child[] = {
	CALL(wait4),
};

/* Not TIOCSTI, which types into a terminal. */
static const struct vhx_call terminal[] = {
	IOCTL(FIONREAD), IOCTL(TIOCGWINSZ), IOCTL(TIOCGPTN), IOCTL(TCGETS), IOCTL(TCSETS),
};

static const struct vhx_call http[] = {
	CALL_WITH(setsockopt, 1, INT_MASK, IPPROTO_TCP),
	CALL(sendfile),
};

/* Not TUNSETIFF: what they are is settled. */
static const struct vhx_call tap[] = {
	IOCTL(TUNSETOFFLOAD),
	IOCTL(TUNSETQUEUE),
};

static const struct vhx_call argo[] = {
	IOCTL(HMX_ARGO_INFO),  IOCTL(HMX_ARGO_BIND),	   IOCTL(HMX_ARGO_CONSUME),
	IOCTL(HMX_ARGO_SENDV), IOCTL(HMX_ARGO_QUERY),	   IOCTL(HMX_ARGO_CHECK),
	IOCTL(HMX_ARGO_NEW),   IOCTL(HMX_ARGO_LAST_WORDS),
};

/* Not those of /dev/vduse/control, which is not open. */
static const struct vhx_call vduse[] = {
	IOCTL(VDUSE_IOTLB_GET_FD),    IOCTL(VDUSE_DEV_GET_FEATURES),
	IOCTL(VDUSE_DEV_SET_CONFIG),  IOCTL(VDUSE_DEV_INJECT_CONFIG_IRQ),
	IOCTL(VDUSE_VQ_SETUP),	      IOCTL(VDUSE_VQ_GET_INFO),
	IOCTL(VDUSE_VQ_SETUP_KICKFD), IOCTL(VDUSE_VQ_INJECT_IRQ),
};

/* Who owns the device, and what it is, is settled. Its memory is mapped by write. */
static const struct vhx_call vdpa[] = {
	IOCTL(VHOST_VDPA_GET_STATUS),	    IOCTL(VHOST_VDPA_SET_STATUS),
	IOCTL(VHOST_VDPA_GET_CONFIG),	    IOCTL(VHOST_VDPA_SET_CONFIG),
	IOCTL(VHOST_SET_FEATURES),	    IOCTL(VHOST_SET_VRING_NUM),
	IOCTL(VHOST_SET_VRING_BASE),	    IOCTL(VHOST_SET_VRING_ADDR),
	IOCTL(VHOST_SET_VRING_KICK),	    IOCTL(VHOST_SET_VRING_CALL),
	IOCTL(VHOST_VDPA_SET_VRING_ENABLE), IOCTL(VHOST_VDPA_SET_CONFIG_CALL),
};

static const struct vhx_call removing[] = {
	CALL(unlink), CALL(unlinkat), CALL(readlink),	CALL(readlinkat),
	CALL(lstat),  CALL(lstat64),  CALL(newfstatat), CALL(fstatat64),
};

/* The ways to another process, to more rights, and into the kernel. */
static const struct vhx_call doors[] = {
	CALL(ptrace),
	CALL(process_vm_readv),
	CALL(process_vm_writev),
	CALL(process_madvise),
	CALL(process_mrelease),
	CALL(pidfd_open),
	CALL(pidfd_getfd),
	CALL(pidfd_send_signal),
	CALL(kcmp),
	CALL(execve),
	CALL(execveat),
	CALL(fork),
	CALL(vfork),
	CALL(setns),
	CALL(unshare),
	CALL(mount),
	CALL(umount2),
	CALL(pivot_root),
	CALL(chroot),
	CALL(open_by_handle_at),
	CALL(bpf),
	CALL(perf_event_open),
	CALL(userfaultfd),
	CALL(keyctl),
	CALL(add_key),
	CALL(request_key),
	CALL(init_module),
	CALL(finit_module),
	CALL(kexec_load),
	CALL(setuid),
	CALL(setresuid),
	CALL(setgid),
	CALL(setresgid),
	CALL(setgroups),
	CALL(capset),
};

#define CALLS(table)                         \
	{                                    \
		table, VHX_ARRAY_SIZE(table) \
	}

static const struct vhx_calls groups[VHX_CALLS_CNT] = {
	CALLS(base),	  CALLS(loop),	     CALLS(threads),  CALLS(sockets),
	CALLS(accepting), CALLS(connecting), CALLS(section),  CALLS(storage),
	CALLS(guest),	  CALLS(child),	     CALLS(terminal), CALLS(http),
	CALLS(tap),	  CALLS(argo),	     CALLS(vduse),    CALLS(vdpa),
};

#define BACKEND_CALLS                                                                    \
	(VHX_CALLS_BASE | VHX_CALLS_LOOP | VHX_CALLS_THREADS | VHX_CALLS_SOCKET |        \
	 VHX_CALLS_ACCEPT | VHX_CALLS_SECTION | VHX_CALLS_STORAGE | VHX_CALLS_TERMINAL | \
	 VHX_CALLS_HTTP | VHX_CALLS_TAP | VHX_CALLS_VDPA)

const struct vhx_confine_role vhx_confine_backend = {
	.name = "backend",
	.calls = BACKEND_CALLS,
};

const struct vhx_confine_role vhx_confine_backend_argo = {
	.name = "backend with argo",
	.calls = BACKEND_CALLS | VHX_CALLS_ARGO,
};

#define FRONTEND_CALLS                                                               \
	(VHX_CALLS_BASE | VHX_CALLS_LOOP | VHX_CALLS_SOCKET | VHX_CALLS_ACCEPT |     \
	 VHX_CALLS_CONNECT | VHX_CALLS_SECTION | VHX_CALLS_GUEST | VHX_CALLS_CHILD | \
	 VHX_CALLS_HTTP)

const struct vhx_confine_role vhx_confine_frontend = {
	.name = "frontend",
	.calls = FRONTEND_CALLS,
};

const struct vhx_confine_role vhx_confine_frontend_argo = {
	.name = "frontend with argo",
	.calls = FRONTEND_CALLS | VHX_CALLS_ARGO,
};

const struct vhx_confine_role vhx_confine_ivshmem = {
	.name = "ivshmem",
	.calls = VHX_CALLS_BASE | VHX_CALLS_LOOP | VHX_CALLS_SOCKET | VHX_CALLS_ACCEPT |
		 VHX_CALLS_CONNECT | VHX_CALLS_SECTION,
};

const struct vhx_confine_role vhx_confine_argo_cat = {
	.name = "argo-cat",
	.calls = VHX_CALLS_BASE | VHX_CALLS_LOOP | VHX_CALLS_ARGO,
};

const struct vhx_confine_role vhx_confine_notifier = {
	.name = "notifier",
	.calls = VHX_CALLS_BASE | VHX_CALLS_SOCKET,
};

const struct vhx_confine_role vhx_confine_connector = {
	.name = "connector",
	.calls = VHX_CALLS_BASE | VHX_CALLS_SOCKET | VHX_CALLS_CONNECT,
};

const struct vhx_calls *vhx_calls_group(unsigned int bit)
{
	assert(bit < VHX_CALLS_CNT);
	return &groups[bit];
}

const struct vhx_calls *vhx_calls_remove(void)
{
	static const struct vhx_calls calls = CALLS(removing);

	return &calls;
}

const struct vhx_calls *vhx_calls_doors(void)
{
	static const struct vhx_calls calls = CALLS(doors);

	return &calls;
}

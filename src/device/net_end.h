/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host's end of a network device. All of it is non-blocking; the owner says what it waits for.
 *
 *   tap:NAME             a tap interface, made where there is none of that name; one descriptor per queue pair
 *   stream:PATH          connects to a unix stream socket: passt, QEMU's -netdev stream,server=on
 *   listen:PATH          is connected to, by one peer at a time: QEMU's -netdev stream
 *   dgram:LOCAL:REMOTE   unix datagrams, bound to LOCAL, sent to REMOTE: QEMU's -netdev dgram
 *   fd:N[:N...]          descriptors that were inherited: of a tap, one per queue pair, or a connected socket
 *
 * A stream carries frames behind their length, 4 bytes, big-endian; a datagram is a frame. Packets begin with
 * the header of VirtIO 5.1.6 on this side; only a tap has it on the other.
 */
#ifndef VHX_DEVICE_NET_END_H
#define VHX_DEVICE_NET_END_H

#include <sys/types.h>
#include <sys/uio.h>

#include "device/net.h"
#include "device/net_layout.h"
#include "loop/loop.h"
#include "util/error.h"
#include "util/unix_socket.h"

/* Pieces of a frame: its pages, and one more where it does not begin with one. */
#define VHX_NET_IOV_MAX 18
#define VHX_NET_END_TEXT_MAX 256u /* "dgram:" and two paths of sockets */

struct vhx_net_end;

/* The owner's, called from the loop only. A receive or a send may change e->online as well. */
struct vhx_net_end_events {
	void (*readable)(struct vhx_net_end *e, unsigned int pair); /* while packets are wanted */
	void (*writable)(struct vhx_net_end *e, unsigned int pair); /* while room is wanted */
	void (*changed)(struct vhx_net_end *e); /* e->online did */
};

/* What a kind of end does; one file each. */
struct vhx_net_end_ops {
	const char *name;
	/* For a tap: segments and checksums may cross unfinished. */
	bool offload;
	/* Gives a descriptor to each line, up to e->pairs of them. 0 or negative with a line. @rest: behind the colon. */
	int (*open)(struct vhx_net_end *e, const char *rest, struct vhx_error *err);
	void (*close)(struct vhx_net_end *e);
	/*
	 * The next packet, header first, of which @iov[0] has room for at least that. Bytes; 0: none now; what
	 * does not fit is lost, with the result as large as what did. -EPIPE: nobody will send any more.
	 */
	ssize_t (*receive)(struct vhx_net_end *e, unsigned int pair, const struct iovec *iov,
			   int cnt);
	/*
	 * A frame, in at most VHX_NET_IOV_MAX pieces, and its header. 0: it is gone, for better or worse. -EAGAIN:
	 * nothing was taken. -EPIPE: nobody is there any more.
	 */
	int (*send)(struct vhx_net_end *e, unsigned int pair, const struct virtio_net_hdr *hdr,
		    const struct iovec *iov, int cnt);
	/* Is there a packet here already, whatever the descriptor says? NULL: never. */
	bool (*buffered)(const struct vhx_net_end *e);
	/* Goes on with what is @unsent. As send. NULL: nothing ever is. */
	int (*flush)(struct vhx_net_end *e);
	/* The peer is gone, its descriptors are closed, the owner knows. NULL: and that is all. */
	void (*over)(struct vhx_net_end *e);
	/* A tap's: what the driver takes unfinished, device features; and which pairs are used. NULL: nothing. */
	void (*set_offload)(struct vhx_net_end *e, uint64_t features);
	void (*set_pair)(struct vhx_net_end *e, unsigned int pair, bool used);
};

extern const struct vhx_net_end_ops vhx_net_tap_ops;
extern const struct vhx_net_end_ops vhx_net_stream_ops;
extern const struct vhx_net_end_ops vhx_net_listen_ops;
extern const struct vhx_net_end_ops vhx_net_dgram_ops;

/* One queue pair's descriptor, watched per direction: a loop is not shown what nobody will take. */
struct vhx_net_line {
	struct vhx_net_end *end;
	struct vhx_loop_fd watch;
	bool in, out; /* wanted */
	bool watched;
	bool used; /* a tap's pair that takes part */
};

struct vhx_net_stream; /* net_stream.c's */

struct vhx_net_end {
	const struct vhx_net_end_ops *ops;
	const struct vhx_net_end_events *events;
	struct vhx_loop *loop;
	bool online; /* the link is up, as far as can be told */
	unsigned int pairs;
	bool offload; /* asked for; and then, had */
	bool unsent; /* the end itself has the rest of a frame */
	struct vhx_loop_timer tell; /* @online changed, and the owner does not know */
	struct vhx_net_line lines[VHX_NET_PAIRS_MAX];
	char text[VHX_NET_END_TEXT_MAX]; /* for the log: "tap vm0" */
	/* Private to a kind */
	struct vhx_net_stream *stream;
	struct vhx_unix_listener listener;
	struct vhx_loop_fd accept;
	int spare_fd;
	char local[VHX_UNIX_PATH_MAX]; /* of a datagram socket that is ours to remove */
	uint64_t memory;
};

/* What can be told from the text alone. 0 or -EINVAL, -ENAMETOOLONG with a line. */
int vhx_net_end_check(const char *text, struct vhx_error *err);

/*
 * 0; negative with a line in @err, and nothing is left open. @e is the caller's memory. @pairs: of queues,
 * @offload: to let packets cross unfinished, where that can be had.
 */
int vhx_net_end_open(struct vhx_net_end *e, const char *text, unsigned int pairs, bool offload,
		     struct vhx_loop *loop, const struct vhx_net_end_events *events,
		     struct vhx_error *err);
void vhx_net_end_close(struct vhx_net_end *e);

/* What the owner waits for. */
void vhx_net_end_want_in(struct vhx_net_end *e, unsigned int pair, bool want);
void vhx_net_end_want_out(struct vhx_net_end *e, unsigned int pair, bool want);

/* As the ops of the same name, and with nobody there: none, and gone. */
ssize_t vhx_net_end_receive(struct vhx_net_end *e, unsigned int pair, const struct iovec *iov,
			    int cnt);
int vhx_net_end_send(struct vhx_net_end *e, unsigned int pair, const struct virtio_net_hdr *hdr,
		     const struct iovec *iov, int cnt);
bool vhx_net_end_buffered(const struct vhx_net_end *e);

/* What the driver takes, and which pairs it uses: no more than one where the end has no more. */
void vhx_net_end_set_offload(struct vhx_net_end *e, uint64_t features);
void vhx_net_end_set_pair(struct vhx_net_end *e, unsigned int pair, bool used);

/* For the kinds: @fd is where packets come from and go to, from now on or, with -1, no more. */
void vhx_net_end_line_set(struct vhx_net_end *e, unsigned int pair, int fd);
/* For the kinds: somebody is there. */
void vhx_net_end_met(struct vhx_net_end *e);
/* For the kinds: @len bytes into @iov, from its byte @off on; what does not fit is lost. Where it ends. */
size_t vhx_net_iov_put(const struct iovec *iov, int cnt, size_t off, const void *bytes, size_t len);

#endif

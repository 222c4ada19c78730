// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * An end of a stream: docs/argo-streams.md is the protocol.
 *
 * Objects. An end owns an endpoint, whose ring is for its peer's domain alone, and nothing else: what was received
 * stays in the ring until the program reads it, what is sent is the peer's at once. Only SYN, ACK and FIN may
 * have to wait for room; the first two are *owed*, and sent before all else; FIN is the program's to repeat.
 *
 *   CONNECTING --ACK--> OPEN --both FINs--> CLOSED
 *        |                |
 *        +----------------+-- error: the peer is gone (what is in the ring is read first), or RST or a
 *                             breach (nothing more is read)
 *
 * Progress is made in the program's calls, each of which first sends what is owed, and looks at the ring up to
 * the first DATA. A call that cannot go on says what it waits for (aep_arm), and when that was too long, asks
 * whether the peer's ring is still there. Who waits for room does not ask: it tries again, which says the same.
 *
 * The kernel says RST for us when the program ends (last_words), from the moment on that the peer is known.
 *
 * A hostile peer. A frame counts only with our key. Its header is copied once and judged; of DATA, bytes are copied once
 * into the program's buffer. Nothing is allocated after the stream was made.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "argo/endpoint.h"
#include "argo/stream.h"

enum state {
	CONNECTING, /* nothing can be sent or read yet */
	OPEN,
	CLOSED, /* there is nothing left to say either way */
};

struct vhx_argo_stream {
	struct vhx_aep ep;
	struct argo_addr peer; /* where frames go: the listener, until it answers */
	uint64_t key, peer_key;
	uint32_t frame_max; /* of the peer */
	enum state state;
	int error; /* the stream's end, negative; 0: not yet */
	bool deaf; /* nothing that comes counts any more */
	uint32_t owed; /* VHX_ARGO_SYN or VHX_ARGO_ACK; 0: nothing */
	bool refused; /* the last attempt to send, and the program was told to wait */
	bool fin_sent, fin_seen;
	bool begun; /* the message at the head of the ring is DATA, judged */
	uint32_t taken; /* of its bytes */
	struct vhx_argo_stream_stats stats;
};

/* ---- sending ---- */

static bool is_gone(int err)
{
	return err == -ECONNREFUSED || err == -ESRCH;
}

/* A peer that is gone may have said something before: that is read first. */
static void fail(struct vhx_argo_stream *s, int err)
{
	if (s->error)
		return;
	s->error = is_gone(err) && s->state != CONNECTING ? -ECONNRESET : err;
	s->refused = false;
}

/* From here on the kernel has nothing to say for us. */
static void last_words_clear(struct vhx_argo_stream *s)
{
	struct argo_addr nobody = { 0 };

	if (s->ep.dev->ops->last_words)
		s->ep.dev->ops->last_words(s->ep.dev, &nobody, 0, NULL, 0);
}

static int frame_send(struct vhx_argo_stream *s, const struct vhx_aframe *f, const void *data,
		      size_t len)
{
	struct vhx_aframe_bytes bytes;
	struct iovec iov[2] = { { &bytes, vhx_aframe_write(f, &bytes) },
				{ vhx_unconst(data), len } };
	int err = vhx_aep_send(&s->ep, &s->peer, VHX_ARGO_STREAM, iov, len ? 2 : 1);

	s->refused = err == -EAGAIN;
	s->stats.refused += s->refused;
	s->stats.tx_frames += !err;
	/* EFAULT is the program's own: the bytes that it gave are not there. */
	if (err && err != -EAGAIN && err != -EFAULT)
		fail(s, err);
	return err;
}

/* In vain if there is no room: then the peer looks for us, some time. */
static void reset_send(struct vhx_argo_stream *s, uint32_t reason)
{
	struct vhx_aframe rst = { .kind = VHX_ARGO_RST, .reason = reason, .key = s->peer_key };
	struct vhx_aframe_bytes bytes;
	struct iovec iov = { &bytes, vhx_aframe_write(&rst, &bytes) };

	vhx_aep_send(&s->ep, &s->peer, VHX_ARGO_STREAM, &iov, 1);
}

static void last_words_set(struct vhx_argo_stream *s)
{
	struct vhx_aframe rst = { .kind = VHX_ARGO_RST,
				  .reason = VHX_ARGO_RST_CLOSED,
				  .key = s->peer_key };
	struct vhx_aframe_bytes bytes;
	size_t len = vhx_aframe_write(&rst, &bytes);

	if (s->ep.dev->ops->last_words)
		s->ep.dev->ops->last_words(s->ep.dev, &s->peer, VHX_ARGO_STREAM, &bytes,
					   (uint32_t)len);
}

static void owed_send(struct vhx_argo_stream *s)
{
	struct vhx_aframe f = {
		.kind = s->owed,
		.key = s->peer_key,
		.greeting = {
			.version = VHX_ARGO_STREAM_VERSION,
			.frame_max = vhx_aframe_max(s->ep.reader.ring_len),
			.key = s->key,
		},
	};

	if (!s->owed || frame_send(s, &f, NULL, 0))
		return;
	s->owed = 0;
}

static int fin_send(struct vhx_argo_stream *s)
{
	struct vhx_aframe fin = { .kind = VHX_ARGO_FIN, .key = s->peer_key };

	return frame_send(s, &fin, NULL, 0);
}

static int data_send(struct vhx_argo_stream *s, const void *data, size_t len)
{
	struct vhx_aframe f = { .kind = VHX_ARGO_DATA, .key = s->peer_key };

	return frame_send(s, &f, data, len);
}

static void closed_check(struct vhx_argo_stream *s)
{
	if (s->state != OPEN || !s->fin_sent || !s->fin_seen)
		return;
	s->state = CLOSED;
	last_words_clear(s);
}

/* ---- receiving ---- */

static void breach(struct vhx_argo_stream *s)
{
	fail(s, -EPROTO);
	s->deaf = true;
	if (s->state == OPEN && !s->owed)
		reset_send(s, VHX_ARGO_RST_PROTOCOL);
	last_words_clear(s);
}

static int ack_take(struct vhx_argo_stream *s, const struct vhx_argo_message *msg,
		    const struct vhx_aframe *f)
{
	if (s->state != CONNECTING || f->greeting.version != VHX_ARGO_STREAM_VERSION)
		return -EPROTO;
	s->peer.port = msg->src.port;
	s->peer_key = f->greeting.key;
	s->frame_max = f->greeting.frame_max;
	s->state = OPEN;
	last_words_set(s);
	return 0;
}

/* Stays where it is until its bytes were read. */
static int data_take(struct vhx_argo_stream *s, const struct vhx_argo_message *msg,
		     const struct vhx_aframe *f)
{
	if (s->state != OPEN || s->fin_seen || msg->len > vhx_aframe_max(s->ep.reader.ring_len))
		return -EPROTO;
	s->begun = true;
	s->taken = 0;
	return 0;
}

static int fin_take(struct vhx_argo_stream *s, const struct vhx_argo_message *msg,
		    const struct vhx_aframe *f)
{
	if (s->state != OPEN || s->fin_seen)
		return -EPROTO;
	s->fin_seen = true;
	closed_check(s);
	return 0;
}

static int rst_take(struct vhx_argo_stream *s, const struct vhx_argo_message *msg,
		    const struct vhx_aframe *f)
{
	int err = -ECONNRESET;

	if (f->reason == VHX_ARGO_RST_PROTOCOL)
		err = -EPROTO;
	else if (f->reason == VHX_ARGO_RST_REFUSED && s->state == CONNECTING)
		err = -ECONNREFUSED;
	fail(s, err);
	s->deaf = true;
	last_words_clear(s);
	return 0;
}

typedef int take_fn(struct vhx_argo_stream *s, const struct vhx_argo_message *msg,
		    const struct vhx_aframe *f);

static take_fn *const takes[] = {
	[VHX_ARGO_ACK] = ack_take,
	[VHX_ARGO_DATA] = data_take,
	[VHX_ARGO_FIN] = fin_take,
	[VHX_ARGO_RST] = rst_take,
};

/* The message at the head, which is consumed unless it is DATA. */
static void message_take(struct vhx_argo_stream *s, const struct vhx_argo_message *msg)
{
	struct vhx_aframe f;
	int err = vhx_aframe_read(&s->ep.reader, msg, &f);

	if (err == -ENOMSG || f.key != s->key) {
		s->stats.strays++;
		vhx_aep_drop(&s->ep);
		return;
	}
	s->stats.rx_frames++;
	if (!err)
		err = f.kind < VHX_ARRAY_SIZE(takes) && takes[f.kind] ? takes[f.kind](s, msg, &f)
								      : -EPROTO;
	if (err)
		breach(s);
	if (!s->begun)
		vhx_aep_consume(&s->ep);
}

/* Up to the first DATA, past *@burst others, which are counted down. True: there may be more of these. */
static bool look_on(struct vhx_argo_stream *s, unsigned int *burst)
{
	const struct vhx_argo_message *msg;
	int ret;

	for (; *burst; *burst -= !s->begun) {
		if (s->begun || s->deaf)
			return false;
		ret = vhx_aep_peek(&s->ep, &msg);
		if (ret < 0) {
			fail(s, ret);
			s->deaf = true;
		}
		if (ret <= 0)
			return false;
		message_take(s, msg);
	}
	return true;
}

static bool look(struct vhx_argo_stream *s)
{
	unsigned int burst = VHX_AEP_BURST;

	return look_on(s, &burst);
}

/* Out of the DATA at the head. */
static size_t data_read(struct vhx_argo_stream *s, void *buf, size_t len)
{
	struct vhx_argo_reader *r = &s->ep.reader;
	uint32_t data_len = r->msg.len - (uint32_t)sizeof(struct vhx_argo_frame);
	uint32_t n = (uint32_t)vhx_min_u64(len, data_len - s->taken);

	vhx_argo_reader_read(r, (uint32_t)sizeof(struct vhx_argo_frame) + s->taken, buf, n);
	s->taken += n;
	s->stats.rx_bytes += n;
	if (s->taken == data_len) {
		s->begun = false;
		vhx_aep_consume(&s->ep);
	}
	return n;
}

/* ---- waiting ---- */

/* Is the peer still there? What it said before it went is looked at once more by whoever asks. */
static bool peer_is_gone(struct vhx_argo_stream *s)
{
	struct vhx_argo_dev *dev = s->ep.dev;

	if (vhx_aep_lost(&s->ep))
		return true;
	if (!vhx_aep_due(&s->ep) || s->refused)
		return false;
	s->stats.probes++;
	return dev->ops->query(dev, &s->peer) == 0;
}

/* -EAGAIN, or 0 if there is something to look at: the stream has failed, or is connected. */
static int stream_await(struct vhx_argo_stream *s, bool receives, bool hurry)
{
	int err = 0;

	if (peer_is_gone(s)) {
		bool connecting = s->state == CONNECTING;

		/* A listener may answer, and go: its ring is not the stream's. */
		look(s);
		if (!connecting || s->state == CONNECTING)
			fail(s, -ECONNREFUSED);
		return 0;
	}
	if (receives || (s->state == CONNECTING && !s->owed))
		s->ep.receives = true;
	s->ep.sends = s->refused;
	err = vhx_aep_arm(&s->ep, hurry);
	return err ? err : -EAGAIN;
}

/* What every call begins with. 0: the stream is open, and nothing is owed; else why it cannot be sent on. */
static int advance(struct vhx_argo_stream *s)
{
	bool more = false;

	if (!s->error)
		owed_send(s);
	if (!s->error)
		more = look(s);
	if (!s->error && (s->state == CONNECTING || s->owed)) {
		int ret = stream_await(s, false, more);

		if (ret)
			return ret;
	}
	return s->error;
}

/* ---- the interface ---- */

static int stream_new(struct vhx_argo_driver *driver, const struct argo_addr *peer,
		      struct vhx_argo_stream **stream)
{
	struct vhx_argo_stream *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	s->peer = *peer;
	err = vhx_aep_open(&s->ep, driver, 0, peer->domid, vhx_aframe_max(driver->ring_len),
			   driver->probe_ns);
	if (err)
		goto free_stream;
	while (!s->key) {
		if (getrandom(&s->key, sizeof(s->key), 0) < 0 && errno != EINTR) {
			err = -ENOSYS; /* the one reason that is left */
			goto close_endpoint;
		}
	}
	*stream = s;
	return 0;

close_endpoint:
	vhx_aep_close(&s->ep);
free_stream:
	free(s);
	return err;
}

/* What is owed is sent, or waits for room. */
static int stream_begin(struct vhx_argo_stream *s, uint32_t owed)
{
	int err;

	s->owed = owed;
	owed_send(s);
	err = s->error;
	if (err) {
		vhx_aep_close(&s->ep);
		free(s);
	}
	return err;
}

int vhx_argo_stream_connect(struct vhx_argo_driver *driver, uint16_t domid, uint32_t port,
			    struct vhx_argo_stream **stream)
{
	struct argo_addr listener = { .port = port, .domid = domid };
	struct vhx_argo_stream *s;
	int err = stream_new(driver, &listener, &s);

	if (err)
		return err;
	err = stream_begin(s, VHX_ARGO_SYN);
	if (!err)
		*stream = s;
	return err;
}

int vhx_astream_accept(struct vhx_argo_driver *driver, const struct argo_addr *peer,
		       const struct vhx_aframe_greeting *greeting, struct vhx_argo_stream **stream)
{
	struct vhx_argo_stream *s;
	int err = stream_new(driver, peer, &s);

	if (err)
		return err;
	s->peer_key = greeting->key;
	s->frame_max = greeting->frame_max;
	s->state = OPEN;
	last_words_set(s);
	err = stream_begin(s, VHX_ARGO_ACK);
	if (!err)
		*stream = s;
	return err;
}

int vhx_argo_stream_connected(struct vhx_argo_stream *stream)
{
	int err = advance(stream);

	if (err == -EAGAIN)
		return 0;
	return err ? err : 1;
}

/* Where the kernel has last words for us, it says them now. */
void vhx_argo_stream_close(struct vhx_argo_stream *stream)
{
	if (!stream)
		return;
	/* It may have been accepted by now: that end is to know. */
	if (stream->state == CONNECTING && !stream->error)
		look(stream);
	if (stream->state == OPEN && !stream->error && !stream->ep.dev->ops->last_words)
		reset_send(stream, VHX_ARGO_RST_CLOSED);
	vhx_aep_close(&stream->ep);
	free(stream);
}

void vhx_argo_stream_peer(const struct vhx_argo_stream *stream, struct vhx_argo_address *peer)
{
	*peer = (struct vhx_argo_address){
		.port = stream->peer.port,
		.domid = stream->peer.domid,
		.type = VHX_ARGO_STREAM,
	};
}

/* In frames that the peer takes, as many as there is room for. */
static int64_t frames_send(struct vhx_argo_stream *s, const uint8_t *buf, size_t len)
{
	const uint32_t most = s->frame_max - (uint32_t)sizeof(struct vhx_argo_frame);
	size_t done = 0, n;
	int err = 0;

	while (done < len && !err) {
		n = vhx_min_u64(len - done, most);
		err = data_send(s, buf + done, n);
		if (!err)
			done += n;
	}
	s->stats.tx_bytes += done;
	if (!done)
		return err;
	/* Whoever is not told to wait does not: the next call says whether there is room. */
	s->refused = false;
	return (int64_t)done;
}

int64_t vhx_argo_stream_send(struct vhx_argo_stream *stream, const void *buf, size_t len)
{
	int64_t ret;

	if (stream->fin_sent)
		return -EPIPE;
	ret = advance(stream);
	if (ret)
		return ret;
	stream->ep.sends = false;
	ret = frames_send(stream, buf, len);
	if (ret == -EAGAIN)
		ret = stream_await(stream, stream->ep.receives, false);
	return ret <= 0 && stream->error ? stream->error : ret;
}

int vhx_argo_stream_shutdown(struct vhx_argo_stream *stream)
{
	int err;

	if (stream->fin_sent)
		return 0;
	err = advance(stream);
	if (err)
		return err;
	stream->ep.sends = false;
	err = fin_send(stream);
	if (err == -EAGAIN)
		err = stream_await(stream, stream->ep.receives, false) ?: stream->error;
	if (err)
		return stream->error ? stream->error : err;
	stream->fin_sent = true;
	closed_check(stream);
	return 0;
}

/* All that is there, as far as it has a place. */
static size_t bytes_read(struct vhx_argo_stream *s, uint8_t *buf, size_t len, bool *more)
{
	unsigned int burst = VHX_AEP_BURST;
	size_t done = 0;

	do {
		*more = look_on(s, &burst);
		if (!s->begun)
			break;
		done += data_read(s, buf + done, len - done);
	} while (done < len);
	return done;
}

int64_t vhx_argo_stream_recv(struct vhx_argo_stream *stream, void *buf, size_t len)
{
	size_t done;
	bool more;
	int ret;

	if (!len)
		return -EINVAL;
	if (!stream->error)
		owed_send(stream);
	do {
		done = bytes_read(stream, buf, len, &more);
		stream->ep.receives = false;
		if (done)
			return (int64_t)done;
		if (stream->fin_seen)
			return 0;
		ret = stream->error;
		if (!ret)
			ret = stream_await(stream, true, more);
	} while (!ret);
	return ret;
}

int vhx_argo_stream_fileno(const struct vhx_argo_stream *stream)
{
	return stream->ep.wait_fd;
}

int vhx_argo_stream_wait(struct vhx_argo_stream *stream, int timeout_ms)
{
	return vhx_aep_wait(&stream->ep, timeout_ms);
}

void vhx_argo_stream_stats(const struct vhx_argo_stream *stream,
			   struct vhx_argo_stream_stats *stats, size_t size)
{
	struct vhx_argo_stream_stats now = stream->stats;

	now.notifies = stream->ep.notifies;
	memset(stats, 0, size);
	memcpy(stats, &now, size < sizeof(now) ? size : sizeof(now));
}

// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Each request is room for random bytes (VirtIO 5.4.6). The device fills a prefix of it, at least one byte, from
 * getrandom(2) straight into the outgoing message, and completes it: nothing is kept that could be handed out twice.
 *
 * A request that cannot be answered now is held, in order, for one of three reasons, each with somebody who looks
 * again:
 *
 *   no room in the message   ops->room(), or submit again where nothing is held before it
 *   the quota is used up     the period's timer, which fills it up
 *   getrandom has no bytes   the retry timer (early in the boot of a host only)
 *
 * The quota is max_bytes in each period; a period begins with the first byte taken behind the end of the one before.
 * The answer to a request is cut to what is left of it.
 *
 * A hostile driver can keep its own queue busy. It gets bytes that nobody else will see, as fast as the quota
 * allows; out bytes, which no driver may send, are not looked at.
 */
#include "device/rng.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "device/identity.h"

#define RNG_DEVICE_ID 4 /* VirtIO 5.4.1 */
#define NS_PER_MS 1000000ull
/* The host's generator is not ready yet: it will be within seconds of its boot. */
#define RNG_RETRY_NS (100 * NS_PER_MS)

struct rng {
	struct vhx_device dev;
	struct vhx_rng_config cfg;
	struct vhx_list held;
	uint32_t quota; /* bytes left in this period, where there is a limit */
	struct vhx_loop_timer period;
	struct vhx_loop_timer retry;
	struct vhx_log_limit limit;
};

static struct rng *rng_of(struct vhx_device *dev)
{
	return vhx_container_of(dev, struct rng, dev);
}

/* The length of the next answer; 0: the quota is used up. */
static uint32_t answer_len(const struct rng *rng, const struct vhx_request *req)
{
	uint32_t len = (uint32_t)vhx_min_u64(req->in_len, VHX_RNG_ANSWER_MAX);

	len = (uint32_t)vhx_min_u64(len, vhx_request_in_reserve_max(req));
	return rng->cfg.max_bytes ? (uint32_t)vhx_min_u64(len, rng->quota) : len;
}

static void quota_take(struct rng *rng, uint32_t len)
{
	if (!rng->cfg.max_bytes)
		return;
	rng->quota -= len;
	if (!rng->period.due_ns)
		vhx_loop_timer_arm(rng->dev.loop, &rng->period, rng->cfg.period_ms * NS_PER_MS);
}

/* How many bytes it was, perhaps fewer than @len; 0: none now. */
static uint32_t bytes_get(struct rng *rng, void *buf, uint32_t len)
{
	ssize_t n = getrandom(buf, len, GRND_NONBLOCK);

	if (n > 0)
		return (uint32_t)n;
	if (errno != EAGAIN && errno != EINTR)
		vhx_log_limited(rng->dev.log, &rng->limit, vhx_loop_now(rng->dev.loop),
				VHX_LOG_ERROR, "%s: getrandom: %s", rng->dev.id, strerror(errno));
	if (!rng->retry.due_ns)
		vhx_loop_timer_arm(rng->dev.loop, &rng->retry, RNG_RETRY_NS);
	return 0;
}

/* 0: answered. -EAGAIN: no room in the message; -EBUSY: nothing to answer with now. */
static int request_answer(struct rng *rng, struct vhx_request *req)
{
	uint32_t len = answer_len(rng, req), n;
	bool later;
	void *p;

	if (!req->in_len) {
		vhx_request_complete(req, 0, NULL, 0, 0, 0);
		return 0;
	}
	if (!len)
		return -EBUSY;
	p = vhx_request_in_reserve(req, 0, len, &later);
	if (!p)
		return -EAGAIN;
	n = bytes_get(rng, p, len);
	vhx_request_in_commit(req, n);
	if (!n)
		return -EBUSY;
	quota_take(rng, n);
	vhx_request_complete(req, 0, NULL, 0, 0, n);
	return 0;
}

static void held_answer(struct rng *rng)
{
	while (!vhx_list_empty(&rng->held)) {
		struct vhx_request *req = vhx_list_first_entry(&rng->held, struct vhx_request,
							       node);

		vhx_list_del(&req->node);
		if (!request_answer(rng, req))
			continue;
		vhx_list_add_tail(rng->held.next, &req->node);
		return;
	}
}

static int rng_submit(struct vhx_device *dev, struct vhx_request *req)
{
	struct rng *rng = rng_of(dev);
	int ret = -EBUSY;

	if (vhx_list_empty(&rng->held))
		ret = request_answer(rng, req);
	if (ret != -EBUSY)
		return ret;
	vhx_list_init(&req->node);
	vhx_list_add_tail(&rng->held, &req->node);
	return 0;
}

static void rng_room(struct vhx_device *dev, struct vhx_queue *queue)
{
	held_answer(rng_of(dev));
}

static void period_ended(struct vhx_loop_timer *t)
{
	struct rng *rng = vhx_container_of(t, struct rng, period);

	rng->quota = rng->cfg.max_bytes;
	held_answer(rng);
}

static void retry_expired(struct vhx_loop_timer *t)
{
	held_answer(vhx_container_of(t, struct rng, retry));
}

static void held_drop(struct rng *rng)
{
	while (!vhx_list_empty(&rng->held)) {
		struct vhx_request *req = vhx_list_first_entry(&rng->held, struct vhx_request,
							       node);

		vhx_list_del(&req->node);
		vhx_request_drop(req);
	}
}

static void rng_reset(struct vhx_device *dev, struct vhx_queue *queue)
{
	held_drop(rng_of(dev));
	vhx_queue_quiesced(queue);
}

static int rng_set_features(struct vhx_device *dev, uint64_t features)
{
	return features & ~dev->features ? -EINVAL : 0;
}

/* There is no config space. */
static int rng_set_config(struct vhx_device *dev, uint32_t off, const void *buf, uint32_t len)
{
	return -EINVAL;
}

/* No out bytes are expected and nothing is staged. */
static void rng_queue_limits(const struct vhx_device *dev, uint16_t index,
			     struct vhx_device_limits *limits)
{
	limits->max_out = 0;
	limits->max_staged = 0;
}

static void rng_close(struct vhx_device *dev)
{
	struct rng *rng = rng_of(dev);

	vhx_loop_timer_cancel(dev->loop, &rng->period);
	vhx_loop_timer_cancel(dev->loop, &rng->retry);
	held_drop(rng);
	free(rng);
}

static const struct vhx_device_ops rng_ops = {
	.name = "rng",
	.device_id = RNG_DEVICE_ID,
	.queue_limits = rng_queue_limits,
	.submit = rng_submit,
	.room = rng_room,
	.reset = rng_reset,
	.set_features = rng_set_features,
	.set_config = rng_set_config,
	.close = rng_close,
};

/* Whether there is a generator is known before anybody asks for bytes; that it is not ready yet is no fault. */
static int generator_check(const struct vhx_rng_config *cfg, struct vhx_error *err)
{
	uint8_t byte;
	int ret;

	if (getrandom(&byte, sizeof(byte), GRND_NONBLOCK) >= 0 || errno == EAGAIN)
		return 0;
	ret = -errno;
	vhx_error_set(err, "%s: getrandom: %s", cfg->id, strerror(-ret));
	return ret;
}

int vhx_rng_new(struct vhx_loop *loop, const struct vhx_rng_config *config,
		const struct vhx_log *log, struct vhx_device **device, struct vhx_error *err)
{
	struct rng *rng;
	int ret = generator_check(config, err);

	if (ret)
		return ret;
	rng = calloc(1, sizeof(*rng));
	if (!rng) {
		vhx_error_set(err, "%s: out of memory", config->id);
		return -ENOMEM;
	}
	rng->cfg = *config;
	rng->cfg.id = NULL;
	rng->quota = config->max_bytes;
	vhx_list_init(&rng->held);
	vhx_list_init(&rng->period.node);
	vhx_list_init(&rng->retry.node);
	rng->period.expired = period_ended;
	rng->retry.expired = retry_expired;
	rng->dev.ops = &rng_ops;
	vhx_device_identify(&rng->dev, config->id);
	rng->dev.num_queues = 1;
	rng->dev.queue_size_max = config->queue_size ?: VHX_RNG_QUEUE_SIZE_MAX;
	rng->dev.max_in = UINT32_MAX;
	rng->dev.memory = sizeof(*rng);
	rng->dev.log = log;
	rng->dev.loop = loop;
	*device = &rng->dev;
	return 0;
}

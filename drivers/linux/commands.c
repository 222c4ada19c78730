// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Theory of operation
 *
 * Some types have a queue for commands that set state in the device: of net which frames it wants
 * and how many pairs of queues are in use. That dies with a backend, and no driver says a command
 * twice. So of each thing that can be set (type.c) the last command that the device did is kept,
 * and a replaced backend is told of them before anything else (docs/wire.md, section 11).
 *
 *   IDLE --a backend is lost, and commands are kept--> DUE --the next one runs--> TELLING
 *   TELLING --it is lost, too--> DUE
 *   TELLING --all are answered, or none can be sent--> IDLE
 *   from all of them to IDLE when the driver resets the device
 *
 * Keeping. A command counts when its answer says OK. Its bytes are copied from the driver's buffers
 * just before the chain goes back; they are those that were sent, since the driver waits for one
 * command before it makes the next (HMX_PATIENCE_SHORT). One that cannot be kept takes along what
 * it replaces: nobody is told what does not hold any more.
 *
 * Telling. Nothing of the device is pumped meanwhile, so that no packet comes by a filter that is
 * not there yet. The queue has just been opened: nothing of it is in flight at the backend, any
 * number is free for the one request that is, and its window is whole. There is no slot for it, and
 * an answer of one byte.
 *
 * All of it is under the lock; answers come in the work.
 *
 * A hostile backend: its answers are judged as all others are. What it refuses is passed over, with
 * a line. One that does not answer ends its channel, and after DEATHS_MAX lives in a row that ended
 * so nobody is told any more: what was told may have been the reason. A driver can have
 * COMMANDS_MAX commands of COMMAND_BYTES_MAX kept.
 */
#include <linux/jiffies.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <uapi/linux/virtio_net.h>

#include "queue.h"

/* Of net Linux has a dozen, and one for each VLAN. */
#define COMMANDS_MAX 64u
/* Bytes of one: net's two tables with 64 addresses each have 778. */
#define COMMAND_BYTES_MAX 1024u
/* What every command ends with: VirtIO 5.1.6.5. */
#define COMMAND_ANSWER_LEN 1u
/* Of its request: nothing else is in flight. */
#define COMMAND_ID 0u
/* docs/wire.md, section 6: as for a control message, which it is to the driver. */
#define COMMAND_MS 5000u
/* docs/wire.md, section 11: VHX_FLIGHT_DEATHS_MAX */
#define DEATHS_MAX 3u

struct hmx_command {
	struct list_head node; /* hmx_commands.kept */
	u32 what;
	u32 len;
	bool told; /* this backend; or passed over */
	u8 bytes[];
};

void hmx_commands_init(struct hmx_device *dev)
{
	INIT_LIST_HEAD(&dev->commands.kept);
}

/* Keeping */

static void command_drop(struct hmx_commands *c, struct hmx_command *k)
{
	list_del(&k->node);
	kfree(k);
	c->cnt--;
}

void hmx_commands_forget(struct hmx_device *dev)
{
	struct hmx_commands *c = &dev->commands;
	struct hmx_command *k, *next;

	list_for_each_entry_safe(k, next, &c->kept, node)
		command_drop(c, k);
	c->due = false;
	c->sent = false;
	c->deaths = 0;
}

static void command_replace(struct hmx_commands *c, u32 what)
{
	struct hmx_command *k, *next;

	list_for_each_entry_safe(k, next, &c->kept, node) {
		if (k->what == what)
			command_drop(c, k);
	}
}

/* Up to @len out bytes of a chain. Returns how many. */
static u32 chain_copy(const struct hmx_queue *q, u16 head, u8 *dst, u32 len)
{
	struct hmx_position p = hmx_chain_start(q, head);
	struct hmx_segment seg;
	u32 done = 0;

	while (done < len && hmx_chain_look(q, &p, &seg) > 0 && !seg.write) {
		u32 n = min(seg.len, len - done);

		memcpy(dst + done, seg.addr, n);
		hmx_chain_advance(&p, &seg, n);
		done += n;
	}
	return done;
}

/* The newest is the last: some of them are about what an earlier one has set. */
static bool command_add(struct hmx_queue *q, const struct hmx_slot *s, u32 what)
{
	struct hmx_commands *c = &q->dev->commands;
	struct hmx_command *k;

	if (c->cnt == COMMANDS_MAX || s->out_len > COMMAND_BYTES_MAX)
		return false;
	/* Without a line in the log: it could come back here. */
	k = kmalloc(struct_size(k, bytes, s->out_len), GFP_ATOMIC | __GFP_NOWARN);
	if (!k)
		return false;
	k->what = what;
	k->len = chain_copy(q, hmx_slot_id(q, s), k->bytes, s->out_len);
	k->told = true;
	list_add_tail(&k->node, &c->kept);
	c->cnt++;
	return true;
}

void hmx_commands_note(struct hmx_queue *q, const struct hmx_slot *s)
{
	struct hmx_commands *c = &q->dev->commands;
	struct hmx_setting set;
	u8 head[HMX_COMMAND_HEAD];
	u32 len;

	if (!hmx_queue_commands(q) || !s->status_came || s->status != VIRTIO_NET_OK)
		return;
	len = chain_copy(q, hmx_slot_id(q, s), head, min_t(u32, s->out_len, sizeof(head)));
	if (!q->dev->type->command(head, len, &set))
		return;
	c->queue = q->index;
	command_replace(c, set.what);
	if (!set.clears && !command_add(q, s, set.what))
		c->why = "a command is too long, or one too many: no other backend is told of it";
}

/* Telling */

static void telling_done(struct hmx_device *dev)
{
	struct hmx_commands *c = &dev->commands;

	if (c->refused)
		c->why = "the backend refuses what another one has done for the driver";
	c->due = false;
	c->deaths = 0;
	/* Those that stood still were not looked at. */
	hmx_channel_kick(dev->ch);
}

/* 0; -EAGAIN; -EMSGSIZE: it never fits. */
static int command_send(struct hmx_queue *q, const struct hmx_command *k)
{
	const struct hmx_vq_state *s = &q->dev->vq_states[q->index];
	const struct hmx_key key = { q->dev->dev_num, q->index, s->epoch };
	const struct vhx_avail_record record = {
		.id = cpu_to_le16(COMMAND_ID),
		.flags = cpu_to_le16(VHX_AVAIL_FIRST),
		.out_len = cpu_to_le32(k->len),
		.in_len = cpu_to_le32(COMMAND_ANSWER_LEN),
		.chunk_len = cpu_to_le32(k->len),
	};
	u32 need = sizeof(record) + ALIGN(k->len, VHX_RECORD_ALIGN);
	struct hmx_channel *ch = q->dev->ch;

	if (k->len > s->limits.max_out || s->limits.max_in < COMMAND_ANSWER_LEN ||
	    VHX_DATA_HEADER_LEN + need > ch->max_message)
		return -EMSGSIZE;
	if (hmx_tx_begin(ch, VHX_MSG_AVAIL, &key, need, q))
		return -EAGAIN;
	hmx_tx_put(&ch->tx, &record, sizeof(record));
	hmx_tx_put(&ch->tx, k->bytes, k->len);
	hmx_tx_pad(&ch->tx);
	hmx_tx_commit(&ch->tx);
	return 0;
}

static void command_sent(struct hmx_device *dev)
{
	struct hmx_commands *c = &dev->commands;

	c->sent = true;
	c->answered = 0;
	c->answer = VIRTIO_NET_ERR;
	c->until = jiffies + msecs_to_jiffies(COMMAND_MS);
	c->told++;
	hmx_tick_arm(dev->ch);
}

/* The queue that takes them, if it does now. */
static const struct hmx_queue *commands_queue(const struct hmx_device *dev)
{
	const struct hmx_queue *q = dev->queues[dev->commands.queue];

	if (!q || !q->live || q->broken || !hmx_device_queue_live(dev, q->index))
		return NULL;
	return q;
}

static bool telling_step(struct hmx_queue *q)
{
	struct hmx_commands *c = &q->dev->commands;
	struct hmx_command *k;

	list_for_each_entry(k, &c->kept, node) {
		int ret;

		if (k->told)
			continue;
		ret = command_send(q, k);
		if (ret == -EAGAIN)
			return true;
		k->told = true;
		c->refused |= ret == -EMSGSIZE;
		if (!ret) {
			command_sent(q->dev);
			return true;
		}
	}
	telling_done(q->dev);
	return false;
}

/* Others than the one that takes them wait for their turn only: room is asked for by that one. */
bool hmx_commands_pump(struct hmx_queue *q)
{
	const struct hmx_commands *c = &q->dev->commands;
	const struct hmx_queue *taker;

	if (likely(!c->due))
		return false;
	if (c->sent)
		return true;
	/* Without its queue nobody can be told; it may come later. */
	taker = commands_queue(q->dev);
	if (!taker)
		return false;
	return q != taker || telling_step(q);
}

bool hmx_commands_await(const struct hmx_queue *q)
{
	return q->dev->commands.sent && q->dev->commands.queue == q->index;
}

int hmx_commands_answer(struct hmx_queue *q, struct hmx_rx *rx, const struct hmx_used *u)
{
	struct hmx_commands *c = &q->dev->commands;

	if (u->id != COMMAND_ID || u->flags & VHX_USED_GROUP)
		return -EPROTO;
	if (u->chunk_len) {
		if (u->in_off != c->answered || u->chunk_len > COMMAND_ANSWER_LEN - c->answered)
			return -EPROTO;
		hmx_rx_read(rx, &c->answer, u->chunk_len);
		c->answered += u->chunk_len;
	}
	if (u->used_len > c->answered)
		return -EPROTO;
	if (!(u->flags & VHX_USED_COMPLETE))
		return 0;
	c->sent = false;
	c->refused |= c->answer != VIRTIO_NET_OK;
	return 0;
}

bool hmx_commands_overdue(const struct hmx_device *dev)
{
	const struct hmx_commands *c = &dev->commands;

	return c->sent && !dev->failed && time_after(jiffies, c->until);
}

void hmx_commands_lost(struct hmx_device *dev)
{
	struct hmx_commands *c = &dev->commands;
	struct hmx_command *k;

	if (c->sent && ++c->deaths == DEATHS_MAX) {
		hmx_commands_forget(dev);
		c->why = "backends die of what the driver has set: the next one is not told";
	}
	list_for_each_entry(k, &c->kept, node)
		k->told = false;
	c->due = c->cnt;
	c->sent = false;
	c->refused = false;
}

void hmx_commands_stop(struct hmx_queue *q)
{
	struct hmx_commands *c = &q->dev->commands;
	struct hmx_command *k;

	if (!hmx_commands_await(q))
		return;
	list_for_each_entry(k, &c->kept, node)
		k->told = false;
	c->sent = false;
}

void hmx_commands_report(struct hmx_device *dev)
{
	const char *why = READ_ONCE(dev->commands.why);

	if (!why)
		return;
	if (hmx_line_due(dev->ch))
		dev_warn(&dev->ch->dev, "%s: %s\n", dev->name, why);
	WRITE_ONCE(dev->commands.why, NULL);
}

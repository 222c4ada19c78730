// SPDX-License-Identifier: BSD-3-Clause
#include "mediator/devices.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/devtype.h"
#include "device/blk.h"
#include "device/console.h"
#include "device/net.h"
#include "device/rng.h"
#include "device/scsi.h"
#include "device/vdpa.h"
#include "device/vhost_user.h"
#include "device/vsock.h"
#include "mediator/connector.h"
#include "mediator/awaiter.h"
#include "mediator/dialer.h"

static int blk_new(const struct vhx_device_env *env, const struct vhx_device_spec *spec,
		   struct vhx_device **dev, struct vhx_error *err)
{
	struct vhx_blk_config cfg = {
		.id = spec->id,
		.path = spec->blk.file[0] ? spec->blk.file : NULL,
		.fd = spec->blk.fd,
		.readonly = spec->blk.readonly,
		.direct = spec->blk.direct,
		.handover = spec->blk.handover,
		.no_discard = !spec->blk.discard,
		.serial = spec->blk.serial[0] ? spec->blk.serial : NULL,
		.num_queues = (uint16_t)spec->blk.num_queues,
		.queue_size = (uint16_t)spec->blk.queue_size,
		.max_request = (uint32_t)vhx_min_u64(env->ring_size, VHX_BLK_DATA_DEFAULT),
	};

	return vhx_blk_new(env->loop, &cfg, env->log, dev, err);
}

_Static_assert(VHX_SPEC_PORTS_MAX == VHX_CONSOLE_PORTS_MAX, "one port per key");
_Static_assert(VHX_SPEC_PORT_NAME_MAX == VHX_CONSOLE_NAME_MAX, "names fit");

static int console_new(const struct vhx_device_env *env, const struct vhx_device_spec *spec,
		       struct vhx_device **dev, struct vhx_error *err)
{
	const struct vhx_console_spec *s = &spec->console;
	struct vhx_console_config cfg = {
		.id = spec->id,
		.cols = (uint16_t)s->cols,
		.rows = (uint16_t)s->rows,
		.buffer = s->buffer,
		.drop = !strcmp(s->full, "drop"),
		.queue_size = (uint16_t)s->queue_size,
	};

	while (cfg.port_cnt < VHX_SPEC_PORTS_MAX && s->ports[cfg.port_cnt].end[0]) {
		cfg.ports[cfg.port_cnt].end = s->ports[cfg.port_cnt].end;
		cfg.ports[cfg.port_cnt].name = s->ports[cfg.port_cnt].name;
		cfg.port_cnt++;
	}
	return vhx_console_new(env->loop, &cfg, env->log, dev, err);
}

_Static_assert(VHX_SPEC_NET_PAIRS_MAX == VHX_NET_PAIRS_MAX, "as many as there can be");

static int net_new(const struct vhx_device_env *env, const struct vhx_device_spec *spec,
		   struct vhx_device **dev, struct vhx_error *err)
{
	struct vhx_net_config cfg = {
		.id = spec->id,
		.end = spec->net.end,
		.mtu = (uint16_t)spec->net.mtu,
		.pairs = (uint16_t)spec->net.pairs,
		.offload = spec->net.offload,
		.queue_size = (uint16_t)spec->net.queue_size,
	};

	if (spec->net.mac[0])
		vhx_mac_parse(spec->net.mac, cfg.mac);
	return vhx_net_new(env->loop, &cfg, env->log, dev, err);
}

static int rng_new(const struct vhx_device_env *env, const struct vhx_device_spec *spec,
		   struct vhx_device **dev, struct vhx_error *err)
{
	struct vhx_rng_config cfg = {
		.id = spec->id,
		.max_bytes = spec->rng.max_bytes,
		.period_ms = spec->rng.period_ms ?: VHX_SPEC_RNG_PERIOD_DEFAULT,
		.queue_size = (uint16_t)spec->rng.queue_size,
	};

	return vhx_rng_new(env->loop, &cfg, env->log, dev, err);
}

_Static_assert(VHX_SPEC_LUNS_MAX == VHX_SCSI_LUNS_MAX, "one unit per key");
_Static_assert(VHX_SPEC_SCSI_QUEUES_MAX == VHX_SCSI_QUEUES_MAX, "as many as there can be");

static int scsi_new(const struct vhx_device_env *env, const struct vhx_device_spec *spec,
		    struct vhx_device **dev, struct vhx_error *err)
{
	const struct vhx_scsi_spec *s = &spec->scsi;
	struct vhx_scsi_config cfg = {
		.id = spec->id,
		.direct = s->direct,
		.handover = s->handover,
		.no_discard = !s->discard,
		.num_queues = (uint16_t)s->num_queues,
		.queue_size = (uint16_t)s->queue_size,
		.max_request = (uint32_t)vhx_min_u64(env->ring_size, VHX_SCSI_DATA_DEFAULT),
	};

	for (; cfg.lun_cnt < VHX_SPEC_LUNS_MAX && s->luns[cfg.lun_cnt].file[0]; cfg.lun_cnt++) {
		cfg.luns[cfg.lun_cnt].path = s->luns[cfg.lun_cnt].file;
		cfg.luns[cfg.lun_cnt].readonly = s->luns[cfg.lun_cnt].readonly;
		if (s->luns[cfg.lun_cnt].serial[0])
			cfg.luns[cfg.lun_cnt].serial = s->luns[cfg.lun_cnt].serial;
	}
	return vhx_scsi_new(env->loop, &cfg, env->log, dev, err);
}

_Static_assert(VHX_SPEC_VSOCK_PATH_MAX == VHX_VSOCK_PATH_MAX, "paths fit");

static int vsock_new(const struct vhx_device_env *env, const struct vhx_device_spec *spec,
		     struct vhx_device **dev, struct vhx_error *err)
{
	struct vhx_vsock_config cfg = {
		.id = spec->id,
		.path = spec->vsock.uds_path,
		.guest_cid = spec->vsock.guest_cid,
		.seqpacket = spec->vsock.seqpacket,
		.connections = (uint16_t)spec->vsock.connections,
		.buffer = spec->vsock.buffer,
		.queue_size = (uint16_t)spec->vsock.queue_size,
	};
	int ret = vhx_connector_start(spec->vsock.uds_path, env->sandbox, &cfg.connector);

	if (ret) {
		vhx_error_set(err, "%s: a process that connects: %s", spec->id, strerror(-ret));
		return ret;
	}
	ret = vhx_vsock_new(env->loop, &cfg, env->log, dev, err);
	if (ret)
		close(cfg.connector);
	return ret;
}

/* A name of core/devtype.c, or any number. 0: neither. */
static uint32_t type_number(const char *text)
{
	const struct vhx_devtype *type = vhx_devtype_named(text);
	unsigned long number;
	char *end;

	if (type)
		return type->device_id;
	number = strtoul(text, &end, 10);
	return *end || number > UINT16_MAX ? 0 : (uint32_t)number;
}

_Static_assert(VHX_SPEC_TAG_MAX == VHX_BRIDGE_TAG_LEN + 1, "a tag fits");

/* Who brings the connections: we go to the back-end, or it comes to us. */
static int bridge_connector(const struct vhx_device_env *env, const struct vhx_bridge_spec *s,
			    struct vhx_bridge_connector *connector, struct vhx_error *err)
{
	struct vhx_awaiter *awaiter;
	struct vhx_dialer *dialer;
	int ret;

	if (s->server) {
		ret = vhx_awaiter_new(s->socket, VHX_BRIDGE_START_MS, &awaiter, err);
		if (!ret)
			*connector = (struct vhx_bridge_connector){ vhx_awaiter_connect,
								    vhx_awaiter_free, awaiter };
		return ret;
	}
	ret = vhx_dialer_new(s->socket, env->sandbox, &dialer);
	if (ret)
		vhx_error_set(err, "%s", strerror(-ret));
	else
		*connector = (struct vhx_bridge_connector){ vhx_dialer_connect, vhx_dialer_free,
							    dialer };
	return ret;
}

static int bridge_new(const struct vhx_device_env *env, const struct vhx_device_spec *spec,
		      struct vhx_device **dev, struct vhx_error *err)
{
	const struct vhx_bridge_spec *s = &spec->bridge;
	struct vhx_bridge_config cfg = {
		.id = spec->id,
		.device_id = type_number(s->type),
		.name = s->socket,
		.queues = (uint16_t)s->queues,
		.queue_size = (uint16_t)s->queue_size,
		.split = !s->packed,
		.host_cache = !strcmp(s->cache, "host"),
		.mtu = (uint16_t)s->mtu,
	};
	int ret;

	if (!cfg.device_id) {
		vhx_error_set(err, "%s: type=%s: no device type of VirtIO 5", spec->id, s->type);
		return -EINVAL;
	}
	memcpy(cfg.tag, s->tag, sizeof(cfg.tag));
	if (s->mac[0])
		vhx_mac_parse(s->mac, cfg.mac);
	ret = bridge_connector(env, s, &cfg.connector, err);
	if (ret) {
		vhx_error_prefix(err, "%s", spec->id);
		return ret;
	}
	return vhx_bridge_new(env->loop, &cfg, env->log, dev, err);
}

static int vdpa_new(const struct vhx_device_env *env, const struct vhx_device_spec *spec,
		    struct vhx_device **dev, struct vhx_error *err)
{
	struct vhx_vdpa_config cfg = {
		.id = spec->id,
		.path = spec->vdpa.path,
		.queues = (uint16_t)spec->vdpa.queues,
		.queue_size = (uint16_t)spec->vdpa.queue_size,
		.split = !spec->vdpa.packed,
	};

	return vhx_vdpa_new(env->loop, &cfg, env->log, dev, err);
}

static const struct {
	const char *type;
	int (*make)(const struct vhx_device_env *env, const struct vhx_device_spec *spec,
		    struct vhx_device **dev, struct vhx_error *err);
} models[] = {
	{ "blk", blk_new },   { "console", console_new }, { "net", net_new },
	{ "rng", rng_new },   { "scsi", scsi_new },	  { "vhost-user", bridge_new },
	{ "vdpa", vdpa_new }, { "vsock", vsock_new },
};

int vhx_device_new(const struct vhx_device_env *env, const struct vhx_device_spec *spec,
		   struct vhx_device **dev, struct vhx_error *err)
{
	const char *type = vhx_device_spec_type(spec);
	size_t i;
	int ret;

	_Static_assert(sizeof((*dev)->peer) == sizeof(spec->peer), "the same texts");
	for (i = 0; i < VHX_ARRAY_SIZE(models); i++) {
		if (strcmp(models[i].type, type))
			continue;
		ret = models[i].make(env, spec, dev, err);
		if (!ret)
			memcpy((*dev)->peer, spec->peer, sizeof(spec->peer));
		return ret;
	}
	vhx_error_set(err, "%s: this build cannot serve devices of type %s", spec->id, type);
	return -ENOTSUP;
}

int vhx_device_take_fd(struct vhx_device_spec *spec, int fd, struct vhx_error *err)
{
	bool wanted = !strcmp(vhx_device_spec_type(spec), "blk");

	if (wanted && fd >= 0) {
		spec->blk.fd = fd;
		return 0;
	}
	if (!wanted && fd < 0)
		return 0;
	vhx_error_set(err,
		      wanted ? "%s: its image has to come as a descriptor"
			     : "%s: a descriptor came with it, which it has no use for",
		      spec->id);
	return -EINVAL;
}

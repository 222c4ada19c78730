/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The layouts of VirtIO 5.2 (block device), little-endian, and nothing else.
 */
#ifndef VHX_DEVICE_BLK_LAYOUT_H
#define VHX_DEVICE_BLK_LAYOUT_H

#include "util/base.h"
#include "vhx/endian.h"

#define VIRTIO_ID_BLOCK 2

#define VIRTIO_BLK_SECTOR 512u /* unit of every sector field, whatever blk_size says (5.2.4) */
#define VIRTIO_BLK_ID_BYTES 20u

/* 5.2.3, bit numbers */
#define VIRTIO_BLK_F_SIZE_MAX 1
#define VIRTIO_BLK_F_SEG_MAX 2
#define VIRTIO_BLK_F_RO 5
#define VIRTIO_BLK_F_BLK_SIZE 6
#define VIRTIO_BLK_F_FLUSH 9
#define VIRTIO_BLK_F_TOPOLOGY 10
#define VIRTIO_BLK_F_CONFIG_WCE 11
#define VIRTIO_BLK_F_MQ 12
#define VIRTIO_BLK_F_DISCARD 13
#define VIRTIO_BLK_F_WRITE_ZEROES 14

/* 5.2.6, type of a request */
#define VIRTIO_BLK_T_IN 0u
#define VIRTIO_BLK_T_OUT 1u
#define VIRTIO_BLK_T_FLUSH 4u
#define VIRTIO_BLK_T_GET_ID 8u
#define VIRTIO_BLK_T_DISCARD 11u
#define VIRTIO_BLK_T_WRITE_ZEROES 13u

/* 5.2.6, the last writable byte of a request */
#define VIRTIO_BLK_S_OK 0u
#define VIRTIO_BLK_S_IOERR 1u
#define VIRTIO_BLK_S_UNSUPP 2u

/* 5.2.6, virtio_blk_discard_write_zeroes.flags */
#define VIRTIO_BLK_RANGE_UNMAP 1u

/* 5.2.6: the readable head of every request */
struct virtio_blk_outhdr {
	vhx_le32 type;
	vhx_le32 reserved;
	vhx_le64 sector;
};

/* 5.2.6: payload of DISCARD and WRITE_ZEROES */
struct virtio_blk_range {
	vhx_le64 sector;
	vhx_le32 num_sectors;
	vhx_le32 flags;
};

/* 5.2.4, down to the zoned fields: what no offered feature defines reads as zero. */
struct virtio_blk_config {
	vhx_le64 capacity;
	vhx_le32 size_max;
	vhx_le32 seg_max;
	struct {
		vhx_le16 cylinders;
		uint8_t heads;
		uint8_t sectors;
	} geometry;
	vhx_le32 blk_size;
	struct {
		uint8_t physical_block_exp;
		uint8_t alignment_offset;
		vhx_le16 min_io_size;
		vhx_le32 opt_io_size;
	} topology;
	uint8_t writeback;
	uint8_t unused0;
	vhx_le16 num_queues;
	vhx_le32 max_discard_sectors;
	vhx_le32 max_discard_seg;
	vhx_le32 discard_sector_alignment;
	vhx_le32 max_write_zeroes_sectors;
	vhx_le32 max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap;
	uint8_t unused1[3];
	vhx_le32 max_secure_erase_sectors;
	vhx_le32 max_secure_erase_seg;
	vhx_le32 secure_erase_sector_alignment;
	struct {
		vhx_le32 zone_sectors;
		vhx_le32 max_open_zones;
		vhx_le32 max_active_zones;
		vhx_le32 max_append_sectors;
		vhx_le32 write_granularity;
		uint8_t model;
		uint8_t unused2[3];
	} zoned;
};

#define VIRTIO_BLK_AT(type, member, at) \
	_Static_assert(offsetof(struct type, member) == (at), #type "." #member)

_Static_assert(sizeof(struct virtio_blk_outhdr) == 16, "virtio_blk_outhdr");
VIRTIO_BLK_AT(virtio_blk_outhdr, sector, 8);
_Static_assert(sizeof(struct virtio_blk_range) == 16, "virtio_blk_range");
VIRTIO_BLK_AT(virtio_blk_range, num_sectors, 8);
VIRTIO_BLK_AT(virtio_blk_range, flags, 12);
_Static_assert(sizeof(struct virtio_blk_config) == 96, "virtio_blk_config");
VIRTIO_BLK_AT(virtio_blk_config, size_max, 8);
VIRTIO_BLK_AT(virtio_blk_config, seg_max, 12);
VIRTIO_BLK_AT(virtio_blk_config, geometry, 16);
VIRTIO_BLK_AT(virtio_blk_config, blk_size, 20);
VIRTIO_BLK_AT(virtio_blk_config, topology, 24);
VIRTIO_BLK_AT(virtio_blk_config, topology.min_io_size, 26);
VIRTIO_BLK_AT(virtio_blk_config, topology.opt_io_size, 28);
VIRTIO_BLK_AT(virtio_blk_config, writeback, 32);
VIRTIO_BLK_AT(virtio_blk_config, num_queues, 34);
VIRTIO_BLK_AT(virtio_blk_config, max_discard_sectors, 36);
VIRTIO_BLK_AT(virtio_blk_config, max_discard_seg, 40);
VIRTIO_BLK_AT(virtio_blk_config, discard_sector_alignment, 44);
VIRTIO_BLK_AT(virtio_blk_config, max_write_zeroes_sectors, 48);
VIRTIO_BLK_AT(virtio_blk_config, max_write_zeroes_seg, 52);
VIRTIO_BLK_AT(virtio_blk_config, write_zeroes_may_unmap, 56);
VIRTIO_BLK_AT(virtio_blk_config, max_secure_erase_sectors, 60);
VIRTIO_BLK_AT(virtio_blk_config, zoned, 72);
VIRTIO_BLK_AT(virtio_blk_config, zoned.model, 92);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The SCSI of a disk, as far as it needs no disk: what a CDB asks for (SPC-4, SBC-3), and the bytes that describe a logical
 * unit. All of it is big-endian, pure, and safe on any bytes.
 */
#ifndef VHX_DEVICE_SCSI_CDB_H
#define VHX_DEVICE_SCSI_CDB_H

#include "util/base.h"

/* Operation codes */
#define SCSI_TEST_UNIT_READY 0x00u
#define SCSI_REQUEST_SENSE 0x03u
#define SCSI_READ_6 0x08u
#define SCSI_WRITE_6 0x0au
#define SCSI_INQUIRY 0x12u
#define SCSI_MODE_SENSE_6 0x1au
#define SCSI_START_STOP_UNIT 0x1bu
#define SCSI_READ_CAPACITY_10 0x25u
#define SCSI_READ_10 0x28u
#define SCSI_WRITE_10 0x2au
#define SCSI_VERIFY_10 0x2fu
#define SCSI_SYNCHRONIZE_CACHE_10 0x35u
#define SCSI_WRITE_SAME_10 0x41u
#define SCSI_UNMAP 0x42u
#define SCSI_MODE_SENSE_10 0x5au
#define SCSI_READ_16 0x88u
#define SCSI_WRITE_16 0x8au
#define SCSI_VERIFY_16 0x8fu
#define SCSI_SYNCHRONIZE_CACHE_16 0x91u
#define SCSI_WRITE_SAME_16 0x93u
#define SCSI_SERVICE_ACTION_IN_16 0x9eu
#define SCSI_REPORT_LUNS 0xa0u
#define SCSI_READ_12 0xa8u
#define SCSI_WRITE_12 0xaau

#define SCSI_SA_READ_CAPACITY_16 0x10u

/* Bits of byte 1 */
#define SCSI_FUA 0x08u /* READ and WRITE of 10 bytes and more */
#define SCSI_PROTECT 0xe0u /* protection information, of which there is none */
#define SCSI_BYTCHK 0x06u /* VERIFY */
#define SCSI_WS_ANCHOR 0x10u /* WRITE SAME */
#define SCSI_WS_UNMAP 0x08u
#define SCSI_WS_NDOB 0x01u /* of 16 bytes: no data, zeroes */

/* Status */
#define SCSI_GOOD 0x00u
#define SCSI_CHECK_CONDITION 0x02u

/* Sense: key, additional code, its qualifier */
#define SCSI_SENSE(key, asc, ascq) ((key) << 16 | (asc) << 8 | (ascq))
#define SCSI_SENSE_NONE SCSI_SENSE(0x0u, 0x00u, 0x00u)
/* "Manual intervention required": drivers give up at once, as they should until the image has blocks again. */
#define SCSI_SENSE_NOT_READY SCSI_SENSE(0x2u, 0x04u, 0x03u)
#define SCSI_SENSE_READ_ERROR SCSI_SENSE(0x3u, 0x11u, 0x00u)
#define SCSI_SENSE_WRITE_ERROR SCSI_SENSE(0x3u, 0x0cu, 0x00u)
#define SCSI_SENSE_LIST_LENGTH SCSI_SENSE(0x5u, 0x1au, 0x00u)
#define SCSI_SENSE_OPCODE SCSI_SENSE(0x5u, 0x20u, 0x00u)
#define SCSI_SENSE_LBA SCSI_SENSE(0x5u, 0x21u, 0x00u)
#define SCSI_SENSE_FIELD SCSI_SENSE(0x5u, 0x24u, 0x00u)
#define SCSI_SENSE_LUN SCSI_SENSE(0x5u, 0x25u, 0x00u)
#define SCSI_SENSE_LIST_FIELD SCSI_SENSE(0x5u, 0x26u, 0x00u)
#define SCSI_SENSE_SAVING SCSI_SENSE(0x5u, 0x39u, 0x00u)
#define SCSI_SENSE_RESET SCSI_SENSE(0x6u, 0x29u, 0x03u)
#define SCSI_SENSE_CAPACITY SCSI_SENSE(0x6u, 0x2au, 0x09u)
#define SCSI_SENSE_READONLY SCSI_SENSE(0x7u, 0x27u, 0x00u)
#define SCSI_SENSE_SPACE SCSI_SENSE(0x7u, 0x27u, 0x07u)

#define SCSI_SENSE_LEN 18u /* fixed format */

/* The largest answer that describes something, as REPORT LUNS of all units. */
#define SCSI_DATA_MAX 256u
#define SCSI_CDB_MAX 32u
#define SCSI_SERIAL_MAX 36u

/* One of UNMAP's */
#define SCSI_UNMAP_HEADER_LEN 8u
#define SCSI_UNMAP_DESCRIPTOR_LEN 16u

static inline uint16_t vhx_be16_read(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t vhx_be32_read(const uint8_t *p)
{
	return (uint32_t)vhx_be16_read(p) << 16 | vhx_be16_read(p + 2);
}

static inline uint64_t vhx_be64_read(const uint8_t *p)
{
	return (uint64_t)vhx_be32_read(p) << 32 | vhx_be32_read(p + 4);
}

/* Where READ, WRITE and their like keep their range: what these four are of other commands means nothing. */
struct vhx_scsi_range {
	uint64_t lba;
	uint32_t blocks;
};

void vhx_scsi_range_get(const uint8_t cdb[SCSI_CDB_MAX], struct vhx_scsi_range *range);

/* Room that a command offers for an answer of this kind: its allocation length. 0 for commands without. */
uint32_t vhx_scsi_allocation(const uint8_t cdb[SCSI_CDB_MAX]);

/* A logical unit, as it is described to a driver. */
struct vhx_scsi_unit {
	uint64_t blocks;
	uint32_t block_size;
	uint32_t physical_exp; /* blocks per physical one: 2 to the power of it */
	uint32_t optimal_blocks; /* 0: nothing known */
	uint32_t transfer_max; /* blocks of one READ or WRITE */
	uint32_t unmap_max,
		unmap_ranges_max; /* blocks, and ranges of one UNMAP; 0: there is none */
	uint32_t same_max; /* blocks of one WRITE SAME */
	bool readonly;
	char serial[SCSI_SERIAL_MAX + 1];
	uint8_t uuid[16];
};

/*
 * The answers, into @data of SCSI_DATA_MAX bytes: how many there are, or 0 with *@sense. @unit NULL: there is no
 * such logical unit (INQUIRY only).
 */
uint32_t vhx_scsi_inquiry(const struct vhx_scsi_unit *unit, const uint8_t *cdb, uint8_t *data,
			  uint32_t *sense);
uint32_t vhx_scsi_mode_sense(const struct vhx_scsi_unit *unit, const uint8_t *cdb, uint8_t *data,
			     uint32_t *sense);
uint32_t vhx_scsi_capacity_10(const struct vhx_scsi_unit *unit, uint8_t *data, uint32_t *sense);
uint32_t vhx_scsi_capacity_16(const struct vhx_scsi_unit *unit, uint8_t *data, uint32_t *sense);
/* Of the units 0 to @cnt - 1, which may be 30. */
uint32_t vhx_scsi_report_luns(unsigned int cnt, const uint8_t *cdb, uint8_t *data, uint32_t *sense);

/* SCSI_SENSE_LEN bytes in fixed format. */
void vhx_scsi_sense(uint32_t sense, uint8_t *data);

#endif

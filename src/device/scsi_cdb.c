// SPDX-License-Identifier: BSD-3-Clause
#include "device/scsi_cdb.h"

#include <string.h>

/* Peripheral device types, in byte 0 of all INQUIRY data */
#define TYPE_DISK 0x00u
#define TYPE_NO_UNIT 0x7fu /* of no type, at no address that could be used */

#define INQUIRY_EVPD 0x01u
#define INQUIRY_LEN 36u

#define VPD_SUPPORTED 0x00u
#define VPD_SERIAL 0x80u
#define VPD_IDENTIFICATION 0x83u
#define VPD_BLOCK_LIMITS 0xb0u
#define VPD_CHARACTERISTICS 0xb1u
#define VPD_PROVISIONING 0xb2u
#define VPD_HEADER_LEN 4u
#define VPD_LIMITS_LEN 60u

#define MODE_CACHING 0x08u
#define MODE_CONTROL 0x0au
#define MODE_ALL 0x3fu
#define MODE_CURRENT 0u
#define MODE_CHANGEABLE 1u
#define MODE_SAVED 3u
#define MODE_DBD 0x08u
#define MODE_WP 0x80u
#define MODE_DPOFUA 0x10u

#define CAPACITY_10_LEN 8u
#define CAPACITY_16_LEN 32u

/* Padded to the lengths that INQUIRY has for them: 8, 16 and 4. */
static const char vendor[] = "VHX     ", product[] = "virtio-hmx disk ", revision[] = "0001";

static void be16_write(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void be32_write(uint8_t *p, uint32_t v)
{
	be16_write(p, v >> 16);
	be16_write(p + 2, v);
}

static void be64_write(uint8_t *p, uint64_t v)
{
	be32_write(p, (uint32_t)(v >> 32));
	be32_write(p + 4, (uint32_t)v);
}

/* Without its NUL. Returns its length. */
static uint32_t text_write(uint8_t *p, const char *text)
{
	uint32_t len = 0;

	for (; text[len]; len++)
		p[len] = (uint8_t)text[len];
	return len;
}

/* SPC-4 4.2.5: the first three bits of an operation code say how long the CDB is. */
static unsigned int cdb_group(const uint8_t *cdb)
{
	return cdb[0] >> 5;
}

void vhx_scsi_range_get(const uint8_t cdb[SCSI_CDB_MAX], struct vhx_scsi_range *range)
{
	switch (cdb_group(cdb)) {
	case 0:
		range->lba = vhx_be32_read(cdb) & 0x1fffff;
		range->blocks = cdb[4] ? cdb[4] : 256;
		break;
	case 4:
		range->lba = vhx_be64_read(cdb + 2);
		range->blocks = vhx_be32_read(cdb + 10);
		break;
	case 5:
		range->lba = vhx_be32_read(cdb + 2);
		range->blocks = vhx_be32_read(cdb + 6);
		break;
	default:
		range->lba = vhx_be32_read(cdb + 2);
		range->blocks = vhx_be16_read(cdb + 7);
		break;
	}
}

uint32_t vhx_scsi_allocation(const uint8_t cdb[SCSI_CDB_MAX])
{
	switch (cdb[0]) {
	case SCSI_INQUIRY:
		return vhx_be16_read(cdb + 3);
	case SCSI_REQUEST_SENSE:
	case SCSI_MODE_SENSE_6:
		return cdb[4];
	case SCSI_MODE_SENSE_10:
		return vhx_be16_read(cdb + 7);
	case SCSI_READ_CAPACITY_10:
		return CAPACITY_10_LEN;
	case SCSI_SERVICE_ACTION_IN_16:
		return vhx_be32_read(cdb + 10);
	case SCSI_REPORT_LUNS:
		return vhx_be32_read(cdb + 6);
	default:
		return 0;
	}
}

/*
 * INQUIRY (SPC-4 6.4) and its pages of vital product data (7.8, SBC-3 6.5)
 */

static uint32_t inquiry_standard(const struct vhx_scsi_unit *unit, uint8_t *data)
{
	data[0] = unit ? TYPE_DISK : TYPE_NO_UNIT;
	data[2] = 6; /* SPC-4 */
	data[3] = 0x12; /* LUNs are hierarchical, the format of this */
	data[4] = INQUIRY_LEN - 5;
	data[7] = 0x02; /* commands are queued */
	text_write(data + 8, vendor);
	text_write(data + 16, product);
	text_write(data + 32, revision);
	return INQUIRY_LEN;
}

static uint32_t vpd_serial(const struct vhx_scsi_unit *unit, uint8_t *data)
{
	return text_write(data, unit->serial);
}

/* Two designators: text after a vendor's name, and a locally assigned number (NAA 3), both of the medium. */
static uint32_t vpd_identification(const struct vhx_scsi_unit *unit, uint8_t *data)
{
	uint32_t len = (uint32_t)strlen(unit->serial);
	uint8_t *naa = data + 4 + 8 + len;

	data[0] = 0x02; /* ASCII */
	data[1] = 0x01; /* of the unit, T10 vendor */
	data[3] = (uint8_t)(8 + len);
	text_write(data + 4, vendor);
	text_write(data + 12, unit->serial);
	naa[0] = 0x01; /* binary */
	naa[1] = 0x03; /* of the unit, NAA */
	naa[3] = 8;
	memcpy(naa + 4, unit->uuid, 8);
	naa[4] = 0x30 | (naa[4] & 0x0f);
	return 4 + 8 + len + 4 + 8;
}

static uint32_t vpd_limits(const struct vhx_scsi_unit *unit, uint8_t *data)
{
	data[0] = 0x01; /* WRITE SAME of nothing is nothing */
	be16_write(data + 2, unit->physical_exp < 16 ? 1u << unit->physical_exp : 0);
	be32_write(data + 4, unit->transfer_max);
	be32_write(data + 8, unit->optimal_blocks);
	be32_write(data + 16, unit->unmap_max);
	be32_write(data + 20, unit->unmap_ranges_max);
	be32_write(data + 24, 1u << unit->physical_exp);
	be64_write(data + 32, unit->same_max);
	return VPD_LIMITS_LEN;
}

static uint32_t vpd_characteristics(const struct vhx_scsi_unit *unit, uint8_t *data)
{
	be16_write(data, 1); /* nothing rotates */
	return VPD_LIMITS_LEN;
}

static uint32_t vpd_provisioning(const struct vhx_scsi_unit *unit, uint8_t *data)
{
	/* UNMAP, WRITE SAME of both lengths may unmap; what was unmapped may read as anything. */
	data[1] = unit->unmap_max ? 0xe0 : 0;
	data[2] = unit->unmap_max ? 2 : 0; /* thin */
	return 4;
}

static uint32_t vpd_supported(const struct vhx_scsi_unit *unit, uint8_t *data);

static const struct {
	uint8_t code;
	uint32_t (*fill)(const struct vhx_scsi_unit *unit, uint8_t *data);
} vpd_pages[] = {
	{ VPD_SUPPORTED, vpd_supported },
	{ VPD_SERIAL, vpd_serial },
	{ VPD_IDENTIFICATION, vpd_identification },
	{ VPD_BLOCK_LIMITS, vpd_limits },
	{ VPD_CHARACTERISTICS, vpd_characteristics },
	{ VPD_PROVISIONING, vpd_provisioning },
};

static uint32_t vpd_supported(const struct vhx_scsi_unit *unit, uint8_t *data)
{
	uint32_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(vpd_pages); i++)
		data[i] = vpd_pages[i].code;
	return i;
}

uint32_t vhx_scsi_inquiry(const struct vhx_scsi_unit *unit, const uint8_t *cdb, uint8_t *data,
			  uint32_t *sense)
{
	uint32_t len;
	size_t i;

	memset(data, 0, SCSI_DATA_MAX);
	*sense = SCSI_SENSE_FIELD;
	if (!(cdb[1] & INQUIRY_EVPD))
		return cdb[2] ? 0 : inquiry_standard(unit, data);
	for (i = 0; unit && i < VHX_ARRAY_SIZE(vpd_pages); i++) {
		if (vpd_pages[i].code != cdb[2])
			continue;
		len = vpd_pages[i].fill(unit, data + VPD_HEADER_LEN);
		data[0] = TYPE_DISK;
		data[1] = cdb[2];
		be16_write(data + 2, len);
		return VPD_HEADER_LEN + len;
	}
	return 0;
}

/*
 * MODE SENSE (SPC-4 6.11, 7.5). Nothing can be changed: what a driver had changed, no other backend would know of.
 */

static uint32_t mode_caching(uint8_t *data, bool changeable)
{
	data[0] = MODE_CACHING;
	data[1] = 0x12;
	data[2] = changeable ? 0 : 0x04; /* writes are cached */
	return 0x14;
}

static uint32_t mode_control(uint8_t *data, bool changeable)
{
	data[0] = MODE_CONTROL;
	data[1] = 0x0a;
	data[3] = changeable ? 0 : 0x10; /* commands overtake each other */
	return 0x0c;
}

static const struct {
	uint8_t code;
	uint32_t (*fill)(uint8_t *data, bool changeable);
} mode_pages[] = {
	{ MODE_CACHING, mode_caching },
	{ MODE_CONTROL, mode_control },
};

static uint32_t mode_pages_fill(const uint8_t *cdb, uint8_t *data)
{
	uint8_t code = cdb[2] & 0x3f;
	uint32_t len = 0;
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(mode_pages); i++) {
		if (code == MODE_ALL || code == mode_pages[i].code)
			len += mode_pages[i].fill(data + len, cdb[2] >> 6 == MODE_CHANGEABLE);
	}
	return len;
}

static uint32_t mode_descriptor(const struct vhx_scsi_unit *unit, uint8_t *data)
{
	be32_write(data, (uint32_t)vhx_min_u64(unit->blocks, UINT32_MAX));
	be32_write(data + 4, unit->block_size);
	return 8;
}

uint32_t vhx_scsi_mode_sense(const struct vhx_scsi_unit *unit, const uint8_t *cdb, uint8_t *data,
			     uint32_t *sense)
{
	uint8_t specific = MODE_DPOFUA | (unit->readonly ? MODE_WP : 0);
	uint32_t header = cdb[0] == SCSI_MODE_SENSE_6 ? 4 : 8, descriptor = 0, pages;

	memset(data, 0, SCSI_DATA_MAX);
	*sense = SCSI_SENSE_FIELD;
	if (cdb[2] >> 6 == MODE_SAVED)
		*sense = SCSI_SENSE_SAVING;
	if (cdb[2] >> 6 == MODE_SAVED || (cdb[3] && cdb[3] != 0xff))
		return 0;
	if (!(cdb[1] & MODE_DBD))
		descriptor = mode_descriptor(unit, data + header);
	pages = mode_pages_fill(cdb, data + header + descriptor);
	if (!pages)
		return 0;
	if (header == 4) {
		data[0] = (uint8_t)(header + descriptor + pages - 1);
		data[2] = specific;
		data[3] = (uint8_t)descriptor;
	} else {
		be16_write(data, header + descriptor + pages - 2);
		data[3] = specific;
		be16_write(data + 6, descriptor);
	}
	return header + descriptor + pages;
}

/*
 * The others
 */

/* Both name the last block: a unit without blocks has none to name. */
uint32_t vhx_scsi_capacity_10(const struct vhx_scsi_unit *unit, uint8_t *data, uint32_t *sense)
{
	*sense = SCSI_SENSE_NOT_READY;
	if (!unit->blocks)
		return 0;
	be32_write(data, (uint32_t)vhx_min_u64(unit->blocks - 1, UINT32_MAX));
	be32_write(data + 4, unit->block_size);
	return CAPACITY_10_LEN;
}

uint32_t vhx_scsi_capacity_16(const struct vhx_scsi_unit *unit, uint8_t *data, uint32_t *sense)
{
	*sense = SCSI_SENSE_NOT_READY;
	if (!unit->blocks)
		return 0;
	memset(data, 0, CAPACITY_16_LEN);
	be64_write(data, unit->blocks - 1);
	be32_write(data + 8, unit->block_size);
	data[13] = (uint8_t)unit->physical_exp;
	data[14] = unit->unmap_max ? 0x80 : 0; /* thin */
	return CAPACITY_16_LEN;
}

uint32_t vhx_scsi_report_luns(unsigned int cnt, const uint8_t *cdb, uint8_t *data, uint32_t *sense)
{
	uint32_t i;

	*sense = SCSI_SENSE_FIELD;
	if (vhx_be32_read(cdb + 6) < 16 || cdb[2] > 2)
		return 0;
	if (cdb[2] == 1) /* well-known units, of which there is none */
		cnt = 0;
	assert(8 + 8 * cnt <= SCSI_DATA_MAX);
	memset(data, 0, 8 + 8 * cnt);
	be32_write(data, 8 * cnt);
	for (i = 0; i < cnt; i++)
		data[8 + 8 * i + 1] = (uint8_t)i;
	return 8 + 8 * cnt;
}

void vhx_scsi_sense(uint32_t sense, uint8_t *data)
{
	memset(data, 0, SCSI_SENSE_LEN);
	data[0] = 0x70; /* of this command, fixed format */
	data[2] = (uint8_t)(sense >> 16);
	data[7] = SCSI_SENSE_LEN - 8;
	data[12] = (uint8_t)(sense >> 8);
	data[13] = (uint8_t)sense;
}

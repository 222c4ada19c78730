-- SPDX-License-Identifier: BSD-3-Clause
-- Dissector for recordings of `vhxctl trace` (LINKTYPE_USER0; docs/trace.md, docs/wire.md).
--
--   wireshark -X lua_script:vhx.lua FILE
--
-- Layouts are tables of {name, bytes}: what a message has is read off from them. Nothing is trusted: what does not
-- fit is marked as malformed, what was left out of the recording is not.

local vhx = Proto("vhx", "virtio-hmx exchange")

local PSEUDO_LEN, HEADER_LEN, QUEUE_LEN, RECORD_LEN, CONTROL_LEN = 16, 16, 8, 16, 8
local FLAG_RECEIVED, FLAG_BACKEND, FLAG_CUT = 1, 2, 4

local MESSAGES = { [1] = "HELLO", [2] = "CONTROL", [3] = "AVAIL", [4] = "USED", [5] = "CREDIT" }
local TYPES = { [1] = "net", [2] = "blk", [3] = "console", [4] = "rng", [19] = "vsock" }
local ERRORS = { [0] = "ok", [1] = "unknown", [2] = "busy", [3] = "ambiguous" }
local STATES = { [1] = "added", [2] = "removed" }

local fields = {
	version = ProtoField.uint8("vhx.trace.version", "Version"),
	flags = ProtoField.uint8("vhx.trace.flags", "Flags", base.HEX),
	received = ProtoField.bool("vhx.trace.received", "Received by the program", 8, nil, FLAG_RECEIVED),
	backend = ProtoField.bool("vhx.trace.backend", "The program is a backend", 8, nil, FLAG_BACKEND),
	cut = ProtoField.bool("vhx.trace.cut", "Cut short", 8, nil, FLAG_CUT),
	channel = ProtoField.uint16("vhx.trace.channel", "Channel"),
	type = ProtoField.uint32("vhx.type", "Message", base.DEC, MESSAGES),
	len = ProtoField.uint32("vhx.len", "Length"),
	snap = ProtoField.uint32("vhx.trace.snap", "Snap length"),
	chunk = ProtoField.bytes("vhx.chunk", "Payload"),
	left_out = ProtoField.uint32("vhx.chunk.left_out", "Payload bytes left out"),
	rest = ProtoField.bytes("vhx.rest", "Bytes"),
	control = ProtoField.string("vhx.control", "Message"),
	response = ProtoField.bool("vhx.control.response", "Response"),
	bus = ProtoField.bool("vhx.control.bus", "Bus message"),
	msg_id = ProtoField.uint8("vhx.control.id", "Id", base.HEX),
	dev_num = ProtoField.uint16("vhx.control.dev", "Device"),
	token = ProtoField.uint16("vhx.control.token", "Token"),
	msg_size = ProtoField.uint16("vhx.control.size", "Size"),
	features = ProtoField.uint32("vhx.control.features", "Feature block", base.HEX),
	config = ProtoField.bytes("vhx.control.config", "Config"),
	bitmap = ProtoField.bytes("vhx.control.bitmap", "Bitmap"),
}

local experts = {
	malformed = ProtoExpert.new("vhx.malformed", "Malformed message", expert.group.MALFORMED, expert.severity.ERROR),
	unknown = ProtoExpert.new("vhx.unknown", "Unknown message", expert.group.UNDECODED, expert.severity.WARN),
}

-- Each gets a ProtoField below, named vhx.<layout>.<member>. kind: h hexadecimal, t device type, e error, d device
-- state, s zero-padded text, b bytes, z must be zero.
local LAYOUTS = {
	header = { { "src_inc", 4, "h" }, { "dst_inc", 4, "h" }, { "ack", 4 }, { "reserved", 4, "z" } },
	hello = { { "magic", 4, "h" }, { "version_min", 2 }, { "version_max", 2 }, { "offered", 8, "h" },
		{ "accepted", 8, "h" }, { "ring_len", 4 }, { "max_message", 4 }, { "reserved", 8, "z" } },
	queue = { { "dev", 2 }, { "vq", 2 }, { "epoch", 4 } },
	avail = { { "id", 2 }, { "flags", 2, "h" }, { "out_len", 4 }, { "in_len", 4 }, { "chunk_len", 4 } },
	used = { { "id", 2 }, { "flags", 2, "h" }, { "in_off", 4 }, { "used_len", 4 }, { "chunk_len", 4 } },
	empty = {},
	device_info = { { "device_id", 4, "t" }, { "vendor_id", 4, "h" }, { "uuid", 16, "b" },
		{ "num_feature_blocks", 4 }, { "config_size", 4 }, { "max_virtqueues", 4 },
		{ "admin_vq_start", 4 }, { "admin_vq_count", 4 } },
	features = { { "block_index", 4 }, { "num_blocks", 4 } },
	get_config = { { "offset", 4 }, { "length", 4 } },
	config = { { "generation", 4 }, { "offset", 4 }, { "length", 4 } },
	status = { { "status", 4, "h" } },
	vq_index = { { "index", 4 } },
	get_vqueue = { { "index", 4 }, { "max_size", 4 }, { "cur_size", 4 }, { "flags", 4, "h" },
		{ "descriptor", 8, "z" }, { "driver", 8, "z" }, { "device", 8, "z" } },
	set_vqueue = { { "index", 4 }, { "flags", 4, "h" }, { "size", 4 }, { "reserved", 4, "z" },
		{ "descriptor", 8, "z" }, { "driver", 8, "z" }, { "device", 8, "z" } },
	shmid = { { "shmid", 4 } },
	shm = { { "shmid", 4 }, { "reserved", 4, "z" }, { "length", 8 }, { "address", 8, "z" } },
	event_config = { { "device_status", 4, "h" }, { "generation", 4 }, { "offset", 4 }, { "length", 4 } },
	get_devices = { { "offset", 2 }, { "count", 2 } },
	get_devices_resp = { { "offset", 2 }, { "next_offset", 2 }, { "count", 2 } },
	ping = { { "data", 4, "h" } },
	event_device = { { "dev_num", 2 }, { "state", 2, "d" } },
	attach = { { "name", 64, "s" } },
	attach_resp = { { "error", 4, "e" }, { "dev_num", 2 }, { "reserved", 2, "z" }, { "cache_id", 16, "b" },
		{ "name", 64, "s" } },
	get_name = { { "dev_num", 2 }, { "reserved", 2, "z" } },
	get_name_resp = { { "error", 4, "e" }, { "dev_num", 2 }, { "reserved", 2, "z" }, { "name", 64, "s" } },
	queue_open = { { "index", 4 }, { "epoch", 4 } },
	queue_open_resp = { { "index", 4 }, { "epoch", 4 }, { "error", 4 }, { "max_out", 4 }, { "max_in", 4 },
		{ "head_len", 4 }, { "window", 4 }, { "reserved", 4, "z" } },
}

-- By id: name, layout of the request (or event), of the response, and what follows each.
local TRANSPORT = {
	[0x02] = { "GET_DEVICE_INFO", "empty", "device_info" },
	[0x03] = { "GET_DEVICE_FEATURES", "features", "features", nil, "features" },
	[0x04] = { "SET_DRIVER_FEATURES", "features", "empty", "features" },
	[0x05] = { "GET_CONFIG", "get_config", "config", nil, "config" },
	[0x06] = { "SET_CONFIG", "config", "config", "config", "config" },
	[0x07] = { "GET_DEVICE_STATUS", "empty", "status" },
	[0x08] = { "SET_DEVICE_STATUS", "status", "status" },
	[0x09] = { "GET_VQUEUE", "vq_index", "get_vqueue" },
	[0x0a] = { "SET_VQUEUE", "set_vqueue", "empty" },
	[0x0b] = { "RESET_VQUEUE", "vq_index", "empty" },
	[0x0c] = { "GET_SHM", "shmid", "shm" },
	[0x40] = { "EVENT_CONFIG", "event_config", "empty", "config" },
	[0x80] = { "QUEUE_OPEN", "queue_open", "queue_open_resp" },
}
local BUS = {
	[0x02] = { "GET_DEVICES", "get_devices", "get_devices_resp", nil, "bitmap" },
	[0x03] = { "PING", "ping", "ping" },
	[0x40] = { "EVENT_DEVICE", "event_device", "empty" },
	[0x80] = { "ATTACH", "attach", "attach_resp" },
	[0x81] = { "GET_NAME", "get_name", "get_name_resp" },
}

local VALUES = { t = TYPES, e = ERRORS, d = STATES }

local function field_make(layout, member)
	local name, len, kind = "vhx." .. layout .. "." .. member[1], member[2], member[3]
	if kind == "s" then
		return ProtoField.stringz(name, member[1])
	elseif kind == "b" then
		return ProtoField.bytes(name, member[1])
	end
	local make = ({ [2] = ProtoField.uint16, [4] = ProtoField.uint32, [8] = ProtoField.uint64 })[len]
	return make(name, member[1], (kind == "h" or kind == "z") and base.HEX or base.DEC, VALUES[kind])
end

for layout, members in pairs(LAYOUTS) do
	for i, member in ipairs(members) do
		local key = layout .. "." .. member[1]
		fields[key] = field_make(layout, member)
	end
end
vhx.fields = fields
vhx.experts = experts

local function layout_len(layout)
	local len = 0
	for _, member in ipairs(LAYOUTS[layout]) do
		len = len + member[2]
	end
	return len
end

local function malformed(tree, what)
	tree:add_proto_expert_info(experts.malformed, what)
	return nil
end

-- Adds a layout at off. Its end, or nil: it is not all there.
local function layout_add(buf, off, tree, layout)
	if buf:len() - off < layout_len(layout) then
		return malformed(tree, layout .. " is too short")
	end
	for _, member in ipairs(LAYOUTS[layout]) do
		local range = buf(off, member[2])
		if member[3] == "s" or member[3] == "b" then
			tree:add(fields[layout .. "." .. member[1]], range)
		else
			tree:add_le(fields[layout .. "." .. member[1]], range)
		end
		if member[3] == "z" and range:bytes():tohex():find("[^0]") then
			malformed(tree, member[1] .. " is not 0")
		end
		off = off + member[2]
	end
	return off
end

-- The records of AVAIL and USED. The message's own offsets go on over what was left out of the recording.
local function records_add(buf, tree, layout, message)
	local off, at, cnt = HEADER_LEN + QUEUE_LEN, HEADER_LEN + QUEUE_LEN, 0
	while at < message.len do
		if buf:len() - off < RECORD_LEN then
			if not message.cut then
				malformed(tree, "a record is too short")
			end
			return cnt
		end
		local chunk_len = buf(off + 12, 4):le_uint()
		local sub = tree:add(vhx, buf(off, RECORD_LEN), layout:upper() .. " record, id " .. buf(off, 2):le_uint())
		layout_add(buf, off, sub, layout)
		off, at, cnt = off + RECORD_LEN, at + RECORD_LEN, cnt + 1
		if chunk_len > message.len - at then
			malformed(sub, "the chunk is longer than the message")
			return cnt
		end
		local kept = math.min(chunk_len, message.snap, buf:len() - off)
		if kept > 0 then
			sub:add(fields.chunk, buf(off, kept))
		end
		if chunk_len > kept then
			sub:add(fields.left_out, chunk_len - kept):set_generated()
		end
		off, at = off + kept, at + math.floor((chunk_len + 7) / 8) * 8
	end
	if at ~= message.len then
		malformed(tree, "records do not fill the message")
	end
	return cnt
end

local function data_add(layout)
	return function(buf, tree, message)
		if not layout_add(buf, HEADER_LEN, tree, "queue") then
			return ""
		end
		local cnt = records_add(buf, tree, layout, message)
		return string.format(" dev %d vq %d, %d record%s", buf(HEADER_LEN, 2):le_uint(),
			buf(HEADER_LEN + 2, 2):le_uint(), cnt, cnt == 1 and "" or "s")
	end
end

local FOLLOWING = {
	features = function(buf, off, tree)
		while buf:len() - off >= 4 do
			tree:add_le(fields.features, buf(off, 4))
			off = off + 4
		end
		return off
	end,
	config = function(buf, off, tree)
		tree:add(fields.config, buf(off))
		return buf:len()
	end,
	bitmap = function(buf, off, tree)
		tree:add(fields.bitmap, buf(off))
		return buf:len()
	end,
}

local function control_body(buf, tree, row, response)
	local following = FOLLOWING[row[response and 5 or 4]]
	local off = layout_add(buf, HEADER_LEN + CONTROL_LEN, tree, row[response and 3 or 2])
	if off and following and off < buf:len() then
		off = following(buf, off, tree)
	end
	if off and off ~= buf:len() then
		malformed(tree, "it is longer than its layout")
	end
end

local function control_add(buf, tree, message)
	if buf:len() < HEADER_LEN + CONTROL_LEN then
		malformed(tree, "the control header is too short")
		return ""
	end
	local kind, id = buf(HEADER_LEN, 1):uint(), buf(HEADER_LEN + 1, 1):uint()
	local response, bus = kind % 2 == 1, kind >= 2
	local row = (bus and BUS or TRANSPORT)[id]
	local name = row and row[1] or string.format("0x%02x", id)
	tree:add(fields.control, buf(HEADER_LEN, 2), name)
	tree:add(fields.response, buf(HEADER_LEN, 1), response)
	tree:add(fields.bus, buf(HEADER_LEN, 1), bus)
	tree:add(fields.msg_id, buf(HEADER_LEN + 1, 1))
	tree:add_le(fields.dev_num, buf(HEADER_LEN + 2, 2))
	tree:add_le(fields.token, buf(HEADER_LEN + 4, 2))
	tree:add_le(fields.msg_size, buf(HEADER_LEN + 6, 2))
	if buf(HEADER_LEN + 6, 2):le_uint() ~= message.len - HEADER_LEN then
		malformed(tree, "its size is not that of the message")
	end
	if row then
		control_body(buf, tree, row, response)
	else
		tree:add_proto_expert_info(experts.unknown)
		tree:add(fields.rest, buf(HEADER_LEN + CONTROL_LEN))
	end
	return string.format(" %s%s dev %d", name, response and " response" or "", buf(HEADER_LEN + 2, 2):le_uint())
end

local function hello_add(buf, tree)
	if layout_add(buf, HEADER_LEN, tree, "hello") ~= buf:len() then
		malformed(tree, "it is longer than its layout")
	end
	return string.format(" to 0x%08x", buf(4, 4):le_uint())
end

local function credit_add(buf, tree)
	return string.format(" ack %d", buf(8, 4):le_uint())
end

local BODIES = { [1] = hello_add, [2] = control_add, [3] = data_add("avail"), [4] = data_add("used"), [5] = credit_add }

local function pseudo_add(buf, tree)
	local sub = tree:add(vhx, buf(0, PSEUDO_LEN), "Recording")
	sub:add(fields.version, buf(0, 1))
	for _, key in ipairs({ "flags", "received", "backend", "cut" }) do
		sub:add(fields[key], buf(1, 1))
	end
	sub:add_le(fields.channel, buf(2, 2))
	sub:add_le(fields.snap, buf(12, 4))
	tree:add_le(fields.type, buf(4, 4))
	tree:add_le(fields.len, buf(8, 4))
	local flags = buf(1, 1):uint()
	return {
		type = buf(4, 4):le_uint(), len = buf(8, 4):le_uint(), snap = buf(12, 4):le_uint(),
		received = flags % 2 >= 1, backend = flags % 4 >= 2, cut = flags % 8 >= 4,
	}
end

function vhx.dissector(buf, pinfo, root)
	pinfo.cols.protocol = "VHX"
	local tree = root:add(vhx, buf())
	if buf:len() < PSEUDO_LEN or buf(0, 1):uint() ~= 1 then
		malformed(tree, "no pseudo header of version 1")
		return
	end
	local message = pseudo_add(buf, tree)
	local from_backend = message.backend ~= message.received
	local name = MESSAGES[message.type] or string.format("type 0x%x", message.type)
	pinfo.cols.src = from_backend and "backend" or "frontend"
	pinfo.cols.dst = from_backend and "frontend" or "backend"
	pinfo.cols.info = name
	if buf:len() - PSEUDO_LEN < HEADER_LEN then
		malformed(tree, "the header is too short")
		return
	end
	local body = buf(PSEUDO_LEN):tvb()
	layout_add(body, 0, tree, "header")
	if BODIES[message.type] then
		pinfo.cols.info = name .. BODIES[message.type](body, tree, message)
	else
		tree:add_proto_expert_info(experts.unknown)
		if body:len() > HEADER_LEN then
			tree:add(fields.rest, body(HEADER_LEN))
		end
	end
end

DissectorTable.get("wtap_encap"):add(wtap.USER0, vhx)

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""vmlinux.py VMLINUZ OUT: the ELF file that an x86 kernel image holds compressed (xz).

The offsets are those of the kernel's Documentation/x86/boot.rst: setup_sects, payload_offset and
payload_length."""
import lzma
import struct
import sys

with open(sys.argv[1], "rb") as f:
    image = f.read()
setup = (image[0x1F1] or 4) + 1
offset, length = struct.unpack_from("<II", image, 0x248)
payload = image[setup * 512 + offset :][:length]
if payload[:6] != b"\xfd7zXZ\0":
    sys.exit(f"vmlinux: {sys.argv[1]} is not compressed with xz")
elf = lzma.LZMADecompressor().decompress(payload)
if elf[:4] != b"\x7fELF":
    sys.exit(f"vmlinux: {sys.argv[1]} does not hold an ELF file")
with open(sys.argv[2], "wb") as f:
    f.write(elf)

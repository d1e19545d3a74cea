"""Makes variables of a tensor bundle gigabytes large without writing them: the data file has a hole where their zeros are.

The index is written again with the new shapes, places and checksums. The CRC-32C of so many zeros is computed from that of one by squaring, for a
byte of zeros changes the register by a linear map.
"""

import os
import pathlib
import struct

from tensorflow.core.protobuf import tensor_bundle_pb2

from . import snappy

REGISTER = 32  # bits


def applied(matrix, register):
    """Returns a register after a linear map, whose columns are the images of the single bits."""
    result = 0
    for bit, column in enumerate(matrix):
        if register >> bit & 1:
            result ^= column
    return result


def after_zeros(register, count):
    """Returns the register of a CRC-32C after so many bytes of zeros."""
    matrix = [snappy.CRC_TABLE[1 << bit & 0xFF] ^ (1 << bit >> 8) for bit in range(REGISTER)]
    while count:
        if count & 1:
            register = applied(matrix, register)
        matrix = [applied(matrix, column) for column in matrix]
        count >>= 1
    return register


def masked_checksum(zeros, tail):
    """Returns the masked CRC-32C of so many bytes of zeros and what follows them."""
    crc = after_zeros(0xFFFFFFFF, zeros)
    for byte in tail:
        crc = snappy.CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def table_entries(table):
    """Returns the (key, value) pairs of an uncompressed index."""

    def contents(handle):
        offset, position = snappy.read_varint(handle, 0)
        size, _ = snappy.read_varint(handle, position)
        assert table[offset + size] == 0, "the block is compressed"
        return table[offset : offset + size]

    footer = table[-snappy.FOOTER_SIZE :]
    _, position = snappy.read_varint(footer, 0)
    _, index = snappy.read_varint(footer, position)
    handles = snappy.block_entries(contents(footer[index:]))
    return [entry for _, handle in handles for entry in snappy.block_entries(contents(handle))]


def table_of(entries):
    """Returns an index of one block."""
    table = bytearray()

    def append(block):
        handle = snappy.varint(len(table)) + snappy.varint(len(block))
        stored = block + b"\0"
        table.extend(stored + struct.pack("<I", snappy.masked_crc32c(stored)))
        return handle

    data = append(snappy.block_of(entries))
    handles = append(snappy.block_of([])) + append(snappy.block_of([(entries[-1][0], data)]))
    return bytes(table + handles.ljust(snappy.FOOTER_SIZE - 8, b"\0") + struct.pack("<Q", snappy.MAGIC))


def enlarge(prefix, lengths, tail):
    """Gives variables, vectors of 32-bit floats by key, these lengths: zeros, at whose end the bytes `tail` stand."""
    prefix = pathlib.Path(prefix)
    index, data = prefix.with_suffix(".index"), pathlib.Path(f"{prefix}.data-00000-of-00001")
    entries = dict(table_entries(index.read_bytes()))
    with open(data, "r+b") as file:
        for key, length in lengths.items():
            entry = tensor_bundle_pb2.BundleEntryProto.FromString(entries[key.encode()])
            assert [dim.size for dim in entry.shape.dim], f"{key} is no vector"
            entry.shape.dim[0].size = length
            entry.size = 4 * length
            entry.offset = file.seek(0, os.SEEK_END)
            file.truncate(entry.offset + entry.size)
            file.seek(-len(tail), os.SEEK_END)
            file.write(tail)
            entry.crc32c = masked_checksum(entry.size - len(tail), tail)
            entries[key.encode()] = entry.SerializeToString()
    index.write_bytes(table_of(sorted(entries.items())))


def large_nodes(path, least):
    """Yields of each node of a GraphDef file with at least so many bytes the place and length of its message."""
    with open(path, "rb") as file:
        end, position = os.path.getsize(path), 0
        while position < end:
            file.seek(position)
            head = file.read(20)
            tag, at = snappy.read_varint(head, 0)
            assert tag & 7 == 2, f"field {tag >> 3} of a GraphDef is no message"
            size, at = snappy.read_varint(head, at)
            if tag == 1 << 3 | 2 and size >= least:
                yield position + at, size
            position += at + size


def numbers_at(path, position, count, letter):
    """Returns so many numbers of a file; `letter` is what `struct` calls their type."""
    with open(path, "rb") as file:
        file.seek(position)
        return struct.unpack(f"<{count}{letter}", file.read(count * struct.calcsize(letter)))

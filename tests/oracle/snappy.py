"""Rewrites the index of a tensor bundle with Snappy-compressed blocks.

The checkpoints of the model zoo have them, and no public TensorFlow writes them. The index is a LevelDB-style table: data blocks, an index
block of their places, a footer; each block is followed by its compression type and a masked CRC-32C
(github.com/google/leveldb, doc/table_format.md; github.com/google/snappy, format_description.txt).
"""

import struct

FOOTER_SIZE = 48
MAGIC = 0xDB4775248B80FB57


def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = _crc_table()


def masked_crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def varint(number):
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def read_varint(data, position):
    """Returns (number, position behind it)."""
    number, shift = 0, 0
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, position


def literal(data):
    """Returns the Snappy elements of bytes that are not copied from before, in pieces of up to 65,536 bytes."""
    pieces = (data[start : start + 65536] for start in range(0, len(data), 65536))
    return b"".join(
        (bytes([(len(piece) - 1) << 2]) if len(piece) <= 60 else b"\xf4" + struct.pack("<H", len(piece) - 1)) + piece
        for piece in pieces
    )


def compress(data):
    """Returns the data in Snappy's raw format: greedy matches of four bytes or more, found by their last place."""
    output = bytearray(varint(len(data)))
    places, position, pending = {}, 0, 0
    while position + 4 <= len(data):
        word = data[position : position + 4]
        found = places.get(word)
        places[word] = position
        if found is None or position - found > 65535:
            position += 1
            continue
        length = 4
        while length < 64 and position + length < len(data) and data[found + length] == data[position + length]:
            length += 1
        output += literal(data[pending:position])
        output += bytes([(length - 1) << 2 | 2]) + struct.pack("<H", position - found)
        position += length
        pending = position
    output += literal(data[pending:])
    return bytes(output)


def block_entries(block):
    """Returns the (key, value) pairs of a block's contents."""
    (restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 * (restarts + 1)
    position, key, entries = 0, b"", []
    while position < end:
        shared, position = read_varint(block, position)
        unshared, position = read_varint(block, position)
        size, position = read_varint(block, position)
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        entries.append((key, block[position : position + size]))
        position += size
    return entries


def block_of(entries):
    """Returns the contents of a block in which every entry is a restart point."""
    contents, starts = bytearray(), []
    for key, value in entries:
        starts.append(len(contents))
        contents += varint(0) + varint(len(key)) + varint(len(value)) + key + value
    starts = starts or [0]
    return bytes(contents) + struct.pack(f"<{len(starts) + 1}I", *starts, len(starts))


def compress_index(path):
    """Rewrites an uncompressed `.index` file in place."""
    with open(path, "rb") as file:
        table = file.read()
    assert struct.unpack("<Q", table[-8:])[0] == MAGIC, f"{path} is no table"

    def contents(handle):
        offset, position = read_varint(handle, 0)
        size, _ = read_varint(handle, position)
        assert table[offset + size] == 0, "already compressed"
        return table[offset : offset + size]

    output = bytearray()

    def append(block):
        """Adds a block; returns its handle."""
        compressed = compress(block)
        handle = varint(len(output)) + varint(len(compressed))
        stored = compressed + b"\x01"
        output.extend(stored + struct.pack("<I", masked_crc32c(stored)))
        return handle

    footer = table[-FOOTER_SIZE:]
    _, position = read_varint(footer, 0)
    _, index_start = read_varint(footer, position)
    index = [(key, append(contents(handle))) for key, handle in block_entries(contents(footer[index_start:]))]
    handles = append(contents(footer)) + append(block_of(index))
    output.extend(handles.ljust(FOOTER_SIZE - 8, b"\0") + struct.pack("<Q", MAGIC))
    with open(path, "wb") as file:
        file.write(output)

"""HDF5, which Keras used to save: the superblock tells where the file ends, and is brought up to date last.

Source: HDF5 File Format Specification 3.0, II.A "Format Signature and Superblock"
"""

from __future__ import annotations

from lfssync.formats.reading import Finding, Reader, incomplete, unknown

MAGIC = b"\x89HDF\r\n\x1a\n"
_OFFSET_SIZES = (2, 4, 8)
_OPEN_FOR_WRITING = 1
_BLOCK_BYTES = 128
_LAYOUTS = {0: (13, 24, 0), 1: (13, 28, 0), 2: (9, 12, 0), 3: (9, 12, 11)}
"""By version: where the size of addresses is, where the addresses begin of which the third is the end of the file, and
where the flags are that tell whether it is open (0 where there are none)."""


def check(reader: Reader) -> Finding:
    """Compare the file with the end that its superblock names."""
    start = reader.at(0, len(MAGIC))
    if start and not start.strip(b"\0"):
        return incomplete("has no beginning yet")
    if wrong := reader.begins(MAGIC):
        return wrong
    block = reader.at(0, _BLOCK_BYTES)
    if len(block) < 16:
        return reader.within_header()
    layout = _LAYOUTS.get(block[8])
    size = block[layout[0]] if layout else 0
    if layout is None or size not in _OFFSET_SIZES:
        return unknown("has a header that cannot be read")
    end_at = layout[1] + 2 * size
    if len(block) < end_at + size:
        return reader.within_header()
    if layout[2] and block[layout[2]] & _OPEN_FOR_WRITING:
        return incomplete("was not closed by the program that wrote it")
    return reader.against(int.from_bytes(block[end_at : end_at + size], "little"))

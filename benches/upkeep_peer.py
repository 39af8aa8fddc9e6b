"""What Python's deltalake makes of the same table: compact or z-order, in a process of its own.

    python upkeep_peer.py TABLE compact|zorder TARGET_BYTES [COLUMN ...]
"""

import sys

from deltalake import DeltaTable, WriterProperties

path, task, target, *columns = sys.argv[1:]
properties = WriterProperties(compression="ZSTD", compression_level=1)
optimize = DeltaTable(path).optimize
if task == "compact":
    optimize.compact(target_size=int(target), writer_properties=properties)
else:
    optimize.z_order(columns, target_size=int(target), writer_properties=properties)

"""Writes one zip for each function, the same bytes for the same binary and Python, and prints a table.

python3 scripts/package.py BINARIES ZIPS GLIBC FUNCTION...
"""

import hashlib
import re
import sys
import zipfile
from pathlib import Path

binaries, zips, glibc, *functions = sys.argv[1:]
newest_allowed = tuple(map(int, glibc.split(".")))
Path(zips).mkdir(parents=True, exist_ok=True)

print(f"{'function':<22}{'binary':>10}{'zip':>10}  SHA-256 of the zip")
for function in functions:
    binary = (Path(binaries) / function).read_bytes()
    versions = {tuple(map(int, v.split(b"."))) for v in re.findall(rb"GLIBC_([0-9]+\.[0-9]+)", binary)}
    if not versions or max(versions) > newest_allowed:
        sys.exit(f"{function} needs glibc {sorted(versions)[-1:]}, and Lambda has {glibc}")

    # Lambda wants the program to be executable; the date is the first that a zip can hold.
    entry = zipfile.ZipInfo("bootstrap", date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3
    entry.external_attr = 0o100755 << 16
    path = Path(zips) / f"{function}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, binary, zipfile.ZIP_DEFLATED, compresslevel=9)

    zipped = path.read_bytes()
    print(
        f"{function:<22}{len(binary) / 1e6:>7.2f} MB{len(zipped) / 1e6:>7.2f} MB"
        f"  {hashlib.sha256(zipped).hexdigest()[:16]}"
    )

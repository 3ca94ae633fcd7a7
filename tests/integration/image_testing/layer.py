"""Layers as tar archives, of whatever entries."""

import io
import tarfile


class OddLayer:
    def __init__(self):
        self.bytes = io.BytesIO()
        self.tar_file = tarfile.open(fileobj=self.bytes, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape")

    def add(self, path, kind=tarfile.REGTYPE, data=b"", mode=0o644, uid=0, gid=0, mtime=1700000000, target="", device=(0, 0), **xattrs):
        entry = tarfile.TarInfo(path)
        entry.type, entry.mode, entry.uid, entry.gid, entry.mtime, entry.linkname = kind, mode, uid, gid, mtime, target
        entry.size, (entry.devmajor, entry.devminor) = len(data), device
        entry.pax_headers = {f"SCHILY.xattr.{name.replace('__', '.')}": value for name, value in xattrs.items()}
        self.tar_file.addfile(entry, io.BytesIO(data))
        return self

    def folder(self, path, mode=0o755, **more):
        return self.add(path, tarfile.DIRTYPE, mode=mode, **more)

    def symlink(self, path, target, **more):
        return self.add(path, tarfile.SYMTYPE, mode=0o777, target=target, **more)

    def hard(self, path, target):
        return self.add(path, tarfile.LNKTYPE, target=target)

    def tar(self):
        self.tar_file.close()
        return self.bytes.getvalue()

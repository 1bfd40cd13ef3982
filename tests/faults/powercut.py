"""What is on a disk after a power cut: the record of record.c, replayed up to any point with every legal loss.

    record = Record(prefix, 'record.so')      record.env goes into the environment of the programs under test
    disk = Disk(prefix)
    for op in record.ops(): disk.take(op)     as far as wanted
    disk.build(folder, rng)                   one of the states that a power cut may leave at this moment

What a cut may leave:
- Bytes: what a finished fsync or fdatasync of the file covers is there. Of what was written since, each sector of 512 bytes
  holds some version from the last synced one on: a page may have been written back at any time, and torn.
- Size: that of the last sync or any later one.
- Names: those of the last finished fsync of a folder, and any number of the later changes, in their order: one journal for
  all, as ext4 and xfs have it, but a sync of a file brings no name with it.
"""
import bisect
import os
import struct
import tempfile

KINDS = 'CREATE DATA SIZE ZERO RENAME LINK UNLINK MKDIR RMDIR SYNC_BEGIN SYNC_END UNKNOWN SYMLINK'.split()
CREATE, DATA, SIZE, ZERO, RENAME, LINK, UNLINK, MKDIR, RMDIR, SYNC_BEGIN, SYNC_END, UNKNOWN, SYMLINK = range(1, len(KINDS) + 1)
HEAD = struct.Struct('=IIQQqIIQ')
SECTOR = 512


# States are built in memory where there is such a folder.
MEMORY = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None


class Op:
    __slots__ = 'kind', 'thread', 't_ns', 'inode', 'at', 'path', 'other', 'length', 'data'

    def __repr__(self):
        return '%s %d bytes at %d, %s %s' % (KINDS[self.kind - 1], self.length, self.at, self.path, self.other)


class Record:
    """Where programs write down what they do below a prefix."""

    def __init__(self, prefix, library):
        self.prefix = os.path.realpath(prefix)
        self.file = tempfile.NamedTemporaryFile(prefix='record-')
        self.env = {'LD_PRELOAD': library, 'RECORD_PREFIX': self.prefix, 'RECORD_FILE': self.file.name}

    def ops(self):
        """Everything so far; a last piece that is not whole yet is left out."""
        with open(self.file.name, 'rb') as f:
            while True:
                head = f.read(HEAD.size)
                if len(head) < HEAD.size:
                    return
                op = Op()
                op.kind, op.thread, op.t_ns, op.inode, op.at, path_len, other_len, op.length = HEAD.unpack(head)
                op.path, op.other = f.read(path_len).decode(), f.read(other_len).decode()
                op.data = f.read(op.length) if op.kind == DATA else b''
                if op.kind == DATA and len(op.data) < op.length:
                    return
                if op.kind == UNKNOWN:
                    raise RuntimeError('a change that the record does not know: %s' % op.path)
                yield op


class File:
    """One inode: the bytes that a cut cannot take, and what was done since."""

    def __init__(self):
        self.disk, self.since = bytearray(), []      # since: (number, op)

    def apply(self, data, op):
        if op.kind == DATA:
            if len(data) < op.at:
                data.extend(bytes(op.at - len(data)))
            data[op.at:op.at + len(op.data)] = op.data
        elif op.kind == ZERO:
            end = min(op.at + op.length, len(data))
            if end > op.at:
                data[op.at:end] = bytes(end - op.at)
        elif op.at < len(data):
            del data[op.at:]
        else:
            data.extend(bytes(op.at - len(data)))

    def sync(self, number):
        """What was done before op `number` is durable."""
        done = bisect.bisect_left(self.since, number, key=lambda pair: pair[0])
        for _, op in self.since[:done]:
            self.apply(self.disk, op)
        del self.since[:done]

    def whole(self):
        data = bytearray(self.disk)
        for _, op in self.since:
            self.apply(data, op)
        return data

    def cut(self, rng):
        """One of the contents that it may have after a power cut."""
        ops = [op for _, op in self.since]
        way = rng.choice(('nothing', 'all', 'a prefix', 'pages', 'sectors')) if ops else 'nothing'
        if way == 'nothing':
            return bytes(self.disk)
        if way == 'all':
            return bytes(self.whole())
        if way == 'a prefix':
            data = bytearray(self.disk)
            for op in ops[:rng.randrange(len(ops) + 1)]:
                self.apply(data, op)
            return bytes(data)
        unit = SECTOR if way == 'sectors' else 8 * SECTOR
        limit = {}
        data, size, sizes = bytearray(self.disk), len(self.disk), [len(self.disk)]

        def kept(i, begin, end):
            """The parts of [begin, end) whose unit reached the disk after op i."""
            for at in range(begin - begin % unit, end, unit):
                key = at // unit
                if key not in limit:
                    limit[key] = rng.choice((0, len(ops), rng.randrange(len(ops) + 1)))
                if i < limit[key]:
                    yield max(at, begin), min(at + unit, end)

        for i, op in enumerate(ops):
            if op.kind == DATA:
                size, span = max(size, op.at + len(op.data)), (op.at, op.at + len(op.data))
            elif op.kind == ZERO:
                span = op.at, min(op.at + op.length, max(len(data), size))
            else:
                size, span = op.at, (op.at, max(len(data), op.at))
            sizes.append(size)
            for begin, end in kept(i, *span):
                if len(data) < end:
                    data.extend(bytes(end - len(data)))
                data[begin:end] = op.data[begin - op.at:end - op.at] if op.kind == DATA else bytes(end - begin)
        size = rng.choice(sizes)
        if len(data) < size:
            data.extend(bytes(size - len(data)))
        return bytes(data[:size])


class Disk:
    def __init__(self, prefix):
        self.prefix, self.number = prefix, 0
        self.files = {}              # inode -> File
        self.names = {}              # durable: path -> File, 'folder', or ('link', target)
        self.changes = []            # later changes of names: (number, function)
        self.begun = {}              # (thread, inode) -> number
        self.syncs = 0

    def name(self, change):
        self.changes.append((self.number, change))

    def take(self, op):
        """The next op of the record."""
        kind = op.kind
        if kind == CREATE:
            f = self.files[op.inode] = File()
            self.name(lambda names: names.__setitem__(op.path, f))
        elif kind == MKDIR:
            self.name(lambda names: names.__setitem__(op.path, 'folder'))
        elif kind == SYMLINK:
            self.name(lambda names: names.__setitem__(op.path, ('link', op.other)))
        elif kind in (UNLINK, RMDIR):
            self.name(lambda names: names.pop(op.path, None))
        elif kind == LINK:
            self.name(lambda names: op.path in names and names.__setitem__(op.other, names[op.path]))
        elif kind == RENAME:
            f = self.files.get(op.inode)
            self.name(lambda names: self.renamed(names, op.path, op.other, f))
        elif kind in (DATA, SIZE, ZERO):
            if op.inode not in self.files:
                raise RuntimeError('a file that nobody was seen to make: %r' % op)
            self.files[op.inode].since.append((self.number, op))
        elif kind == SYNC_BEGIN:
            self.begun[op.thread, op.inode] = self.number
        elif kind == SYNC_END:
            self.syncs += 1
            before = self.begun.pop((op.thread, op.inode))
            if op.inode in self.files:
                self.files[op.inode].sync(before)
            else:
                done = bisect.bisect_left(self.changes, before, key=lambda pair: pair[0])
                for _, change in self.changes[:done]:
                    change(self.names)
                del self.changes[:done]
        self.number += 1

    def renamed(self, names, old, new, f):
        for path in [p for p in names if p.startswith(old + '/')]:
            names[new + path[len(old):]] = names.pop(path)
        was = names.pop(old, f)
        if was is None:
            raise RuntimeError('the record does not know the file %s' % old)
        names[new] = was             # from outside of the prefix: `was` is None then, and that is said

    def build(self, folder, rng=None):
        """Puts a state that a cut may leave (no rng: everything done so far) in place of the prefix, below the folder."""
        names = dict(self.names)
        changes = self.changes if rng is None else self.changes[:rng.choice((0, len(self.changes), rng.randrange(len(self.changes) + 1)))]
        for _, change in changes:
            change(names)
        made = {}
        for path in sorted(names):
            f, place = names[path], folder + path[len(os.path.dirname(self.prefix)):]
            if f == 'folder':
                os.makedirs(place, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if isinstance(f, tuple):
                os.symlink(f[1], place)
            elif id(f) in made:
                os.link(made[id(f)], place)
            else:
                made[id(f)] = place
                with open(place, 'wb') as out:
                    out.write(f.whole() if rng is None else f.cut(rng))

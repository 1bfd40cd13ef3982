"""VHD images written from the specification alone, and a model of what they hold: nothing here is shared with lib/vhd.

    base = Image(size); base.write(at, data); base.save(path)
    child = Image(size, parent=base, parent_name='base.vhd')
    child.content()      what a reader of the chain must see
"""
import struct
import uuid

BLOCK = 2 << 20
UNUSED = 0xffffffff


def _sum(part, at):
    return ~(sum(part) - sum(part[at:at + 4])) & 0xffffffff


class Image:
    def __init__(self, size, parent=None, parent_name='', fixed=False, raw_parent=None, batmap=False):
        self.size, self.parent, self.parent_name, self.fixed = size, parent, parent_name, fixed
        self.raw_parent, self.batmap = raw_parent, batmap
        self.uuid = uuid.uuid4().bytes
        self.hidden = False
        self.blocks = {}            # number -> (bytearray data, set of sectors)

    def write(self, at, data):
        assert at % 512 == 0 and len(data) % 512 == 0
        while data:
            n, off = at // BLOCK, at % BLOCK
            part = data[:BLOCK - off]
            block, present = self.blocks.setdefault(n, (bytearray(BLOCK), set()))
            block[off:off + len(part)] = part
            present.update(range(off // 512, (off + len(part)) // 512))
            at, data = at + len(part), data[len(part):]

    def content(self):
        if self.parent:
            out = bytearray(self.parent.content())
        elif self.raw_parent is not None:
            out = bytearray(self.raw_parent)
        else:
            out = bytearray()
        out = out[:self.size] + bytes(max(0, self.size - len(out)))
        for n, (block, present) in self.blocks.items():
            for s in present:
                at = n * BLOCK + s * 512
                if at < self.size:
                    out[at:at + 512] = block[s * 512:s * 512 + 512]
        return bytes(out)

    def footer(self):
        kind = 2 if self.fixed else 4 if self.parent or self.raw_parent is not None else 3
        part = bytearray(512)
        struct.pack_into('>8sIIQI4sI4sQQHBBI', part, 0, b'conectix', 2, 0x10000, (1 << 64) - 1 if self.fixed else 512, 1000,
                         b'tap\0', 0x10003 if self.batmap else 1, b'\0' * 4, self.size, self.size, 100, 16, 63, kind)
        part[68:84] = self.uuid
        part[85] = self.hidden
        struct.pack_into('>I', part, 64, _sum(part, 64))
        return bytes(part)

    def header(self, table_at, entries):
        part = bytearray(1024)
        struct.pack_into('>8sQQIII', part, 0, b'cxsparse', (1 << 64) - 1, table_at, 0x10000, entries, BLOCK)
        if self.parent:
            part[40:56] = self.parent.uuid
        name = self.parent_name.encode('utf-16-be')
        part[64:64 + len(name)] = name
        struct.pack_into('>I', part, 36, _sum(part, 36))
        return bytes(part)

    def save(self, path, order=lambda numbers: sorted(numbers)):
        if self.fixed:
            with open(path, 'wb') as f:
                f.write(self.content() + self.footer())
            return
        entries = (self.size + BLOCK - 1) // BLOCK
        table_at, table_len = 2048, (entries * 4 + 511) // 512 * 512
        at = table_at + table_len
        marks = bytearray((entries + 4095) // 4096 * 512)
        if self.batmap:
            marks_at = at + 512
            at = marks_at + len(marks)
        table, body = [UNUSED] * entries, []
        for n in order(self.blocks):
            block, present = self.blocks[n]
            bits = bytearray(512)
            for s in present:
                bits[s // 8] |= 0x80 >> s % 8
            if self.batmap and len(present) == 4096:    # Xen's tools need not keep the bitmap of a whole block
                marks[n // 8] |= 0x80 >> n % 8
                bits = bytearray(512)
            table[n] = at // 512
            body += [bytes(bits), bytes(block)]
            at += 512 + BLOCK
        with open(path, 'wb') as f:
            f.write(self.footer() + self.header(table_at, entries) + bytes(table_at - 1536))
            f.write((struct.pack('>%dI' % entries, *table)).ljust(table_len, b'\xff'))
            if self.batmap:
                f.write(struct.pack('>8sQIIIB', b'tdbatmap', marks_at, len(marks) // 512, 0x10002,
                                    ~sum(marks) & 0xffffffff, 0).ljust(512, b'\0') + marks)
            for piece in body:
                f.write(piece)
            f.write(self.footer())

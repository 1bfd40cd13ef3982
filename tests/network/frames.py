"""A simulated guest that sends frames of its own making, and the far end of the cable that says which of them came through."""
import fcntl
import os
import socket
import struct
import subprocess

from harness import check, wait_until

MARK, LAST = b'##MARK', b'##LAST'        # behind what is sent from the guest, and to it


def mac_bytes(text):
    return bytes.fromhex(text.replace(':', ''))


class Guest:
    """Holds the tap `tap` as its guest would; listens at `wire` in the network namespace of process `far`. `marks`: the interface
    through which the frame behind which nothing more is to come is sent, or an address that this guest itself may send it from."""

    def __init__(self, tap, mac, far, wire='wire0', marks='xenbr0'):
        self.mac, self.number, self.marks = mac, 0, marks
        self.fd = os.open('/dev/net/tun', os.O_RDWR)
        fcntl.ioctl(self.fd, 0x400454ca, struct.pack('16sH22x', tap.encode(), 0x1002 | 0x4000))
        self.listener = subprocess.Popen(['nsenter', '-t', str(far), '-n', '/usr/bin/python3', '-c', '''
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind((sys.argv[1], 0))
print('ready', flush=True)
while True:
    f = s.recv(4096)
    if f[-6:-4] == b'##': print(f[-4:].decode(), flush=True)
''', wire], stdout=subprocess.PIPE, text=True)
        check(self.listener.stdout.readline() == 'ready\n', 'the far end listens')

    def close(self):
        self.listener.kill()
        self.listener.wait()
        os.close(self.fd)

    def send(self, frame):
        os.write(self.fd, b'\0' * 10 + frame)

    def _mark(self, marks):
        if marks[0].isdigit():
            self.send(self.ipv4(marks) + MARK)
            return
        probe = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        probe.bind((marks, 0))
        probe.send(b'\xff' * 6 + mac_bytes('02:00:00:00:00:99') + b'\x88\xb5' + b'\0' * 46 + MARK)
        probe.close()

    def passes(self, frame, marks=None):
        """Sends the frame, and a marker that always passes behind it: what came until the marker."""
        self.number += 1
        self.send(frame + b'##%04d' % self.number)
        self._mark(marks or self.marks)
        seen = False
        while True:
            line = self.listener.stdout.readline().strip()
            if line == 'MARK':
                return seen
            seen = seen or line == '%04d' % self.number

    def gets(self, frame, bridge='xenbr0'):
        """Whether a frame that is sent into the bridge comes to the guest, before one that always does."""
        self.number += 1
        os.set_blocking(self.fd, False)
        try:
            while True:                 # what came for nobody until now
                os.read(self.fd, 4096)
        except BlockingIOError:
            os.set_blocking(self.fd, True)
        probe = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        probe.bind((bridge, 0))
        probe.send(frame + b'##%04d' % self.number)
        probe.send(self.ether(0x88b5, '02:00:00:00:00:99') + b'\0' * 46 + LAST)
        probe.close()
        seen = False
        while True:
            got = os.read(self.fd, 4096)
            if got.endswith(LAST):
                return seen
            seen = seen or got.endswith(b'##%04d' % self.number)

    def tagged(self, tag, source=None):
        return self.ether(0x8100, source) + struct.pack('!HH', tag, 0x88b5) + b'\0' * 46

    def check_trunks(self, s, vif):
        """A card that carries VLANs 5 and 7, and no other; its frames without a tag pass."""
        other = '02:00:00:00:00:99'
        check(self.passes(self.tagged(5)) and self.passes(self.tagged(6)) and self.gets(self.tagged(6, other)), 'a card carries every VLAN')
        s.VIF.set_trunks(vif, ['7', '5'])
        check(wait_until(lambda: not self.passes(self.tagged(6))), 'with trunks: no other')
        check(self.passes(self.tagged(5)) and self.passes(self.tagged(7)), 'but those')
        check(self.passes(self.ether(0x88b5) + b'\0' * 46), 'and frames without a tag')
        check(self.gets(self.tagged(5, other)) and not self.gets(self.tagged(6, other)) and self.gets(self.ether(0x88b5, other) + b'\0' * 46),
              'which is what it gets, too')
        s.VIF.remove_trunks(vif, '7')
        s.VIF.add_trunks(vif, '6')
        check(wait_until(lambda: self.passes(self.tagged(6)) and not self.passes(self.tagged(7))) and self.passes(self.tagged(5)), 'changed while it runs')
        s.VIF.set_trunks(vif, [])
        check(wait_until(lambda: self.passes(self.tagged(7))) and self.gets(self.tagged(7, other)), 'none: every one again')

    def ether(self, kind, source=None, to='ff:ff:ff:ff:ff:ff'):
        return mac_bytes(to) + mac_bytes(source or self.mac) + struct.pack('!H', kind)

    def ipv4(self, source, to='198.51.100.1', protocol=253, body=b''):
        def head(checksum):
            return struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(body) + 6, 0, 0, 64, protocol, checksum, socket.inet_aton(source),
                               socket.inet_aton(to))
        total = sum(struct.unpack('!10H', head(0)))
        return self.ether(0x800) + head(~(total + (total >> 16)) & 0xffff) + body

    def arp(self, ip, hardware=None, target='198.51.100.1'):
        return self.ether(0x806) + struct.pack('!HHBBH6s4s6s4s', 1, 0x800, 6, 4, 2, mac_bytes(hardware or self.mac), socket.inet_aton(ip),
                                               b'\0' * 6, socket.inet_aton(target)) + b'\0' * 12

    def ipv6(self, source, body=b'', following=59, to='ff02::1'):
        return self.ether(0x86dd) + struct.pack('!IHBB16s16s', 6 << 28, len(body) + 6, following, 255,
                                                socket.inet_pton(socket.AF_INET6, source), socket.inet_pton(socket.AF_INET6, to)) + body

    def icmp6(self, kind, target):
        """To nobody in particular: its checksum is not filled in."""
        return struct.pack('!BBHI16s', kind, 0, 0, 0, socket.inet_pton(socket.AF_INET6, target))

    def check_locked(self):
        """What a card with the MAC 02:00:00:00:00:55 may send that is locked to 198.51.100.60, .61 and 2001:db8::60."""
        ether, ipv4, arp, ipv6, icmp6 = self.ether, self.ipv4, self.arp, self.ipv6, self.icmp6
        local = 'fe80::0:ff:fe00:55'
        for frame, want, what in (
                (ipv4('198.51.100.60'), True, 'its address passes'), (ipv4('198.51.100.61'), True, 'and its other'),
                (ipv4('198.51.100.62'), False, 'a spoofed one does not'),
                (ether(0x800, '02:66:66:66:66:66') + ipv4('198.51.100.60')[14:], False, 'nor another MAC'),
                (arp('198.51.100.60'), True, 'ARP for its address passes'), (arp('198.51.100.1'), False, 'ARP for the router\'s does not'),
                (arp('198.51.100.60', '02:66:66:66:66:66'), False, 'nor with another MAC inside'),
                (arp('0.0.0.0', target='198.51.100.61'), True, 'a probe for its own address passes'),
                (arp('0.0.0.0', target='198.51.100.1'), False, 'a probe for another\'s does not'),
                (ipv4('0.0.0.0', '255.255.255.255', 17, struct.pack('!HHHH', 68, 67, 14, 0)), True, 'asking for an address by DHCP passes'),
                (ipv4('0.0.0.0', '255.255.255.255', 17, struct.pack('!HHHH', 67, 68, 14, 0)), False, 'giving addresses does not'),
                (ipv6('2001:db8::60'), True, 'its IPv6 address passes'), (ipv6('2001:db8::61'), False, 'a spoofed one does not'),
                (ipv6(local), True, 'the link-local one of its MAC does'), (ipv6('fe80::1'), False, 'another link-local one does not'),
                (ipv6('2001:db8::60', icmp6(136, '2001:db8::60'), 58), True, 'advertising itself passes'),
                (ipv6('2001:db8::60', icmp6(136, '2001:db8::1'), 58), False, 'advertising another does not'),
                (ipv6('2001:db8::60', bytes([58, 0, 1, 4, 0, 0, 0, 0]) + icmp6(136, '2001:db8::1'), 60), False, 'nor behind an extension header'),
                (ipv6('::', icmp6(135, '2001:db8::60'), 58, 'ff02::1:ff00:60'), True, 'asking whether its address is free passes'),
                (ipv6('::', icmp6(135, '2001:db8::1'), 58, 'ff02::1:ff00:1'), False, 'for another\'s it does not'),
                (ipv6(local, icmp6(134, '::'), 58), False, 'it is no router'),
                (ether(0x8100) + b'\0\5\x08\0' + ipv4('198.51.100.60')[14:], False, 'a VLAN tag does not pass'),
                (ether(0x88cc) + b'\0' * 46, False, 'nor any other protocol')):
            check(self.passes(frame) == want, 'locked: ' + what)

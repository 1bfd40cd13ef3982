/* Suspend images as libvirt writes them: a head, the guest's XML, its memory.
 * Called by: libvirt_power.c, libvirt_migrate.c.  Calls: libc. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>

#include "xapi/hv/libvirt_int.h"

/* The head (libvirt's qemu_saveimage.h): magic, version, bytes of XML (padded with NULs), and more we do not
 * need. Byte order is the host's. */
enum { MAGIC_BYTES = 16, VERSION_AT = 16, XML_BYTES_AT = 20, RAN_AT = 24, HEAD_BYTES = 92, VERSION = 2, MAX_XML = 4 << 20 };
static const char magic[MAGIC_BYTES + 1] = "LibvirtQemudSave";

/* A copy of a suspended VM has the other's image under its own uuid. libvirt insists on the uuid in the
 * image, so that one is written over: both are texts of 36 characters, and the name we gave the domain is the
 * uuid, too. */
int lv_image_adopt(const char *path, const char *old_uuid, const char *new_uuid, struct hv_failure *f)
{
    _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
    char head[HEAD_BYTES];
    uint32_t n;

    if (fd < 0) return hv_fail(f, HV_FAIL_NO_IMAGE, "%s: %s", path, strerror(errno));
    if (pread(fd, head, sizeof head, 0) != (ssize_t)sizeof head || memcmp(head, magic, MAGIC_BYTES) != 0)
        return hv_fail(f, HV_FAIL_NO_IMAGE, "%s: not a suspend image", path);
    memcpy(&n, head + XML_BYTES_AT, sizeof n);
    if (n > MAX_XML) return hv_fail(f, HV_FAIL_NO_IMAGE, "%s: its description is too long", path);
    _cleanup_free_ char *xml = xcalloc(1, (size_t)n + 1);
    if (pread(fd, xml, n, HEAD_BYTES) != (ssize_t)n)
        return hv_fail(f, HV_FAIL_NO_IMAGE, "%s: cut short", path);
    for (char *p = xml; (p = strstr(p, old_uuid)); p += strlen(new_uuid))
        memcpy(p, new_uuid, strlen(new_uuid));
    if (pwrite(fd, xml, n, HEAD_BYTES) != (ssize_t)n || (fsync(fd) < 0 && errno != EINVAL))
        return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", path, strerror(errno));
    return 0;
}

void lv_image_head(const char *xml, struct strbuf *out)
{
    const uint32_t version = VERSION, xml_bytes = (uint32_t)strlen(xml) + 1, ran = 1;
    char head[HEAD_BYTES] = { 0 };

    memcpy(head, magic, MAGIC_BYTES);
    memcpy(head + VERSION_AT, &version, sizeof version);
    memcpy(head + XML_BYTES_AT, &xml_bytes, sizeof xml_bytes);
    memcpy(head + RAN_AT, &ran, sizeof ran);
    strbuf_add(out, head, sizeof head);
    strbuf_add(out, xml, xml_bytes);
}

/* What a guest's boot loader would boot, read from its configuration.
 * Called by: make check.  Calls: xapi/helper/boot_config. */
#include "tests/unit/unit.h"

#include "lib/strbuf.h"
#include "xapi/helper/boot_config.h"

static const char debian[] =
    "# comment\n"
    "if [ -s $prefix/grubenv ]; then\n  set have_grubenv=true\n  load_env\nfi\n"
    "if [ \"${next_entry}\" ] ; then\n   set default=\"${next_entry}\"\nelse\n   set default=\"0\"\nfi\n"
    "function savedefault {\n  if [ -z \"${boot_once}\" ]; then\n    saved_entry=\"${chosen}\"\n  fi\n}\n"
    "set kernelopts='quiet splash'\n"
    "menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-1' {\n"
    "\tinsmod ext2\n\tset root='hd0,msdos1'\n\techo\t'Loading'\n"
    "\tlinux\t/boot/vmlinuz-6.1.0 root=UUID=abc ro  ${kernelopts}\n\tinitrd\t/boot/initrd.img-6.1.0\n}\n"
    "submenu 'Advanced options' $menuentry_id_option 'advanced' {\n"
    "\tmenuentry 'Debian, with Linux 5.10' --class debian $menuentry_id_option 'gnulinux-5.10' {\n"
    "\t\tlinux\t/boot/vmlinuz-5.10 root=UUID=abc ro \\\n\t\t single\n\t\tinitrd /boot/ucode.cpio /boot/initrd.img-5.10\n\t}\n"
    "\tmenuentry 'Debian, rescue' {\n\t\tlinux (hd0,msdos1)/boot/vmlinuz-5.10 rescue\n\t}\n}\n"
    "menuentry 'Memory test' {\n\tlinux16 /boot/memtest86+.bin\n}\n"
    "menuentry 'Firmware' {\n\tfwsetup\n}\n";

static struct boot_config parse(enum boot_syntax syntax, const char *text, const char *environment, struct arena *a)
{
    struct boot_config c;

    boot_parse(syntax, text, strlen(text), environment, a, &c);
    return c;
}

static void assert_boots(const struct boot_config *c, const char *wish, const char *kernel, const char *args)
{
    const struct boot_entry *e = boot_choose(c, wish);

    assert_non_null(e);
    assert_string_equal(e->kernel, kernel);
    assert_string_equal(e->args, args);
}

static void debians_menu_is_understood(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct boot_config c = parse(BOOT_GRUB2, debian, "", a);

    assert_int_equal(c.n, 5);
    assert_boots(&c, "", "/boot/vmlinuz-6.1.0", "root=UUID=abc ro quiet splash");
    assert_int_equal(boot_choose(&c, "")->n_ramdisks, 1);
    assert_boots(&c, "1>0", "/boot/vmlinuz-5.10", "root=UUID=abc ro single");
    assert_boots(&c, "1>1", "/boot/vmlinuz-5.10", "rescue");
    assert_boots(&c, "2", "/boot/memtest86+.bin", "");
    assert_boots(&c, "gnulinux-5.10", "/boot/vmlinuz-5.10", "root=UUID=abc ro single");
    assert_boots(&c, "advanced>gnulinux-5.10", "/boot/vmlinuz-5.10", "root=UUID=abc ro single");
    assert_boots(&c, "Advanced options>Debian, rescue", "/boot/vmlinuz-5.10", "rescue");
    assert_int_equal(boot_choose(&c, "1>0")->n_ramdisks, 2);
    assert_null(boot_choose(&c, "3"));
    assert_null(boot_choose(&c, "7"));
    assert_null(boot_choose(&c, "no such"));
}

static void the_environment_chooses(void **state _unused_)
{
    static const char text[] = "set default=\"${saved_entry}\"\nmenuentry a --id one {\nlinux /a\n}\nmenuentry b --id two {\nlinux /b\n}\n";
    _cleanup_arena_ struct arena *a = arena_new();
    struct boot_config saved = parse(BOOT_GRUB2, text, "# GRUB Environment Block\nsaved_entry=two\n####", a);
    struct boot_config none = parse(BOOT_GRUB2, text, "", a), gone = parse(BOOT_GRUB2, text, "saved_entry=three\n", a);

    assert_boots(&saved, "", "/b", "");
    assert_boots(&none, "", "/a", "");
    assert_boots(&gone, "", "/a", "");
}

static void entries_in_files_of_their_own(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();
    static const char environment[] = "kernelopts=root=/dev/mapper/x ro\n";
    static const char entry[] = "title Fedora 39\nversion 6.5\nlinux /vmlinuz-6.5\ninitrd /initramfs-6.5.img $tuned_initrd\noptions $kernelopts quiet\n";
    struct boot_config c = parse(BOOT_GRUB2, "blscfg\n", environment, a);

    assert_true(c.blscfg);
    boot_parse_bls(entry, strlen(entry), environment, "id-6.5", a, &c);
    assert_boots(&c, "", "/vmlinuz-6.5", "root=/dev/mapper/x ro quiet");
    assert_boots(&c, "id-6.5", "/vmlinuz-6.5", "root=/dev/mapper/x ro quiet");
    assert_int_equal(boot_choose(&c, "")->n_ramdisks, 1);
}

static void older_loaders(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct boot_config c = parse(BOOT_GRUB1,
                                 "default 1\ntimeout=5\ntitle Windows\nchainloader +1\ntitle CentOS (2.6)\n\troot (hd0,0)\n"
                                 "\tkernel /vmlinuz-2.6 ro root=LABEL=/\n\tinitrd /initrd-2.6.img\n"
                                 "title Xen\nkernel /xen.gz com1\nmodule /vmlinuz-xen ro\nmodule /initrd-xen\n", "", a);
    assert_boots(&c, "", "/vmlinuz-2.6", "ro root=LABEL=/");
    assert_boots(&c, "2", "/vmlinuz-xen", "ro");
    assert_string_equal(boot_choose(&c, "2")->ramdisks[0], "/initrd-xen");
    assert_null(boot_choose(&c, "0"));

    c = parse(BOOT_EXTLINUX, "DEFAULT grsec\nLABEL old\n LINUX /old\nLABEL grsec\n  KERNEL vmlinuz\n  APPEND initrd=i.img root=/dev/xvda\n", "", a);
    assert_boots(&c, "", "/vmlinuz", "root=/dev/xvda");
    assert_string_equal(boot_choose(&c, "")->ramdisks[0], "/i.img");
    assert_boots(&c, "old", "/old", "");
}

/* Nothing that a guest writes there is taken without bound. */
static void too_much_is_cut(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    for (int i = 0; i < 2000; i++) strbuf_printf(&b, "menuentry e%d {\nlinux /k %04000d\n}\n", i, i);
    struct boot_config c = parse(BOOT_GRUB2, strbuf_cstr(&b), "", a);
    assert_int_equal(c.n, BOOT_MAX_ENTRIES);
    assert_int_equal(strlen(c.entries[0].args), 4000);
    strbuf_clear(&b);
    strbuf_str(&b, "menuentry e {\nlinux /k ");
    for (int i = 0; i < 100000; i++) strbuf_char(&b, 'x');
    strbuf_str(&b, "\n}\n");
    c = parse(BOOT_GRUB2, strbuf_cstr(&b), "", a);
    assert_true(strlen(boot_choose(&c, "")->args) <= BOOT_MAX_ARGS);
}

UNIT_MAIN(cmocka_unit_test(debians_menu_is_understood), cmocka_unit_test(the_environment_chooses),
          cmocka_unit_test(entries_in_files_of_their_own), cmocka_unit_test(older_loaders), cmocka_unit_test(too_much_is_cut))

/* XML-RPC: what the writer writes to the byte, what the reader takes and what it refuses.
 * Called by: make check.  Calls: lib/xmlrpc. */
#include "tests/unit/unit.h"

#include "lib/limits.h"
#include "lib/num.h"
#include "lib/wire.h"
#include "lib/xmlrpc.h"

#include <math.h>

/* ---- helpers ---- */

static void check_written(const struct value *v, const char *expected)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    xmlrpc_encode_value(v, &b);
    assert_string_equal(strbuf_cstr(&b), expected);
}

static struct value parse(struct arena *a, const char *text)
{
    struct value v;
    const char *error = NULL;

    if (xmlrpc_decode_value(text, strlen(text), a, &v, &error)) fail_msg("%s: %s", text, error);
    return v;
}

static void check_refused(const char *text, const char *expected)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct value v;
    const char *error = NULL;

    if (!xmlrpc_decode_value(text, strlen(text), a, &v, &error)) fail_msg("accepted: %s", text);
    assert_non_null(error);
    if (!strstr(error, expected)) fail_msg("%s: \"%s\" does not say \"%s\"", text, error, expected);
}

static void check_string(const char *text, const char *expected)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct value v = parse(a, text);

    assert_int_equal(v.kind, VALUE_STRING);
    assert_string_equal(v.s, expected);
    assert_int_equal(v.len, strlen(expected));
}

static struct value str(const char *s) { return value_string(s); }

/* ---- writing ---- */

static void scalars_are_written_as_the_wire_contract_says(void **state _unused_)
{
    struct ref r;
    assert_true(ref_parse("OpaqueRef:01234567-89ab-cdef-0123-456789abcdef", &r));
    struct { struct value v; const char *text; } cases[] = {
        { str("abc"), "<value>abc</value>" },
        { str(""), "<value></value>" },
        { value_int(42), "<value>42</value>" },
        { value_int(INT64_MIN), "<value>-9223372036854775808</value>" },
        { { .kind = VALUE_INT32, .i = 7 }, "<value><i4>7</i4></value>" },
        { value_bool(true), "<value><boolean>1</boolean></value>" },
        { value_bool(false), "<value><boolean>0</boolean></value>" },
        { value_float(0.1), "<value><double>0.1</double></value>" },
        { value_float(1), "<value><double>1</double></value>" },
        { value_float(1e300), "<value><double>1e+300</double></value>" },
        { value_float((double)INFINITY), "<value><double>Infinity</double></value>" },
        { value_float(-(double)INFINITY), "<value><double>-Infinity</double></value>" },
        { value_float((double)NAN), "<value><double>NaN</double></value>" },
        { value_datetime(1787277623),
        "<value><dateTime.iso8601>20260821T02:00:23Z</dateTime.iso8601></value>" },
        { value_datetime(0), "<value><dateTime.iso8601>19700101T00:00:00Z</dateTime.iso8601></value>" },
        { { .kind = VALUE_LOCALTIME, .i = 0 },
        "<value><dateTime.iso8601>19700101T00:00:00</dateTime.iso8601></value>" },
        { value_ref(r), "<value>OpaqueRef:01234567-89ab-cdef-0123-456789abcdef</value>" },
        { value_ref(REF_NULL), "<value>OpaqueRef:NULL</value>" },
        { value_void(), "<value/>" },
        { value_set(NULL, 0), "<value><array><data/></array></value>" },
        { value_map(NULL, 0), "<value><struct/></value>" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) check_written(&cases[i].v, cases[i].text);
}

static void containers_are_written_without_white_space(void **state _unused_)
{
    struct value items[] = { str("a"), value_int(1) };
    struct member members[] = { { "k<", str("v") }, { "s", value_set(items, 2) } };
    struct value v = value_map(members, 2);

    check_written(&v, "<value><struct><member><name>k&lt;</name><value>v</value></member><member><name>s</name>"
                      "<value><array><data><value>a</value><value>1</value></data></array></value></member>"
                      "</struct></value>");
}

static void special_characters_are_escaped_at_every_position(void **state _unused_)
{
    static const struct { const char *raw, *escaped; } specials[] = {
        { "<", "&lt;" }, { ">", "&gt;" }, { "&", "&amp;" }, { "\"", "&quot;" }, { "\r", "&#13;" },
        { "\n", "\n" },
        { "\t", "\t" }, { "\x01", "" }, { "\x1f", "" }, { "\x7f", "\x7f" }, { "'", "'" },
        { "\xc3\xa9", "\xc3\xa9" },
        { "\xf0\x9f\x90\xa7", "\xf0\x9f\x90\xa7" }, { "\xff", "\xef\xbf\xbd" }, { "\xef\xbf\xbf", "" },
    };
    static const char before[] = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEF",
            *after = "ZYXWVUTSRQPONMLKJIHGFEDCBA98765432";
    char raw[128], expected[128];

    /* All short lengths and positions: the writer looks at 16, 8 and 4 bytes at a time. */
    for (size_t k = 0; k < ARRAY_SIZE(specials); k++)
        for (int at = 0; at < 34; at++)
            for (int rest = 0; rest < 34; rest++) {
                snprintf(raw, sizeof(raw), "%.*s%s%.*s", at, before, specials[k].raw, rest, after);
                snprintf(expected, sizeof(expected), "<value>%.*s%s%.*s</value>", at, before,
                         specials[k].escaped, rest, after);
                struct value v = str(raw);
                check_written(&v, expected);
            }
}

static void malformed_utf8_is_replaced_byte_by_byte(void **state _unused_)
{
    struct value overlong = str("a\xc0\xafz"), surrogate = str("\xed\xa0\x80"), cut = str("caf\xc3");

    check_written(&overlong, "<value>a\xef\xbf\xbd\xef\xbf\xbdz</value>");
    check_written(&surrogate, "<value>\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd</value>");
    check_written(&cut, "<value>caf\xef\xbf\xbd</value>");
}

static void replies_have_the_reference_s_exact_form(void **state _unused_)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct value running = str("Running"), method = str("VM.start"), methods = value_set(&method, 1);

    xmlrpc_encode_success(&running, &b);
    assert_string_equal(b.ptr,
        "<?xml version=\"1.0\"?><methodResponse><params><param><value><struct><member><name>Status</name><value>Success"
        "</value></member><member><name>Value</name><value>Running</value></member></struct></value></param></params>"
        "</methodResponse>");

    strbuf_clear(&b);
    xerr_set(&err, "VM_BAD_POWER_STATE", 2, (const char *[]){ "OpaqueRef:NULL", "a<b" });
    xmlrpc_encode_failure(&err, &b);
    assert_string_equal(b.ptr,
        "<?xml version=\"1.0\"?><methodResponse><params><param><value><struct><member><name>Status</name><value>Failure"
        "</value></member><member><name>ErrorDescription</name><value><array><data><value>VM_BAD_POWER_STATE</value>"
        "<value>OpaqueRef:NULL</value><value>a&lt;b</value></data></array></value></member></struct></value></param>"
        "</params></methodResponse>");

    strbuf_clear(&b);
    xmlrpc_encode_bare(&methods, &b);
    assert_string_equal(b.ptr,
        "<?xml version=\"1.0\"?><methodResponse><params><param><value><array><data><value>VM.start</value></data>"
        "</array></value></param></params></methodResponse>");
}

static void a_reply_in_pieces_equals_one_in_a_go(void **state _unused_)
{
    _cleanup_strbuf_ struct strbuf pieces = STRBUF_INIT, whole = STRBUF_INIT;
    struct value a = str("x"), items[] = { a, a };
    struct member members[] = { { "k&", a }, { "l", value_set(items, 2) } };
    struct value v = value_map(members, 2);

    xmlrpc_success_begin(&pieces);
    xmlrpc_struct_begin(&pieces);
    xmlrpc_member_begin("k&", &pieces);
    xmlrpc_encode_value(&a, &pieces);
    xmlrpc_member_end(&pieces);
    xmlrpc_member_begin("l", &pieces);
    xmlrpc_array_begin(&pieces);
    xmlrpc_encode_value(&a, &pieces);
    xmlrpc_encode_value(&a, &pieces);
    xmlrpc_array_end(&pieces);
    xmlrpc_member_end(&pieces);
    xmlrpc_struct_end(&pieces);
    xmlrpc_success_end(&pieces);
    xmlrpc_encode_success(&v, &whole);
    assert_string_equal(pieces.ptr, whole.ptr);
}

/* ---- reading ---- */

static void every_type_is_read(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct value v;

    check_string("<value>abc</value>", "abc");
    check_string("<value/>", "");
    check_string("<value></value>", "");
    check_string("<value>  two words </value>", "  two words ");
    check_string("<value><string>abc</string></value>", "abc");
    check_string("<value><string/></value>", "");
    check_string("<value><base64>aGVsbG8=\n</base64></value>", "hello");
    check_string("<value>12</value>", "12");

    static const char *const ints[] = { "int", "i4", "i8", "ex:i8" };
    for (size_t i = 0; i < ARRAY_SIZE(ints); i++) {
        v = parse(a, arena_printf(a, "<value>\n <%s> -9000000000 </%s>\n</value>", ints[i], ints[i]));
        assert_int_equal(v.kind, VALUE_INT);
        assert_true(v.i == -9000000000);
    }
    v = parse(a, "<value><double>-1.5e3</double></value>");
    assert_int_equal(v.kind, VALUE_FLOAT);
    assert_true(v.d == -1500.0);
    v = parse(a, "<value><double>inf</double></value>");
    assert_true(isinf(v.d));
    v = parse(a, "<value><boolean>1</boolean></value>");
    assert_true(v.kind == VALUE_BOOL && v.b);
    v = parse(a, "<value><boolean>false</boolean></value>");
    assert_true(v.kind == VALUE_BOOL && !v.b);
    v = parse(a, "<value><dateTime.iso8601>20260821T02:00:23Z</dateTime.iso8601></value>");
    assert_true(v.kind == VALUE_DATETIME && v.i == 1787277623);
    v = parse(a, "<value><nil/></value>");
    assert_int_equal(v.kind, VALUE_VOID);
    v = parse(a, "<value><array><data/></array></value>");
    assert_true(v.kind == VALUE_SET && v.set.n == 0);
    v = parse(a, "<value><array><data></data></array></value>");
    assert_true(v.kind == VALUE_SET && v.set.n == 0);
    v = parse(a, "<value><struct/></value>");
    assert_true(v.kind == VALUE_MAP && v.map.n == 0);
}

static void text_is_decoded(void **state _unused_)
{
    check_string("<value>&lt;&gt;&amp;&quot;&apos;</value>", "<>&\"'");
    check_string("<value>&#65;&#x41;&#x1f427;</value>", "AA\xf0\x9f\x90\xa7");
    check_string("<value><![CDATA[<a>&amp;]]></value>", "<a>&amp;");
    check_string("<value>a<![CDATA[b]]>c<!-- no --> d<?pi x?></value>", "abc d");
    check_string("<value><string><![CDATA[]]></string></value>", "");
    check_string("<value>a\r\nb\rc\n</value>", "a\nb\nc\n");
    check_string("<value>&#13;</value>", "\r");
    check_string("<?xml version='1.0' encoding='UTF-8'?><value>caf\xc3\xa9</value>", "caf\xc3\xa9");
    check_string("<?xml version=\"1.0\" encoding=\"ISO-8859-1\" ?><value>caf\xe9</value>", "caf\xc3\xa9");
    check_string("\xef\xbb\xbf<value>bom</value>", "bom");
}

static void a_call_is_read_however_it_is_laid_out(void **state _unused_)
{
    static const char *const bodies[] = {
        "<methodCall><methodName>VM.start</methodName><params><param><value>a</value></param><param><value><boolean>1"
        "</boolean></value></param></params></methodCall>",
        "<?xml version='1.0'?>\n<!-- hi -->\n<methodCall>\n <methodName>VM.start</methodName>\n <params>\n  "
        "<param>\n   "
        "<value><string>a</string></value>\n  </param>\n  <param>\n <value>\n<boolean>1</boolean>\n "
        "</value></param>\n"
        " </params>\n</methodCall>\n",
        "<methodCall xmlns:ex='http://example/'><methodName >VM.start</methodName "
        "><params><param><value>a</value>"
        "</param><param><value><boolean >true</boolean></value></param></params></methodCall><!-- bye -->",
    };

    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        _cleanup_arena_ struct arena *a = arena_new();
        const char *method, *error = "";
        struct value params;
        if (xmlrpc_decode_call(bodies[i], strlen(bodies[i]), a, &method, &params, &error))
            fail_msg("%zu: %s", i, error);
        assert_string_equal(method, "VM.start");
        assert_int_equal(params.kind, VALUE_SET);
        assert_int_equal(params.set.n, 2);
        assert_string_equal(params.set.items[0].s, "a");
        assert_true(params.set.items[1].kind == VALUE_BOOL && params.set.items[1].b);
    }
}

static void a_call_may_have_no_params(void **state _unused_)
{
    static const char *const bodies[] = {
        "<methodCall><methodName>m</methodName></methodCall>",
        "<methodCall><methodName>m</methodName><params/></methodCall>",
        "<methodCall><methodName>m</methodName><params></params></methodCall>",
    };

    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        _cleanup_arena_ struct arena *a = arena_new();
        const char *method, *error;
        struct value params;
        assert_int_equal(xmlrpc_decode_call(bodies[i], strlen(bodies[i]), a, &method, &params, &error), 0);
        assert_true(params.kind == VALUE_SET && params.set.n == 0);
    }
}

static void the_last_of_equal_members_wins(void **state _unused_)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    _cleanup_arena_ struct arena *a = arena_new();

    /* 3 and then 300 members: both ways of finding duplicates */
    for (int n = 3; n <= 300; n *= 100) {
        strbuf_clear(&b);
        strbuf_str(&b, "<value><struct>");
        for (int i = 0; i < 2 * n; i++)
            strbuf_printf(&b, "<member><name>k%d</name><value>v%d</value></member>", i % n, i);
        strbuf_str(&b, "</struct></value>");
        struct value v = parse(a, b.ptr);
        assert_int_equal(v.map.n, n);
        assert_string_equal(v.map.members[0].key, "k0");
        assert_string_equal(value_get_str(&v, "k2", ""), arena_printf(a, "v%d", n + 2));
    }
}

static void malformed_values_are_refused(void **state _unused_)
{
    check_refused("", "too early at byte 0");
    check_refused("x", "text where an element is expected at byte 0");
    check_refused("<value>a", "too early");
    check_refused("<value>a</string>", "expected </value>");
    check_refused("<value><int>1</i4></value>", "expected </int>");
    check_refused("<value><int>x</int></value>", "malformed int");
    check_refused("<value><int></int></value>", "malformed int");
    check_refused("<value><int>9223372036854775808</int></value>", "malformed int");
    check_refused("<value><double>0x10</double></value>", "malformed double");
    check_refused("<value><double>1.5.2</double></value>", "malformed double");
    check_refused("<value><boolean>2</boolean></value>", "malformed boolean");
    check_refused("<value><dateTime.iso8601>yesterday</dateTime.iso8601></value>", "malformed dateTime");
    check_refused("<value><base64>!</base64></value>", "malformed base64");
    check_refused("<value><base64>AAAA</base64></value>", "not text");
    check_refused("<value><base64>/w==</base64></value>", "not text");
    check_refused("<value><nil>x</nil></value>", "text in nil");
    check_refused("<value><what>x</what></value>", "unknown element");
    check_refused("<value><member>x</member></value>", "no such type");
    check_refused("<value>a<int>1</int></value>", "text beside an element");
    check_refused("<value><![CDATA[ ]]><int>1</int></value>", "text beside an element");
    check_refused("<value><int>1</int>a</value>", "text where an element is expected");
    check_refused("<value>a</value><value>b</value>", "something after the document");
    check_refused("<value><struct><member><value>a</value></member></struct></value>", "expected <name>");
    check_refused("<value><struct><member><name>a</name></member></struct></value>", "expected <value>");
    check_refused("<value><array><value>a</value></array></value>", "expected <data>");
    check_refused("<value a=b>x</value>", "malformed attribute");
    check_refused("< value>x</value>", "malformed tag");
}

static void characters_that_xml_lacks_are_refused(void **state _unused_)
{
    check_refused("<value>a\x01</value>", "illegal character at byte 8");
    check_refused("<value>\xff</value>", "malformed UTF-8 at byte 7");
    check_refused("<value>\xc0\xaf</value>", "malformed UTF-8");
    check_refused("<value>\xed\xa0\x80</value>", "malformed UTF-8");
    check_refused("<value>\xef\xbf\xbe</value>", "illegal character");
    check_refused("<value>&#0;</value>", "no character");
    check_refused("<value>&#xd800;</value>", "no character");
    check_refused("<value>&#x110000;</value>", "no character");
    check_refused("<value>&#;</value>", "malformed character reference");
    check_refused("<value>&#x;</value>", "malformed character reference");
    check_refused("<value>&#12a;</value>", "malformed character reference");
    check_refused("<value>&nbsp;</value>", "unknown entity");
    check_refused("<value>a & b</value>", "malformed entity");
    check_refused("<?xml version='1.0' encoding='UTF-16'?><value/>", "unsupported encoding");
}

static void a_nul_byte_is_refused(void **state _unused_)
{
    static const char text[] = "<value>a\0b</value>";
    _cleanup_arena_ struct arena *a = arena_new();
    struct value v;
    const char *error;

    assert_int_equal(xmlrpc_decode_value(text, sizeof(text) - 1, a, &v, &error), -1);
}

static void document_types_and_own_entities_are_refused(void **state _unused_)
{
    check_refused("<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><value>&x;</value>",
                  "document types");
    check_refused("<?xml version='1.0'?><!DOCTYPE lolz [<!ENTITY a 'ha'>]><value>&a;</value>",
                  "document types");
    check_refused("<value>&x;</value>", "unknown entity");
}

/* ---- hostile sizes ---- */

static void nest(struct strbuf *b, int depth, const char *open, const char *close)
{
    strbuf_clear(b);
    for (int i = 0; i < depth; i++) strbuf_str(b, open);
    strbuf_str(b, "<value>x</value>");
    for (int i = 0; i < depth; i++) strbuf_str(b, close);
}

static void sixty_four_containers_inside_each_other_are_the_limit(void **state _unused_)
{
    static const struct { const char *open, *close; } kinds[] = {
        { "<value><array><data>", "</data></array></value>" },
        { "<value><struct><member><name>a</name>", "</member></struct></value>" },
    };
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    _cleanup_arena_ struct arena *a = arena_new();

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        nest(&b, 64, kinds[i].open, kinds[i].close);
        parse(a, b.ptr);
        nest(&b, 65, kinds[i].open, kinds[i].close);
        check_refused(b.ptr, "nested too deeply");
        nest(&b, 100000, kinds[i].open, "");
        check_refused(b.ptr, "nested too deeply");
    }
}

static void a_hundred_thousand_values_are_the_limit_of_a_call(void **state _unused_)
{
    for (int n = LIMIT_CALL_VALUES; n <= LIMIT_CALL_VALUES + 1; n++) {
        _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
        _cleanup_arena_ struct arena *a = arena_new();
        const char *method, *error = "";
        struct value params;
        strbuf_str(&b, "<methodCall><methodName>m</methodName><params>");
        for (int i = 0; i < n; i++) strbuf_str(&b, "<param><value/></param>");
        strbuf_str(&b, "</params></methodCall>");
        int rc = xmlrpc_decode_call(b.ptr, b.len, a, &method, &params, &error);
        assert_int_equal(rc, n > LIMIT_CALL_VALUES ? -1 : 0);
        if (rc) assert_non_null(strstr(error, "too many values"));
    }
}

static void a_string_of_ten_megabytes_is_read_and_written(void **state _unused_)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT, again = STRBUF_INIT;
    _cleanup_arena_ struct arena *a = arena_new();

    strbuf_str(&b, "<value>");
    for (int i = 0; i < 1 << 20; i++) strbuf_str(&b, "&lt;text&gt;");
    strbuf_str(&b, "</value>");
    struct value v = parse(a, b.ptr);
    assert_int_equal(v.len, 6 << 20);
    xmlrpc_encode_value(&v, &again);
    assert_string_equal(again.ptr, b.ptr);
}

static void many_unclosed_constructs_take_linear_time(void **state _unused_)
{
    static const char *const pieces[] = { "<value>", "<!--", "&", "<![CDATA[", "<?", "<", "]]>", "</value>" };

    for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
        _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
        _cleanup_arena_ struct arena *a = arena_new();
        struct value v;
        const char *error;
        strbuf_str(&b, "<value>");
        while (b.len < 10 << 20) strbuf_str(&b, pieces[i]);
        assert_int_equal(xmlrpc_decode_value(b.ptr, b.len, a, &v, &error), -1);
    }
}

static const char sample[] =
    "<?xml version=\"1.0\" encoding=\"utf-8\"?><!-- c "
    "--><methodCall><methodName>VM.create</methodName><params><param>"
    "<value><string>OpaqueRef:x</string></value></param><param><value><struct><member><name>a&amp;</name><value><array>"
    "<data><value><i8>1</i8></value><value><boolean>1</boolean></value><value><double>1.5</double></value><value>"
    "<dateTime.iso8601>20260821T02:00:23Z</dateTime.iso8601></value><value><nil/></value><value><base64>aGk=</base64>"
    "</value><value><![CDATA[<>]]>&#x20ac;\xe2\x82\xac</value></data></array></value></member></struct></value></param>"
    "</params></methodCall>";

static void a_document_cut_anywhere_is_refused(void **state _unused_)
{
    for (size_t len = 0; len < sizeof(sample) - 1; len++) {
        _cleanup_arena_ struct arena *a = arena_new();
        const char *method, *error = NULL;
        struct value params;
        char *copy = xmalloc(len);   /* exactly as long, so that a sanitizer sees any look beyond */
        memcpy(copy, sample, len);
        if (!xmlrpc_decode_call(copy, len, a, &method, &params, &error)) fail_msg("accepted %zu bytes", len);
        assert_non_null(error);
        free(copy);
    }
}

static void a_document_with_any_byte_changed_never_crashes(void **state _unused_)
{
    static const char others[] = { '\0', '<', '>', '&', '/', '"', (char)0xff, ']' };

    for (size_t at = 0; at < sizeof(sample) - 1; at++)
        for (size_t i = 0; i < sizeof(others); i++) {
            _cleanup_arena_ struct arena *a = arena_new();
            const char *method, *error = NULL;
            struct value params;
            char copy[sizeof(sample)];
            memcpy(copy, sample, sizeof(sample));
            copy[at] = others[i];
            if (xmlrpc_decode_call(copy, sizeof(copy) - 1, a, &method, &params, &error))
                assert_non_null(error);
        }
}

/* ---- both ways ---- */

static void what_is_written_is_read_back(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    struct value items[] = { str("a\r\n\t<&>\"'\xe2\x82\xac"), value_bool(true), value_float(0.1),
            value_datetime(-1),
                             value_set(NULL, 0), value_map(NULL, 0), str("") };
    struct member members[] = { { "", str("empty key") }, { "a b", value_set(items, ARRAY_SIZE(items)) } };
    struct value v = value_map(members, 2);

    xmlrpc_encode_value(&v, &b);
    struct value again = parse(a, b.ptr);
    assert_true(value_eq(&v, &again));
}

static void a_call_is_written_and_read_back(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    struct value items[] = { str("x"), value_bool(false) }, params = value_set(items, 2), got;
    const char *method, *error;

    xmlrpc_encode_call("VM.start", &params, &b);
    assert_int_equal(xmlrpc_decode_call(b.ptr, b.len, a, &method, &got, &error), 0);
    assert_string_equal(method, "VM.start");
    assert_true(value_eq(&params, &got));
}

static void replies_are_opened(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    _cleanup_xerr_ struct xerr err = XERR_INIT, got = XERR_INIT;
    struct value v = str("Running"), response, result;
    const char *error = "";

    xmlrpc_encode_success(&v, &b);
    assert_int_equal(xmlrpc_decode_response(b.ptr, b.len, a, &response, &error), 0);
    assert_int_equal(xmlrpc_result(&response, &result, &got), 0);
    assert_string_equal(result.s, "Running");

    strbuf_clear(&b);
    xerr_set(&err, "HANDLE_INVALID", 2, (const char *[]){ "VM", "OpaqueRef:x" });
    xmlrpc_encode_failure(&err, &b);
    assert_int_equal(xmlrpc_decode_response(b.ptr, b.len, a, &response, &error), 0);
    assert_int_equal(xmlrpc_result(&response, &result, &got), -1);
    assert_string_equal(got.code, "HANDLE_INVALID");
    assert_int_equal(got.n, 2);
    assert_string_equal(got.params[1], "OpaqueRef:x");

    strbuf_clear(&b);
    xmlrpc_encode_fault(3, "no call", &b);
    assert_int_equal(xmlrpc_decode_response(b.ptr, b.len, a, &response, &error), -1);
    assert_string_equal(error, "fault 3: no call");

    xerr_clear(&got);
    response = value_map(NULL, 0);
    assert_int_equal(xmlrpc_result(&response, &result, &got), -1);
    assert_string_equal(got.code, "INTERNAL_ERROR");
}

UNIT_MAIN(
    cmocka_unit_test(scalars_are_written_as_the_wire_contract_says),
    cmocka_unit_test(containers_are_written_without_white_space),
    cmocka_unit_test(special_characters_are_escaped_at_every_position),
    cmocka_unit_test(malformed_utf8_is_replaced_byte_by_byte),
    cmocka_unit_test(replies_have_the_reference_s_exact_form),
    cmocka_unit_test(a_reply_in_pieces_equals_one_in_a_go),
    cmocka_unit_test(every_type_is_read),
    cmocka_unit_test(text_is_decoded),
    cmocka_unit_test(a_call_is_read_however_it_is_laid_out),
    cmocka_unit_test(a_call_may_have_no_params),
    cmocka_unit_test(the_last_of_equal_members_wins),
    cmocka_unit_test(malformed_values_are_refused),
    cmocka_unit_test(characters_that_xml_lacks_are_refused),
    cmocka_unit_test(a_nul_byte_is_refused),
    cmocka_unit_test(document_types_and_own_entities_are_refused),
    cmocka_unit_test(sixty_four_containers_inside_each_other_are_the_limit),
    cmocka_unit_test(a_hundred_thousand_values_are_the_limit_of_a_call),
    cmocka_unit_test(a_string_of_ten_megabytes_is_read_and_written),
    cmocka_unit_test(many_unclosed_constructs_take_linear_time),
    cmocka_unit_test(a_document_cut_anywhere_is_refused),
    cmocka_unit_test(a_document_with_any_byte_changed_never_crashes),
    cmocka_unit_test(what_is_written_is_read_back),
    cmocka_unit_test(a_call_is_written_and_read_back),
    cmocka_unit_test(replies_are_opened),
)

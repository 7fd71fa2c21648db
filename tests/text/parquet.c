/* The Parquet reader: files written here byte by byte, with the examples of the format's own Encodings.md; the files of the test data,
 * whose values another implementation has read too; and these truncated and with flipped bits. */
#include <zlib.h>

#include "check.h"
#include "saediff/core/hash.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"
#include "saediff/text/dataset.h"
#include "text/tiny.h"

static char folder[64], path[1024];

/* ---- a writer: every struct member in the long form of Thrift's compact protocol */

static struct {
    unsigned char data[4096];
    size_t size;
} out;

static void put_byte(unsigned value)
{
    CHECK(out.size < sizeof out.data);
    out.data[out.size++ % sizeof out.data] = (unsigned char)value;
}

static void put_bytes(const void *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        put_byte(((const unsigned char *)bytes)[i]);
}

static void put_varint(uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        put_byte((unsigned)(value & 0x7F) | 0x80);
    put_byte((unsigned)value);
}

enum { I32 = 5, I64 = 6, BINARY = 8, LIST = 9, STRUCT = 12 };

static void put_field(unsigned id, unsigned type)
{
    put_byte(type);
    put_varint(2 * id);
}

static void put_int(unsigned id, int64_t value)
{
    put_field(id, I64);
    put_varint(value < 0 ? (uint64_t)(-2 * value - 1) : (uint64_t)(2 * value));
}

static void put_text(unsigned id, const char *text)
{
    put_field(id, BINARY);
    put_varint(strlen(text));
    put_bytes(text, strlen(text));
}

/* One row group of one column `v` of one page. */
typedef struct made {
    int type, length, repetition, converted, codec, encoding, def_encoding;
    int rows;       /* also the number of values of the page */
    const char *page;
    size_t page_size;
    int64_t crc; /* −1: none */
    int chunk_values; /* 0: rows */
} made;

static void put_element(const char *name, const made *m)
{
    if (m != NULL) {
        put_int(1, m->type);
        put_int(2, m->length);
        put_int(3, m->repetition);
    }
    put_text(4, name);
    if (m == NULL)
        put_int(5, 1);
    else if (m->converted >= 0)
        put_int(6, m->converted);
    put_byte(0);
}

static void make_file(const made *m)
{
    size_t page, footer, length;

    out.size = 0;
    put_bytes("PAR1", 4);
    page = out.size;
    put_int(1, 0);
    put_int(2, (int64_t)m->page_size);
    put_int(3, (int64_t)m->page_size);
    if (m->crc >= 0)
        put_int(4, m->crc);
    put_field(5, STRUCT);
    put_int(1, m->rows);
    put_int(2, m->encoding);
    put_int(3, m->def_encoding);
    put_int(4, 3);
    put_byte(0);
    put_byte(0);
    put_bytes(m->page, m->page_size);
    footer = out.size;
    put_int(1, 1);
    put_field(2, LIST);
    put_byte(2 << 4 | STRUCT);
    put_element("root", NULL);
    put_element("v", m);
    put_int(3, m->rows);
    put_field(4, LIST);
    put_byte(1 << 4 | STRUCT);
    put_field(1, LIST);
    put_byte(1 << 4 | STRUCT);
    put_field(3, STRUCT);
    put_int(1, m->type);
    put_int(4, m->codec);
    put_int(5, m->chunk_values ? m->chunk_values : m->rows);
    put_int(7, (int64_t)(footer - page));
    put_int(9, (int64_t)page);
    put_byte(0);
    put_byte(0);
    put_int(3, m->rows);
    put_byte(0);
    put_byte(0);
    length = out.size - footer;
    for (int i = 0; i < 4; i++)
        put_byte((unsigned)(length >> 8 * i & 0xFF));
    put_bytes("PAR1", 4);
    write_text(path, (const char *)out.data, out.size);
}

/* ---- readers */

static char joined[1 << 16];

/* The documents of `field`, "a|b|"; for many, only their digest: row and length as u64, little-endian, and bytes. */
static sd_status read_column(const char *file, const char *field, sd_sha256 *sha, uint64_t *bytes, uint64_t *count)
{
    sd_dataset_spec spec = {.paths = &file, .n_paths = 1, .format = "parquet", .field = field};
    sd_dataset *d = NULL;
    sd_document doc;
    bool end = false;
    sd_status st = sd_dataset_open(&d, &spec);

    joined[0] = '\0';
    *bytes = *count = 0;
    while (st == SD_OK) {
        uint8_t head[16];

        st = sd_dataset_next(d, &doc, &end);
        if (st != SD_OK || end)
            break;
        if (strlen(joined) + doc.length + 2 < sizeof joined) {
            strncat(joined, doc.text, doc.length);
            strcat(joined, "|");
        }
        for (int i = 0; i < 8; i++) {
            head[i] = (uint8_t)(doc.row >> 8 * i);
            head[8 + i] = (uint8_t)(doc.length >> 8 * i);
        }
        if (sha != NULL) {
            sd_sha256_add(sha, head, sizeof head);
            sd_sha256_add(sha, doc.text, doc.length);
        }
        *bytes += doc.length;
        ++*count;
    }
    sd_dataset_close(&d);
    return st;
}

static sd_status read_made(const made *m)
{
    uint64_t bytes, count;

    make_file(m);
    return read_column(path, "v", NULL, &bytes, &count);
}

#define PAGE(bytes) .page = (bytes), .page_size = sizeof(bytes) - 1
#define PLAIN_TEXT .type = 6, .converted = 0, .crc = -1

static void test_examples_of_the_format(void)
{
    /* "Delta encoding", examples 1 and 2. */
    CHECK_OK(read_made(&(made){.type = 2, .converted = -1, .encoding = 5, .rows = 5, .crc = -1, PAGE("\x08\x01\x05\x02" "\x02\0")}));
    CHECK(strcmp(joined, "1|2|3|4|5|") == 0);
    CHECK_OK(read_made(&(made){.type = 1, .converted = -1, .encoding = 5, .rows = 8, .crc = -1, PAGE("\x08\x01\x08\x0E" "\x03\x02\xC0\x3F")}));
    CHECK(strcmp(joined, "7|5|3|1|2|3|4|5|") == 0);
    /* "Delta-length byte array" and "Delta Strings". */
    CHECK_OK(read_made(&(made){PLAIN_TEXT, .encoding = 6, .rows = 4,
                               PAGE("\x08\x01\x04\x0A" "\0\x01\x02" "HelloWorldFoobarABCDEF")}));
    CHECK(strcmp(joined, "Hello|World|Foobar|ABCDEF|") == 0);
    CHECK_OK(read_made(&(made){PLAIN_TEXT, .encoding = 7, .rows = 4,
                               PAGE("\x08\x01\x04\0" "\x03\x03\x44\x01\0" "\x08\x01\x04\x08" "\x03\x03\x70\0\0" "axislebabbleyhood")}));
    CHECK(strcmp(joined, "axis|axle|babble|babyhood|") == 0);
    /* Old bit-packed levels, the highest bit first: 1 0 1 1 0. */
    CHECK_OK(read_made(&(made){PLAIN_TEXT, .repetition = 1, .def_encoding = 4, .rows = 5,
                               PAGE("\xB0" "\1\0\0\0a" "\1\0\0\0b" "\1\0\0\0c")}));
    CHECK(strcmp(joined, "a|b|c|") == 0);
    /* The same as runs: one of 1, a packed group of 0 1 1 0. */
    CHECK_OK(read_made(&(made){PLAIN_TEXT, .repetition = 1, .def_encoding = 3, .rows = 5,
                               PAGE("\4\0\0\0" "\x02\1\3\x06" "\1\0\0\0a" "\1\0\0\0b" "\1\0\0\0c")}));
    CHECK(strcmp(joined, "a|b|c|") == 0);
    /* Numbers with a logical type. */
    CHECK_OK(read_made(&(made){.type = 1, .converted = 6, .rows = 3, .crc = -1, PAGE("\0\0\0\0" "\xFF\xFF\xFF\xFF" "\x4D\x4C\0\0")}));
    CHECK(strcmp(joined, "1970-01-01|1969-12-31|2023-06-25|") == 0);
    CHECK_OK(read_made(&(made){.type = 2, .converted = 6, .rows = 1, .crc = -1, PAGE("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F")}));
    CHECK(strcmp(joined, "9223372036854775807|") == 0);
    CHECK_OK(read_made(&(made){.type = 2, .converted = 9, .rows = 2, .crc = -1, PAGE("\x01\0\0\0\0\0\0\0" "\x18\xFC\xFF\xFF\xFF\xFF\xFF\xFF")}));
    CHECK(strcmp(joined, "1970-01-01T00:00:00.001|1969-12-31T23:59:59|") == 0);
    CHECK_OK(read_made(&(made){.type = 1, .converted = 13, .rows = 1, .crc = -1, PAGE("\xFF\xFF\xFF\xFF")}));
    CHECK(strcmp(joined, "4294967295|") == 0);
    CHECK_OK(read_made(&(made){.type = 4, .converted = -1, .rows = 3, .crc = -1, PAGE("\xCD\xCC\xCC\x3D" "\0\0\xC0\x7F" "\0\0\x80\xFF")}));
    CHECK(strcmp(joined, "0.1|NaN|-Infinity|") == 0);
}

static void test_refusals(void)
{
    static const char page[] = "\3\0\0\0one\3\0\0\0two";
    made m = {PLAIN_TEXT, .rows = 2, .page = page, .page_size = sizeof page - 1};
    uint64_t bytes, count;

    m.crc = (int64_t)crc32(0, (const Bytef *)page, sizeof page - 1);
    CHECK_OK(read_made(&m));
    CHECK(strcmp(joined, "one|two|") == 0);
    m.crc ^= 1;
    CHECK_FAILS(read_made(&m), SD_E_DATA, "row group 0, column 'v', page 0 at byte 4: the stored checksum is");
    m.crc = -1;
    CHECK_FAILS(read_column(path, "w", NULL, &bytes, &count), SD_E_DATA, "it has: v;");
    m.rows = 3;
    CHECK_FAILS(read_made(&m), SD_E_DATA, "value 2 of the column: it has fewer values");
    m.chunk_values = 2;
    CHECK_FAILS(read_made(&m), SD_E_DATA, "it has 3 values, but the column has 2 left");
    m.rows = 1;
    CHECK_FAILS(read_made(&m), SD_E_DATA, "the column ends with 1 of 2 values missing");
    m.rows = 2;
    m.chunk_values = 0;
    m.codec = 3;
    CHECK_FAILS(read_made(&m), SD_E_DATA, "codec LZO");
    m.codec = 4;
    CHECK_FAILS(read_made(&m), SD_E_DATA, "codec BROTLI");
    m.codec = 5;
    CHECK_FAILS(read_made(&m), SD_E_DATA, "codec LZ4 is");
    m.codec = 1;
    CHECK_FAILS(read_made(&m), SD_E_DATA, "snappy");
    m.codec = 2;
    CHECK_FAILS(read_made(&m), SD_E_DATA, "gzip");
    m.codec = 6;
    CHECK_FAILS(read_made(&m), SD_E_DATA, "zstd");
    m.codec = 7;
    CHECK_FAILS(read_made(&m), SD_E_DATA, "lz4");
    m.codec = 0;
    m.encoding = 8;
    CHECK_FAILS(read_made(&m), SD_E_DATA, "its dictionary is missing");
    m.encoding = 5;
    CHECK_FAILS(read_made(&m), SD_E_DATA, "does not apply to the column's type");
    CHECK_FAILS(read_made(&(made){PLAIN_TEXT, .rows = 1, PAGE("\xFF\xFF\xFF\x7Fx")}), SD_E_DATA, "a value is longer than the page");
    CHECK_FAILS(read_made(&(made){PLAIN_TEXT, .rows = 1, PAGE("\1\0\0\0\xFF")}), SD_E_DATA, "not UTF-8");
    CHECK_FAILS(read_made(&(made){PLAIN_TEXT, .rows = 1, PAGE("\1\0\0\0\0")}), SD_E_DATA, "NUL");
    CHECK_FAILS(read_made(&(made){PLAIN_TEXT, .encoding = 7, .rows = 1, PAGE("\x08\x01\x01\x0A" "\x08\x01\x01\x02" "x")}), SD_E_DATA,
                "shares a longer prefix");
}

/* Every prefix and every flipped bit is read, or gives an error. */
static void test_damage(void)
{
    made m = {PLAIN_TEXT, .encoding = 7, .rows = 4,
              PAGE("\x08\x01\x04\0" "\x03\x03\x44\x01\0" "\x08\x01\x04\x08" "\x03\x03\x70\0\0" "axislebabbleyhood")};
    uint64_t bytes, count;
    sd_status st;

    make_file(&m);
    for (size_t cut = 0; cut < out.size; cut++) {
        write_text(path, (const char *)out.data, cut);
        st = read_column(path, "v", NULL, &bytes, &count);
        CHECK(st == SD_E_DATA);
    }
    for (size_t bit = 0; bit < 8 * out.size; bit++) {
        out.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        write_text(path, (const char *)out.data, out.size);
        st = read_column(path, "v", NULL, &bytes, &count);
        CHECK(st == SD_E_DATA || st == SD_OK);
        out.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
}

/* ---- the test data */

static void data_path(char into[1024], const char *name)
{
    snprintf(into, 1024, "%s/text/parquet/%s", getenv("SAEDIFF_DATA"), name);
}

/* All columns of each file, one after another; the values of these digests were compared with those of pyarrow 26.0.1. */
static const struct {
    const char *name, *fields;
    uint64_t documents;
    const char *sha256;
} files[] = {
    {"alltypes_dictionary",
     "id bool_col tinyint_col smallint_col int_col bigint_col float_col double_col date_string_col string_col timestamp_col",
     22, "c2cdae9aabd38bb1219a1ecb2699fb1e0bea8c4d9da30da496c096a681453d15"},
    {"alltypes_plain",
     "id bool_col tinyint_col smallint_col int_col bigint_col float_col double_col date_string_col string_col timestamp_col",
     88, "64bbc21392dd9c7f9b699122d57dcb23b0f40b7336b23470ac0096d1a1c12512"},
    {"alltypes_plain.snappy",
     "id bool_col tinyint_col smallint_col int_col bigint_col float_col double_col date_string_col string_col timestamp_col",
     22, "730510dd12c8d8dfd8d65d79e04a019901b5d82af2552ef996a0d8bb43f1302b"},
    {"byte_stream_split.zstd",
     "f32 f64",
     600, "b1cf2501ef9488d829fc96d8db222bc957f3c6859b913d2895d1107e8fd3d8d3"},
    {"concatenated_gzip_members",
     "long_col",
     513, "428d9b11778aabe0ea8e0f7d13c67704d59e817c152f2638a5c39db83524dea5"},
    {"datapage_v1-snappy-compressed-checksum",
     "a b",
     10240, "bd68aeaa3e4e2ebd0ba7c1a04c5bc550d4550a4f694a1dbc1da5e69305fc5df9"},
    {"datapage_v2.snappy",
     "a b c d e",
     22, "569f1d726f9f36bccb0ae6fb89b874a6ebf2c93e0e53b68ea1b45e268954f891"},
    {"delta_byte_array",
     "c_customer_id c_salutation c_first_name c_last_name c_preferred_cust_flag c_birth_country c_login c_email_address c_last_review_date",
     7798, "34b07092ff4e8ae8d8988caced3b395a17175a897b12e05baed733a3868c1ba6"},
    {"delta_length_byte_array",
     "FRUIT",
     1000, "f0ab0252a573936e8055a0b73d08cc151098671365ffc5ccbfb7907ab165163d"},
    {"dict-page-offset-zero",
     "l_partkey",
     39, "6e8d9f3a0383df7b38ea3fc0c0cdca489c20c3c1fafaf2f8d700ae527a3b45f0"},
    {"list_columns",
     "int64_list utf8_list",
     5, "4d54a8527d7c6225374c8d4767b555ab3bbceb354dadf179097017604c85a1d7"},
    {"lz4_raw_compressed",
     "c0 c1 v11",
     12, "50e8636216d7ea550041c984b9489d0eb35a21a31f3d1067481bb0b6264f10fd"},
    {"nested_lists.snappy",
     "a b",
     6, "03c86a4fce7a0965ddf5f40b85f578cfab15cf367ce943eff097875318314c17"},
    {"null_list",
     "emptylist",
     1, "2cddaf313baa388e490056c2a6ce8e137aa4adb167673c1225594277dea72aa8"},
    {"nulls.snappy",
     "b_struct",
     8, "386b502c5b578d7a33a368091f65bb621b5d97e7c58854cfccb4057a9d400992"},
    {"old_list_structure",
     "a",
     1, "dce57515bb00da0d5d112a6423bdfe353f361825b9b2cdd3ebf81cc72f0422e6"},
    {"plain-dict-uncompressed-checksum",
     "long_field binary_field",
     2000, "f60f70181cde646c19765bae11414208025422df6f5d7349916709def5ffea64"},
    {"repeated_primitive_no_list",
     "Int32_list String_list group_of_lists",
     12, "ce849dd1a8802c2518043ac3c4c6dbe6673e5d982326ab0072eb92e0ebcadc41"},
    {"rle-dict-snappy-checksum",
     "long_field binary_field",
     2000, "06671ddec4404061adf16958dc5d7ccad0ad997dd014c6603d6bd70355e895aa"},
    {"rle_boolean_encoding",
     "datatype_boolean",
     62, "208c093f2f58bc2491008ab17ec92f9dda70dc469c14208442d9f560110a3977"},
};

static void test_conformance(void)
{
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char file[1024], name[128], hex[SD_SHA256_HEX], fields[256];
        uint64_t bytes, count, total = 0;
        sd_sha256 sha;

        snprintf(name, sizeof name, "conformance/%s.parquet", files[i].name);
        data_path(file, name);
        snprintf(fields, sizeof fields, "%s", files[i].fields);
        sd_sha256_begin(&sha);
        for (char *at = strtok(fields, " "); at != NULL; at = strtok(NULL, " ")) {
            CHECK_OK(read_column(file, at, &sha, &bytes, &count));
            total += count;
        }
        sd_sha256_end(&sha, hex);
        if (total != files[i].documents || strcmp(hex, files[i].sha256) != 0)
            fprintf(stderr, "%s: %llu documents, %s\n", files[i].name, (unsigned long long)total, hex);
        CHECK(total == files[i].documents && strcmp(hex, files[i].sha256) == 0);
    }
}

/* A column of strings and the same column in a CSV file published with it. */
static void test_against_csv(void)
{
    static const char *const columns[] = {"c_customer_id", "c_salutation", "c_first_name", "c_last_name", "c_preferred_cust_flag",
                                          "c_birth_country", "c_login", "c_email_address", "c_last_review_date"};
    char file[1024], csv[1024];
    const char *paths[2] = {file, csv};

    data_path(file, "conformance/delta_byte_array.parquet");
    data_path(csv, "conformance/delta_byte_array_expect.csv");
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        sd_dataset *d[2] = {NULL, NULL};
        bool end = false;
        uint64_t count = 0;
        bool other = false;

        for (int k = 0; k < 2; k++)
            CHECK_OK(sd_dataset_open(&d[k], &(sd_dataset_spec){.paths = &paths[k], .n_paths = 1, .format = "auto", .field = columns[i]}));
        while (d[0] != NULL && d[1] != NULL && !end) {
            sd_document a, b;

            if (sd_dataset_next(d[0], &a, &end) != SD_OK || sd_dataset_next(d[1], &b, &other) != SD_OK || end != other) {
                CHECK(end == other); /* an error shows in the count below */
                break;
            }
            CHECK(end || (a.row == b.row && a.length == b.length && memcmp(a.text, b.text, a.length) == 0));
            count += !end;
        }
        CHECK(end && other && (i == 6 ? count == 0 : count > 900));
        sd_dataset_close(&d[0]);
        sd_dataset_close(&d[1]);
    }
}

static void test_damaged_files(void)
{
    static const char *const names[] = {"damaged/PARQUET-1481.parquet", "damaged/ARROW-RS-GH-6229-DICTHEADER.parquet"};
    uint64_t bytes, count;
    char file[1024];

    for (size_t i = 0; i < 2; i++) {
        data_path(file, names[i]);
        CHECK_FAILS(read_column(file, i == 0 ? "x" : "name", NULL, &bytes, &count), SD_E_DATA, "the footer is damaged");
    }
}

/* The length of each value as u32, little-endian, and its bytes. */
static void add_value(sd_sha256 *sha, const char *text, size_t length)
{
    uint8_t little[4];

    for (int i = 0; i < 4; i++)
        little[i] = (uint8_t)(length >> 8 * i);
    sd_sha256_add(sha, little, 4);
    sd_sha256_add(sha, text, length);
}

static void test_instructions(void)
{
    char file[1024], expected[1024], hex[SD_SHA256_HEX];
    const char *paths[1] = {file}, *want;
    sd_json *json = NULL;

    data_path(file, "ifbench/test-00000-of-00001.parquet");
    data_path(expected, "ifbench/expected.json");
    CHECK_OK(sd_json_open(&json, expected, 1 << 20));
    for (int messages = 0; messages < 2 && json != NULL; messages++) {
        const cJSON *about = cJSON_GetObjectItem(json->root, messages ? "messages" : "prompt");
        uint64_t values = 0, bytes = 0, users = 0;
        sd_dataset *d = NULL;
        sd_document doc;
        bool end = false;
        sd_sha256 sha;

        sd_sha256_begin(&sha);
        CHECK_OK(sd_dataset_open(&d, &(sd_dataset_spec){.paths = paths, .n_paths = 1, .format = "auto", .field = messages ? "messages" : "prompt"}));
        while (d != NULL && sd_dataset_next(d, &doc, &end) == SD_OK && !end) {
            sd_json *list = NULL;
            const cJSON *message;

            if (!messages) {
                add_value(&sha, doc.text, doc.length);
                bytes += doc.length;
                values++;
                continue;
            }
            CHECK_OK(sd_json_parse(&list, "messages", doc.text, doc.length));
            for (message = list != NULL ? list->root->child : NULL; message != NULL; message = message->next) {
                const char *content = cJSON_GetStringValue(cJSON_GetObjectItem(message, "content"));

                CHECK(content != NULL);
                add_value(&sha, content, strlen(content));
                bytes += strlen(content);
                users += strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(message, "role")), "user") == 0;
                values++;
            }
            sd_json_close(&list);
        }
        CHECK(end);
        sd_dataset_close(&d);
        sd_sha256_end(&sha, hex);
        want = cJSON_GetStringValue(cJSON_GetObjectItem(about, messages ? "sha256_of_length_prefixed_content" : "sha256_of_length_prefixed_values"));
        CHECK(want != NULL && strcmp(hex, want) == 0);
        CHECK((double)values == cJSON_GetNumberValue(cJSON_GetObjectItem(about, messages ? "total" : "values")));
        CHECK((double)bytes == cJSON_GetNumberValue(cJSON_GetObjectItem(about, messages ? "content_utf8_bytes" : "utf8_bytes")));
        CHECK(!messages || (double)users == cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetObjectItem(about, "roles"), "user")));
    }
    sd_json_close(&json);
}

static char data[1024];

static void begin(void)
{
    test_folder(folder);
    snprintf(path, sizeof path, "%s/made.parquet", folder);
    if (getenv("SAEDIFF_DATA") != NULL)
        data_path(data, "ifbench/expected.json");
}

static void need_data(void)
{
    if (!sd_file_exists(data))
        test_skip("no test data at SAEDIFF_DATA");
}

static void test_data_conformance(void)
{
    need_data();
    test_conformance();
}

static void test_data_against_csv(void)
{
    need_data();
    test_against_csv();
}

static void test_data_damaged(void)
{
    need_data();
    test_damaged_files();
}

static void test_data_instructions(void)
{
    need_data();
    test_instructions();
}

static const test_case tests[] = {
    TEST(test_examples_of_the_format),
    TEST(test_refusals),
    TEST(test_damage),
    TEST(test_data_conformance),
    TEST(test_data_against_csv),
    TEST(test_data_damaged),
    TEST(test_data_instructions),
};

TEST_MAIN(tests, begin, NULL)

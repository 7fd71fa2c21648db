#include "saediff/text/dataset.h"

#include <sys/resource.h>
#include <zlib.h>
#include <zstd.h>

#include "check.h"
#include "text/tiny.h"

/* AddressSanitizer reserves its own memory, which no limit may restrict. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static char folder[64];

static sd_dataset_spec spec_of(const char *format)
{
    return (sd_dataset_spec){.format = format, .field = "text"};
}

/* Output of a dataset: documents "a|b|c", their rows, number dropped. */
static struct {
    char joined[4096];
    uint64_t rows[64], count, dropped;
} got;

static sd_status drain(const sd_dataset_spec *spec)
{
    sd_dataset *d = NULL;
    sd_document doc;
    bool end = false;
    sd_status st = sd_dataset_open(&d, spec);

    memset(&got, 0, sizeof got);
    CHECK((st == SD_OK) == (d != NULL));
    while (st == SD_OK) {
        st = sd_dataset_next(d, &doc, &end);
        if (st != SD_OK || end)
            break;
        CHECK(strlen(got.joined) + doc.length + 2 < sizeof got.joined && got.count < 64);
        strcat(got.joined, got.count > 0 ? "|" : "");
        strncat(got.joined, doc.text, doc.length);
        got.rows[got.count++] = doc.row;
    }
    if (d != NULL)
        got.dropped = sd_dataset_dropped(d);
    sd_dataset_close(&d);
    return st;
}

/* Writes a file `name` with these bytes and reads it as `spec` says. */
static sd_status read_bytes(sd_dataset_spec spec, const char *name, const void *bytes, size_t size)
{
    char path[1024];
    const char *paths[1] = {path};
    sd_status st;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    write_text(path, bytes, size);
    spec.paths = paths;
    spec.n_paths = 1;
    st = drain(&spec);
    CHECK(remove(path) == 0);
    return st;
}

static sd_status read_as(sd_dataset_spec spec, const char *name, const char *text)
{
    return read_bytes(spec, name, text, strlen(text));
}

static void check_documents(const char *want, const uint64_t *rows, uint64_t dropped)
{
    if (strcmp(got.joined, want) != 0)
        fprintf(stderr, "got '%s' for '%s'\n", got.joined, want);
    CHECK(strcmp(got.joined, want) == 0);
    for (uint64_t i = 0; rows != NULL && i < got.count; i++)
        CHECK(got.rows[i] == rows[i]);
    CHECK(got.dropped == dropped);
}

static void test_json_list(void)
{
    sd_dataset_spec spec = spec_of("auto");

    CHECK_OK(read_as(spec, "a.json", "\xEF\xBB\xBF[\"one\",{\"text\":\"tw\\u00f6\"},\"\",{\"id\":3,\"text\":\"four\"}]"));
    check_documents("one|tw\xC3\xB6|four", (uint64_t[]){0, 1, 3}, 1);
    CHECK_OK(read_as(spec, "a.json", "[]"));
    check_documents("", NULL, 0);
    CHECK_FAILS(read_as(spec, "a.json", "[\"one\",\n 7]"), SD_E_DATA, "a.json:2:2: entry 1 is neither");
    CHECK_FAILS(read_as(spec, "a.json", "[{\"body\":\"x\",\"id\":1}]"), SD_E_DATA,
                "none of the 1 records has a member 'text' for the text; the first has: body, id");
    CHECK_OK(read_as(spec, "a.json", "[{\"text\":null},{\"x\":1}]"));
    check_documents("", NULL, 2);
    CHECK_FAILS(read_as(spec, "a.json", "{\"text\":\"x\"}"), SD_E_DATA, "expected a list");
    CHECK_FAILS(read_as(spec, "a.json", "[\"one\""), SD_E_DATA, "a.json:1:");
    CHECK_FAILS(read_as(spec, "a.json", ""), SD_E_DATA, "a.json");
    spec.field = "body";
    CHECK_OK(read_as(spec, "a.json", "[{\"body\":\"x\",\"text\":\"y\"}]"));
    check_documents("x", (uint64_t[]){0}, 0);
}

static void test_json_lines(void)
{
    sd_dataset_spec spec = spec_of("auto");

    CHECK_OK(read_as(spec, "a.jsonl", "\"one\"\r\n\r\n{\"text\":\"two\"}\n  \n\"three\""));
    check_documents("one|two|three", (uint64_t[]){0, 1, 2}, 0);
    CHECK_OK(read_as(spec, "a.ndjson", "\"one\"\n"));
    check_documents("one", (uint64_t[]){0}, 0);
    CHECK_FAILS(read_as(spec, "a.jsonl", "\"one\"\n\n{\"text\": tru}\n"), SD_E_DATA, "a.jsonl:3:");
    CHECK_FAILS(read_as(spec, "a.jsonl", "\"one\"\n{\"texts\":\"two\"}\n"), SD_E_DATA, "a member 'text'");
    CHECK_FAILS(read_as(spec, "a.jsonl", "\"one\"\n[1]\n"), SD_E_DATA, "record 1 is neither");
    CHECK_OK(read_as(spec, "a.jsonl", ""));
    check_documents("", NULL, 0);
}

static void test_plain_text(void)
{
    sd_dataset_spec spec = spec_of("auto");

    CHECK_OK(read_as(spec, "a.txt", "\xEF\xBB\xBFone\r\ntwo\n"));
    check_documents("one\r\ntwo\n", (uint64_t[]){0}, 0);
    CHECK_OK(read_as(spec, "a.txt", ""));
    check_documents("", NULL, 1);
    CHECK_FAILS(read_as(spec, "a.txt", "one\ntw\xFF"), SD_E_DATA, "a.txt:2: not UTF-8: byte 0xff at offset 6");
    spec.format = "xml";
    CHECK_FAILS(read_as(spec, "a.txt", "one"), SD_E_USAGE, "format 'xml'");
}

static void test_separators(void)
{
    static const struct {
        const char *separator, *text, *want;
        uint64_t rows[4], dropped;
    } c[] = {{"\n", "one\r\n\ntwo\nthree", "one|two|three", {0, 2, 3}, 1},
             {"\n", "one\n", "one", {0}, 0},
             {"---", "one\nmore\n---\ntwo\r\n---\r\nthree\n", "one\nmore|two|three", {0, 1, 2}, 0},
             {"---", "---\none\n---\n---\ntwo --- \n---", "one|two --- ", {1, 3}, 2},
             {"", "\n\none\nmore\n\n\r\n\ntwo\n\n", "one\nmore|two", {0, 1}, 0},
             {"\n\n", "one\n\ntwo", "one|two", {0, 1}, 0}};
    sd_dataset_spec spec = spec_of("text");

    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        spec.separator = c[i].separator;
        CHECK_OK(read_as(spec, "a.txt", c[i].text));
        check_documents(c[i].want, c[i].rows, c[i].dropped);
    }
    spec.separator = "a\nb";
    CHECK_FAILS(read_as(spec, "a.txt", "one"), SD_E_USAGE, "line break");
}

/* min_chars applies first, then skip, then limit; the rows remain those of the file. */
static void test_skip_limit_and_min_chars(void)
{
    sd_dataset_spec spec = spec_of("auto");
    const char *text = "[\"a\",\"long1\",\"\",\"long2\",\"b\",\"long3\",\"long4\"]";

    spec.min_chars = 3;
    spec.skip = 1;
    spec.limit = 2;
    CHECK_OK(read_as(spec, "a.json", text));
    check_documents("long2|long3", (uint64_t[]){3, 5}, 3);
    spec.skip = 9;
    CHECK_OK(read_as(spec, "a.json", text));
    check_documents("", NULL, 3);
    spec = spec_of("jsonl");
    spec.limit = 1;
    CHECK_OK(read_as(spec, "a.txt", "\"one\"\nnever read"));
    check_documents("one", (uint64_t[]){0}, 0);
}

static void test_values_and_paths(void)
{
    sd_dataset_spec spec = spec_of("jsonl");
    const char *text = "{\"id\":7,\"m\":[{\"v\":\"a\"},{\"v\":[1, 2.5,null]}],"
                       "\"x.y\":\"dot\",\"x\":{\"y\":\"deep\",\"z\":\"zed\"}}\n{\"id\":8}\n";
    static const struct {
        const char *field, *want;
    } c[] = {{"id", "7|8"},
             {"m.0.v", "a"},
             {"m.1", "{\"v\":[1,2.5,null]}"},
             {"m", "[{\"v\":\"a\"},{\"v\":[1,2.5,null]}]"},
             {"x.y", "dot"},
             {"x.z", "zed"},
             {"{x.z}-{x.y}", "zed-dot"},
             {"{id}: {m.1.v.0}{{{x.z}}}", "7: 1{zed}|8: {}"}};

    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        spec.field = c[i].field;
        CHECK_OK(read_as(spec, "a", text));
        CHECK(strcmp(got.joined, c[i].want) == 0);
    }
    spec.field = "m.9.v";
    CHECK_FAILS(read_as(spec, "a", text), SD_E_DATA, "'m.9.v' for the text; the first has: id, m, x.y, x;");
    spec.field = "{id}{no}";
    CHECK_FAILS(read_as(spec, "a", text), SD_E_DATA, "a member 'no'");
    spec.limit = 1;
    CHECK_FAILS(read_as(spec, "a", text), SD_E_DATA, "a member 'no'");
    spec.limit = 0;
    for (const char *const *bad = (const char *const[]){"{", "a}", "{}", "{a{b}}", "{{}", NULL}; *bad != NULL; bad++) {
        spec.field = *bad;
        CHECK_FAILS(read_as(spec, "a", text), SD_E_USAGE, "brace");
    }
}

/* The extent of an entry is found before it is parsed; errors give the position in the file. */
static void test_json_positions(void)
{
    sd_dataset_spec spec = spec_of("json");

    CHECK_OK(read_as(spec, "a", " [ {\"text\":\"]},{\\\"\\\\\"} ,\"b\\u005d\"\n] \n"));
    check_documents("]},{\"\\|b]", (uint64_t[]){0, 1}, 0);
    CHECK_FAILS(read_as(spec, "a", "[\"x\",\n  {\"text\": \"y\", \"z\": tru}]"), SD_E_DATA, "a:2:22: ");
    CHECK_FAILS(read_as(spec, "a", "[\"x\",\n  {\"text\": \"y\",\n \"z\": tru}]"), SD_E_DATA, "a:3:7: ");
    CHECK_FAILS(read_as(spec, "a", "[\"x\" \"y\"]"), SD_E_DATA, "a:1:6: expected ',' or ']'");
    CHECK_FAILS(read_as(spec, "a", "[\"x\",]"), SD_E_DATA, "a:1:6: ");
    CHECK_FAILS(read_as(spec, "a", "[\"x\"] 1"), SD_E_DATA, "a:1:7: unexpected text after the end of the list");
    CHECK_FAILS(read_as(spec, "a", "[\"x\","), SD_E_DATA, "ends inside the list");
    CHECK_FAILS(read_as(spec, "a", "[[1,2]]"), SD_E_DATA, "entry 0 is neither");
}

static void test_separated_values(void)
{
    sd_dataset_spec spec = spec_of("auto");
    const char *text = "id,text\r\n1,\"a \"\"b\"\", c\r\nd\"\r\n\r\n2,plain \"q\"\n3,\n4,last";

    CHECK_OK(read_as(spec, "a.csv", text));
    check_documents("a \"b\", c\r\nd|plain \"q\"|last", (uint64_t[]){0, 1, 3}, 1);
    CHECK_OK(read_as(spec, "a.tsv", "text\tn\na,b\t1\n\"x\ty\"\t2\n"));
    check_documents("a,b|x\ty", (uint64_t[]){0, 1}, 0);
    CHECK_OK(read_as(spec, "a.csv", "\xEF\xBB\xBFtext\none\n\ntwo\n"));
    check_documents("one|two", (uint64_t[]){0, 2}, 1);
    CHECK_OK(read_as(spec, "a.csv", ""));
    check_documents("", NULL, 0);
    spec.field = "{id}={text}";
    CHECK_OK(read_as(spec, "a.csv", "id,text\n1,x\n"));
    check_documents("1=x", NULL, 0);
    spec.field = "text";
    CHECK_FAILS(read_as(spec, "a.csv", "id,text\n1,a\n2,b,c\n"), SD_E_DATA, "a.csv:3: the record that begins here has 3 values");
    CHECK_FAILS(read_as(spec, "a.csv", "id,text\n1,\"a\nb\n"), SD_E_DATA, "a.csv:2: the record that begins here has an unclosed quote");
    CHECK_FAILS(read_as(spec, "a.csv", "id,text\n1,\"a\"b\n"), SD_E_DATA, "text after a closing quote");
    CHECK_FAILS(read_as(spec, "a.csv", "id,body\n1,a\n"), SD_E_DATA, "the first has: id, body");
    CHECK_FAILS(read_as(spec, "a.csv", "text\ncaf\xE9\n"), SD_E_DATA, "a.csv:2: record 0 is not UTF-8: byte 0xe9");
    CHECK_FAILS(read_bytes(spec, "a.csv", "text\na\0b\n", 9), SD_E_DATA, "NUL");
}

static size_t pack_gzip(const char *text, size_t length, unsigned char *out, size_t capacity)
{
    z_stream z = {0};

    CHECK(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    z.next_in = (Bytef *)(uintptr_t)text;
    z.avail_in = (uInt)length;
    z.next_out = out;
    z.avail_out = (uInt)capacity;
    CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
    deflateEnd(&z);
    return capacity - z.avail_out;
}

/* Two members or frames, split inside a record; then every truncation and every flipped bit: the same documents, or an error. */
static void test_packed(void)
{
    static const char first[] = "{\"text\":\"one\"}\n{\"te", second[] = "xt\":\"two\"}\n\"three\"\n";
    unsigned char packed[2][512];
    size_t size[2];
    sd_dataset_spec spec = spec_of("auto");
    static const char *const name[] = {"a.jsonl.gz", "a.jsonl.zst"};

    size[0] = pack_gzip(first, strlen(first), packed[0], 256);
    size[0] += pack_gzip(second, strlen(second), packed[0] + size[0], 256);
    size[1] = ZSTD_compress(packed[1], 256, first, strlen(first), 3);
    size[1] += ZSTD_compress(packed[1] + size[1], 256, second, strlen(second), 3);
    for (int form = 0; form < 2; form++) {
        CHECK_OK(read_bytes(spec, name[form], packed[form], size[form]));
        check_documents("one|two|three", (uint64_t[]){0, 1, 2}, 0);
        for (size_t cut = 4; cut < size[form]; cut++) {
            sd_status st = read_bytes(spec, name[form], packed[form], cut);

            CHECK(st == SD_E_DATA);
        }
        for (size_t bit = 32; bit < 8 * size[form]; bit++) {
            sd_status st;

            packed[form][bit / 8] ^= (unsigned char)(1u << bit % 8);
            st = read_bytes(spec, name[form], packed[form], size[form]);
            CHECK(st == SD_E_DATA || st == SD_OK);
            packed[form][bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
        CHECK_FAILS(read_bytes(spec, name[form], packed[form], size[form] - 1), SD_E_DATA,
                    form == 0 ? "inside a member" : "inside a frame");
    }
    /* Detected by the first bytes, whatever the name. */
    CHECK_OK(read_bytes(spec, "a.jsonl", packed[0], size[0]));
    check_documents("one|two|three", NULL, 0);
}

static void test_several_files(void)
{
    static const char *const names[] = {"b10.txt", "b2.txt", "b[1].txt", "c.jsonl"};
    static const char *const texts[] = {"ten\n", "two\nzwei\n", "odd\n", "\"c\"\n"};
    char path[4][1024], pattern[1024];
    const char *paths[3];
    sd_dataset_spec spec = spec_of("auto");

    for (int i = 0; i < 4; i++)
        write_in(folder, names[i], texts[i], path[i]);
    spec.separator = "\n";
    spec.paths = paths;
    spec.n_paths = 3;
    snprintf(pattern, sizeof pattern, "%s/b[0-9]*.t?t", folder);
    paths[0] = path[3];
    paths[1] = pattern;
    paths[2] = path[2];
    CHECK_OK(drain(&spec));
    check_documents("c|ten|two|zwei|odd", (uint64_t[]){0, 1, 2, 3, 4}, 0);
    spec.skip = 2;
    spec.limit = 2;
    CHECK_OK(drain(&spec));
    check_documents("two|zwei", (uint64_t[]){2, 3}, 0);
    snprintf(pattern, sizeof pattern, "%s/z*", folder);
    CHECK_FAILS(drain(&spec), SD_E_DATA, "no file matches");
    spec.n_paths = 0;
    CHECK_FAILS(drain(&spec), SD_E_USAGE, "needs at least one file");
    for (int i = 0; i < 4; i++)
        CHECK(remove(path[i]) == 0);
}

/* A permutation of the kept documents; another seed gives another; skip and limit are positions in it. */
static void test_shuffle(void)
{
    enum { LINES = 40 };
    char text[LINES * 8] = "", line[8];
    uint64_t order[LINES] = {0};
    bool seen[LINES] = {false};
    uint64_t moved = 0, differ = 0;
    sd_dataset_spec spec = spec_of("text");

    for (int i = 0; i < LINES; i++)
        strcat(text, (snprintf(line, sizeof line, i % 4 == 3 ? "x\n" : "l%d\n", i), line));
    spec.separator = "\n";
    spec.min_chars = 2;
    spec.shuffle = true;
    spec.seed = 5;
    CHECK_OK(read_as(spec, "a", text));
    CHECK(got.count == LINES * 3 / 4 && got.dropped == LINES / 4);
    for (uint64_t i = 0; i < got.count; i++) {
        CHECK(got.rows[i] < LINES && got.rows[i] % 4 != 3 && !seen[got.rows[i]]);
        seen[got.rows[i] % LINES] = true;
        order[i] = got.rows[i];
        moved += i > 0 && got.rows[i] < got.rows[i - 1];
    }
    CHECK(moved > 3);
    spec.skip = 3;
    spec.limit = 4;
    CHECK_OK(read_as(spec, "a", text));
    CHECK(got.count == 4 && memcmp(got.rows, order + 3, 4 * sizeof *order) == 0);
    spec.skip = UINT64_MAX;
    CHECK_OK(read_as(spec, "a", text));
    CHECK(got.count == 0);
    spec.skip = spec.limit = 0;
    spec.seed = 6;
    CHECK_OK(read_as(spec, "a", text));
    for (uint64_t i = 0; i < got.count; i++)
        differ += got.rows[i] != order[i];
    CHECK(differ > 3);
}

/* 200 MB of records from a small file, in an address space too small to hold them. */
static void test_streams(void)
{
    enum { LINES = 200000, LENGTH = 1000 };
    static char line[LENGTH + 16];
    char path[1024], packed_path[1040];
    const char *paths[1] = {packed_path};
    struct rlimit keep, few;
    sd_dataset_spec spec = spec_of("jsonl");
    sd_dataset *d = NULL;
    sd_document doc;
    uint64_t count = 0;
    bool end = false;
    gzFile file;

    snprintf(path, sizeof path, "%s/large", folder);
    snprintf(packed_path, sizeof packed_path, "%s.gz", path);
    file = gzopen(packed_path, "wb1");
    memset(line, 'x', sizeof line);
    memcpy(line, "{\"text\":\"", 9);
    memcpy(line + LENGTH, "\"}\n", 3);
    for (int i = 0; i < LINES; i++)
        CHECK(gzwrite(file, line, LENGTH + 3) == LENGTH + 3);
    CHECK(gzclose(file) == Z_OK);
    spec.paths = paths;
    spec.n_paths = 1;
    CHECK(getrlimit(RLIMIT_DATA, &keep) == 0);
    few = keep;
    few.rlim_cur = (rlim_t)64 << 20;
    CHECK(SANITIZED || setrlimit(RLIMIT_DATA, &few) == 0);
    CHECK_OK(sd_dataset_open(&d, &spec));
    while (d != NULL && !end) {
        sd_status st = sd_dataset_next(d, &doc, &end);

        CHECK_OK(st);
        if (st != SD_OK)
            break;
        count += !end && doc.length == LENGTH - 9;
    }
    CHECK(count == LINES);
    sd_dataset_close(&d);
    CHECK(setrlimit(RLIMIT_DATA, &keep) == 0);
    CHECK(remove(packed_path) == 0);
}

static void begin(void)
{
    test_folder(folder);
}

static void test_missing_file(void)
{
    sd_dataset *d = NULL;
    const char *missing = "/nonexistent/x.json";

    CHECK(sd_dataset_open(&d, &(sd_dataset_spec){.paths = &missing, .n_paths = 1, .format = "auto"}) != SD_OK);
    CHECK(strstr(sd_last_error(), missing) != NULL);
}

/* Every function removed its own files, and nothing else was left. */
static void end(void)
{
    CHECK(rmdir(folder) == 0);
}

static const test_case tests[] = {
    TEST(test_json_list),
    TEST(test_json_lines),
    TEST(test_plain_text),
    TEST(test_separators),
    TEST(test_skip_limit_and_min_chars),
    TEST(test_values_and_paths),
    TEST(test_json_positions),
    TEST(test_separated_values),
    TEST(test_packed),
    TEST(test_several_files),
    TEST(test_shuffle),
    TEST(test_streams),
    TEST(test_missing_file),
};

TEST_MAIN(tests, begin, end)

#include "saediff/text/dataset.h"

#include "check.h"
#include "text/tiny.h"

static char folder[64];

static sd_dataset_spec spec_of(const char *path, const char *format)
{
    return (sd_dataset_spec){.path = path, .format = format, .field = "text"};
}

static sd_status open_as(sd_dataset **d, sd_dataset_spec spec, const char *name, const char *text)
{
    static char path[1024];

    write_in(folder, name, text, path);
    spec.path = path;
    {
        sd_status st = sd_dataset_open(d, &spec);

        CHECK((st == SD_OK) == (*d != NULL));
        CHECK(remove(path) == 0);
        return st;
    }
}

/* Documents "a|b|c" with the rows, and so many dropped. */
static void check_documents(sd_dataset **d, const char *want, const uint64_t *rows, uint64_t dropped)
{
    char joined[256] = "";

    CHECK(*d != NULL);
    if (*d == NULL)
        return;
    for (uint64_t i = 0; i < sd_dataset_count(*d); i++) {
        sd_document doc = sd_dataset_at(*d, i);

        strcat(joined, i ? "|" : "");
        strncat(joined, doc.text, doc.length);
        CHECK(doc.row == rows[i]);
    }
    if (strcmp(joined, want) != 0)
        fprintf(stderr, "got '%s' for '%s'\n", joined, want);
    CHECK(strcmp(joined, want) == 0);
    CHECK(sd_dataset_dropped(*d) == dropped);
    sd_dataset_close(d);
}

static void test_json_list(void)
{
    sd_dataset *d = NULL;
    sd_dataset_spec spec = spec_of(NULL, "auto");

    CHECK_OK(open_as(&d, spec, "a.json", "\xEF\xBB\xBF[\"one\",{\"text\":\"tw\\u00f6\"},\"\",{\"id\":3,\"text\":\"four\"}]"));
    check_documents(&d, "one|tw\xC3\xB6|four", (uint64_t[]){0, 1, 3}, 1);
    CHECK_OK(open_as(&d, spec, "a.json", "[]"));
    check_documents(&d, "", NULL, 0);
    CHECK_FAILS(open_as(&d, spec, "a.json", "[\"one\",\n 7]"), SD_E_DATA, "a.json:2:2: entry 1 is neither");
    CHECK_FAILS(open_as(&d, spec, "a.json", "[{\"body\":\"x\",\"id\":1}]"), SD_E_DATA,
                "entry 0 has no member 'text' to take the text from; it has: body, id");
    CHECK_FAILS(open_as(&d, spec, "a.json", "[{\"text\":null}]"), SD_E_DATA, "not a string");
    CHECK_FAILS(open_as(&d, spec, "a.json", "{\"text\":\"x\"}"), SD_E_DATA, "expected a list");
    CHECK_FAILS(open_as(&d, spec, "a.json", "[\"one\""), SD_E_DATA, "a.json:1:");
    CHECK_FAILS(open_as(&d, spec, "a.json", ""), SD_E_DATA, "a.json");
    spec.field = "body";
    CHECK_OK(open_as(&d, spec, "a.json", "[{\"body\":\"x\",\"text\":\"y\"}]"));
    check_documents(&d, "x", (uint64_t[]){0}, 0);
}

static void test_json_lines(void)
{
    sd_dataset *d = NULL;
    sd_dataset_spec spec = spec_of(NULL, "auto");

    CHECK_OK(open_as(&d, spec, "a.jsonl", "\"one\"\r\n\r\n{\"text\":\"two\"}\n  \n\"three\""));
    check_documents(&d, "one|two|three", (uint64_t[]){0, 1, 2}, 0);
    CHECK_OK(open_as(&d, spec, "a.ndjson", "\"one\"\n"));
    check_documents(&d, "one", (uint64_t[]){0}, 0);
    CHECK_FAILS(open_as(&d, spec, "a.jsonl", "\"one\"\n\n{\"text\": tru}\n"), SD_E_DATA, "a.jsonl:3:");
    CHECK_FAILS(open_as(&d, spec, "a.jsonl", "\"one\"\n{\"texts\":\"two\"}\n"), SD_E_DATA, "a.jsonl:2:");
    CHECK_FAILS(open_as(&d, spec, "a.jsonl", "\"one\"\n[1]\n"), SD_E_DATA, "record 1 is neither");
    CHECK_OK(open_as(&d, spec, "a.jsonl", ""));
    check_documents(&d, "", NULL, 0);
}

static void test_plain_text(void)
{
    sd_dataset *d = NULL;
    sd_dataset_spec spec = spec_of(NULL, "auto");

    CHECK_OK(open_as(&d, spec, "a.txt", "\xEF\xBB\xBFone\r\ntwo\n"));
    check_documents(&d, "one\r\ntwo\n", (uint64_t[]){0}, 0);
    CHECK_OK(open_as(&d, spec, "a.txt", ""));
    check_documents(&d, "", NULL, 1);
    CHECK_FAILS(open_as(&d, spec, "a.txt", "one\ntw\xFF"), SD_E_DATA, "a.txt:2: not UTF-8: byte 0xff at offset 6");
    spec.format = "xml";
    CHECK_FAILS(open_as(&d, spec, "a.txt", "one"), SD_E_USAGE, "format 'xml'");
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
    sd_dataset *d = NULL;
    sd_dataset_spec spec = spec_of(NULL, "text");

    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        spec.separator = c[i].separator;
        CHECK_OK(open_as(&d, spec, "a.txt", c[i].text));
        check_documents(&d, c[i].want, c[i].rows, c[i].dropped);
    }
    spec.separator = "a\nb";
    CHECK_FAILS(open_as(&d, spec, "a.txt", "one"), SD_E_USAGE, "line break");
}

/* min_chars comes first, then skip, then limit; the rows stay those of the file. */
static void test_skip_limit_and_least_length(void)
{
    sd_dataset *d = NULL;
    sd_dataset_spec spec = spec_of(NULL, "auto");
    const char *text = "[\"a\",\"long1\",\"\",\"long2\",\"b\",\"long3\",\"long4\"]";

    spec.min_chars = 3;
    spec.skip = 1;
    spec.limit = 2;
    CHECK_OK(open_as(&d, spec, "a.json", text));
    check_documents(&d, "long2|long3", (uint64_t[]){3, 5}, 3);
    spec.skip = 9;
    CHECK_OK(open_as(&d, spec, "a.json", text));
    check_documents(&d, "", NULL, 3);
    spec = spec_of(NULL, "jsonl");
    spec.limit = 1;
    CHECK_OK(open_as(&d, spec, "a.txt", "\"one\"\nnever read"));
    check_documents(&d, "one", (uint64_t[]){0}, 0);
}

static void test_many_documents(void)
{
    enum { LINES = 3000 };
    static char text[LINES * 12];
    size_t at = 0;
    sd_dataset *d = NULL;
    sd_dataset_spec spec = spec_of(NULL, "jsonl");

    for (int i = 0; i < LINES; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "\"line %d\"\n", i);
    CHECK_OK(open_as(&d, spec, "a.jsonl", text));
    CHECK(d != NULL && sd_dataset_count(d) == LINES);
    for (int i = 0; d != NULL && i < LINES; i++) {
        sd_document doc = sd_dataset_at(d, (uint64_t)i);
        char want[32];

        snprintf(want, sizeof want, "line %d", i);
        CHECK(doc.length == strlen(want) && memcmp(doc.text, want, doc.length) == 0 && doc.row == (uint64_t)i);
    }
    sd_dataset_close(&d);
}

int main(void)
{
    sd_dataset *d = NULL;
    sd_dataset_spec missing = spec_of("/nonexistent/x.json", "auto");

    make_folder(folder);
    test_json_list();
    test_json_lines();
    test_plain_text();
    test_separators();
    test_skip_limit_and_least_length();
    test_many_documents();
    CHECK(sd_dataset_open(&d, &missing) != SD_OK && strstr(sd_last_error(), "/nonexistent/x.json") != NULL);
    CHECK(rmdir(folder) == 0);
    return TEST_RESULT();
}

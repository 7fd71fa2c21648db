/* Labels of documents: from every kind of member, in any order of documents; written and read back; errors. */
#include "saediff/text/labels.h"

#include <stdio.h>
#include <unistd.h>

#include "check.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"

static char folder[TEST_FOLDER];

static const char lines[] = "{\"text\": \"zero\", \"topic\": \"b\", \"tags\": [\"x\", 7, \"x\"], \"meta\": {\"ok\": true}}\n"
                            "{\"text\": \"\", \"topic\": \"dropped\", \"tags\": []}\n"
                            "{\"text\": \"two\", \"topic\": null, \"tags\": \"y\", \"meta\": {\"ok\": false}}\n"
                            "{\"text\": \"three\", \"topic\": \"a\"}\n"
                            "{\"text\": \"four\", \"topic\": \"\", \"tags\": [\"x\"], \"meta\": {\"ok\": true}}\n";

static const char *put(const char *name, const char *text)
{
    static char path[4][128];
    static int next;
    char *at = path[next++ % 4];

    snprintf(at, sizeof path[0], "%s/%s", folder, name);
    CHECK_OK(sd_file_write(at, text, strlen(text)));
    return at;
}

/* Documents with these sources and records, one token each. */
static sd_tokens *make_tokens(const uint32_t *source, const uint64_t *row, uint64_t docs)
{
    sd_tokens *t = NULL;

    CHECK_OK(sd_tokens_create(&t, docs, docs));
    for (uint64_t d = 0; d < docs; d++) {
        t->doc_start[d + 1] = d + 1;
        t->doc_source[d] = source[d];
        t->doc_row[d] = row[d];
    }
    return t;
}

/* "topic=b tags=7 tags=x " of one document. */
static const char *said(const sd_labels *l, uint64_t doc)
{
    static char out[256];

    out[0] = '\0';
    for (uint64_t i = l->doc_start[doc]; i < l->doc_start[doc + 1]; i++)
        snprintf(out + strlen(out), sizeof out - strlen(out), "%s=%s ", l->field[l->of_field[l->doc_value[i]]], l->value[l->doc_value[i]]);
    return out;
}

static void check_labels(const sd_labels *l)
{
    CHECK(l != NULL && l->docs == 5 && l->fields == 3);
    CHECK(strcmp(said(l, 0), "topic=a ") == 0);
    CHECK(strcmp(said(l, 1), "topic=b tags=7 tags=x meta.ok=true ") == 0);
    CHECK(strcmp(said(l, 2), "") == 0); /* of the second entry, whose record lacks the member */
    CHECK(strcmp(said(l, 3), "tags=x meta.ok=true ") == 0);
    CHECK(strcmp(said(l, 4), "tags=y meta.ok=false ") == 0);
}

static void test_found(void)
{
    const char *path = put("a.jsonl", lines), *other = put("b.csv", "text,topic\nfive,c\nsix,\n");
    const char *const names[] = {"topic", "tags", "meta.ok"};
    const sd_labels_entry entries[] = {{"a", &path, 1, "auto", names, 3}, {"b", &other, 1, "auto", names, 1}};
    sd_tokens *tokens = make_tokens((const uint32_t[]){0, 0, 1, 0, 0}, (const uint64_t[]){3, 0, 1, 4, 2}, 5);
    sd_labels *labels = NULL, *back = NULL;
    char file[128];

    CHECK_OK(sd_labels_find(entries, 2, tokens, &labels));
    check_labels(labels);
    snprintf(file, sizeof file, "%s/labels.h5", folder);
    CHECK_OK(sd_labels_write(labels, file));
    CHECK_OK(sd_labels_read(&back, file));
    check_labels(back);
    labels->doc_value[0] = 99;
    CHECK(sd_labels_write(labels, file) == SD_E_DATA && strstr(sd_last_error(), "document 0 has value 99") != NULL);
    CHECK(unlink(file) == 0);
    sd_labels_destroy(&labels);
    sd_labels_destroy(&back);
    sd_tokens_destroy(&tokens);
}

/* Records after the last document are not read once the label was found. */
static void test_no_further_than_needed(void)
{
    const char *path = put("r.jsonl", "{\"text\": \"t\", \"topic\": \"a\"}\n{\"text\": \"u\", \"topic\": \"b\"}\nbroken\n");
    const char *const names[] = {"topic", "tags"};
    const sd_labels_entry entry = {"it", &path, 1, "auto", names, 1}, other = {"it", &path, 1, "auto", names + 1, 1};
    sd_tokens *tokens = make_tokens((const uint32_t[]){0, 0}, (const uint64_t[]){1, 0}, 2);
    sd_labels *labels = NULL;

    CHECK_OK(sd_labels_find(&entry, 1, tokens, &labels));
    CHECK(labels != NULL && strcmp(said(labels, 1), "topic=a ") == 0 && strcmp(said(labels, 0), "topic=b ") == 0);
    sd_labels_destroy(&labels);
    CHECK(sd_labels_find(&other, 1, tokens, &labels) == SD_E_DATA && strstr(sd_last_error(), "r.jsonl") != NULL);
    CHECK(unlink(path) == 0);
    sd_tokens_destroy(&tokens);
}

static void refuse(const char *file, const char *text, const char *label, const char *words)
{
    const char *path = put(file, text);
    const sd_labels_entry entry = {"it", &path, 1, "auto", &label, 1};
    sd_tokens *tokens = make_tokens((const uint32_t[]){0}, (const uint64_t[]){0}, 1);
    sd_labels *labels = NULL;

    CHECK(sd_labels_find(&entry, 1, tokens, &labels) == SD_E_DATA && labels == NULL);
    if (strstr(sd_last_error(), words) == NULL)
        fprintf(stderr, "%s\n", sd_last_error());
    CHECK(strstr(sd_last_error(), words) != NULL);
    CHECK(strstr(sd_last_error(), "labels of data 'it'") != NULL);
    CHECK(unlink(path) == 0);
    sd_tokens_destroy(&tokens);
}

static void test_refused(void)
{
    char long_one[SD_LABEL_BYTES + 64] = "{\"text\": \"t\", \"topic\": \"";

    refuse("r.jsonl", lines, "domain", "none of the 5 records has a member 'domain' for labels; the first has: text, topic, tags, meta; set the "
                                       "data entry's \"labels\"");
    refuse("r.jsonl", lines, "meta", "'meta' is an object");
    refuse("r.jsonl", "{\"text\": \"t\", \"topic\": [[1]]}\n", "topic", "'topic' is a list of lists");
    refuse("r.json", "[\"plain\"]", "topic", "record 0: a string has no members");
    refuse("r.txt", "plain\n", "topic", "record 0: a string has no members");
    memset(long_one + strlen(long_one), 'x', SD_LABEL_BYTES + 1);
    strcat(long_one, "\"}\n");
    refuse("r.jsonl", long_one, "topic", "has 201 bytes; a label has at most 200");
}

static void test_too_many(void)
{
    sd_str text = {0};

    sd_str_add(&text, "{\"topic\": [0");
    for (int i = 1; i <= SD_LABEL_VALUES; i++)
        sd_str_add(&text, ", %d", i);
    sd_str_add(&text, "]}\n");
    refuse("r.jsonl", text.text, "topic", "'topic' has more than 1000 different values");
    sd_str_free(&text);
}

/* A file with these arrays, for two documents, one field and two values. */
static sd_status read_made(const uint64_t starts[3], const uint32_t *values, uint64_t n_values, const uint32_t fields[2], const char *texts)
{
    const sd_array arrays[] = {{"doc_start", SD_U64, 1, {3}, starts, "1", "starts"},
                               {"doc_value", SD_U32, 1, {n_values}, values, "1", "values"},
                               {"field", SD_U32, 1, {2}, fields, "1", "fields"},
                               {"values", SD_U8, 1, {strlen(texts)}, texts, "1", "texts"}};
    sd_labels *labels = NULL;
    char file[128];
    sd_status st;

    snprintf(file, sizeof file, "%s/made.h5", folder);
    CHECK_OK(sd_bundle_write(file, "saediff.labels", 1, &(sd_attr){.name = "fields", .kind = SD_ATTR_TEXT, .text = "[\"f\"]"}, 1, arrays, 4));
    st = sd_labels_read(&labels, file);
    CHECK((st == SD_OK) == (labels != NULL));
    sd_labels_destroy(&labels);
    CHECK(unlink(file) == 0);
    return st;
}

static void test_inconsistent_files(void)
{
    static const uint64_t starts[] = {0, 1, 3}, late[] = {1, 1, 3}, back[] = {0, 4, 3};
    static const uint32_t values[] = {0, 0, 1}, unknown[] = {0, 1, 2}, falling[] = {0, 1, 0}, fields[] = {0, 0}, none[] = {0, 1};
    static const char texts[] = "[\"a\", \"b\"]";

    CHECK_OK(read_made(starts, values, 3, fields, texts));
    CHECK_FAILS(read_made(starts, values, 2, fields, texts), SD_E_DATA, "do not share 2 values");
    CHECK_FAILS(read_made(late, values, 3, fields, texts), SD_E_DATA, "begin at 1, not at 0");
    CHECK_FAILS(read_made(back, values, 3, fields, texts), SD_E_DATA, "go from 0 to 4");
    CHECK_FAILS(read_made(starts, unknown, 3, fields, texts), SD_E_DATA, "document 1 has value 2");
    CHECK_FAILS(read_made(starts, falling, 3, fields, texts), SD_E_DATA, "document 1 has value 0, out of order");
    CHECK_FAILS(read_made(starts, values, 3, none, texts), SD_E_DATA, "value 1 is of field 1");
    CHECK_FAILS(read_made(starts, values, 3, fields, "[\"a\"]"), SD_E_DATA, "dimension 0 of dataset 'field' is 2, not 1");
    CHECK_FAILS(read_made(starts, values, 3, fields, "[\"a\", 1]"), SD_E_DATA, "entry 1 of the list is no text");
    CHECK_FAILS(read_made(starts, values, 3, fields, "{}"), SD_E_DATA, "is no JSON list of texts");
}

static void begin(void)
{
    test_folder(folder);
}

static const test_case tests[] = {
    TEST(test_found),
    TEST(test_no_further_than_needed),
    TEST(test_refused),
    TEST(test_too_many),
    TEST(test_inconsistent_files),
};

TEST_MAIN(tests, begin, NULL)

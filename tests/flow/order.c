/* The data order: every counted row once per epoch, in windows of whole pieces of documents, by seed and epoch. */
#include "saediff/flow/order.h"

#include "saediff/core/mem.h"
#include "stream.h"

static sd_tokens *stream;

enum { DOCS = 211, MAX_ROWS = 4096 };

static uint64_t rows_of_epoch(sd_order *order, uint64_t epoch, uint64_t *rows)
{
    uint64_t window = sd_order_window(order), n = sd_order_rows(order), w, count = 0, done = 0;

    for (w = 0; w * window < n; w++) {
        uint64_t *part = calloc(window, sizeof *part);

        if (part == NULL)
            abort();
        CHECK_OK(sd_order_fill(order, epoch, w, part, &count));
        CHECK(count % sd_order_batch(order) == 0 && count <= window);
        memcpy(rows + done, part, count * sizeof *part);
        done += count;
        free(part);
    }
    return done;
}

static void test_every_counted_row_once(void)
{
    const sd_tokens *t = stream;
    static const uint64_t cases[][2] = {{1, 1}, {1, 1000000}, {7, 50}, {64, 256}, {10, 3}, {97, 97 * 5 + 3}};
    uint64_t rows[MAX_ROWS], evaluated = stream_counted(t), c, i, epoch;
    uint8_t seen[MAX_ROWS];

    for (c = 0; c < sizeof cases / sizeof cases[0]; c++)
        for (epoch = 0; epoch < 3; epoch++) {
            uint64_t batch = cases[c][0], n, bad = 0, window = cases[c][1];
            sd_order *order = NULL;

            CHECK_OK(sd_order_create(&order, t, 42, batch, window));
            CHECK(sd_order_rows(order) == evaluated && sd_order_steps_per_epoch(order) == evaluated / batch &&
                  sd_order_batch(order) == batch);
            CHECK(sd_order_window(order) == (window < batch ? batch : window / batch * batch));
            n = rows_of_epoch(order, epoch, rows);
            CHECK(n == evaluated / batch * batch);
            memset(seen, 0, sizeof seen);
            for (i = 0; i < n; i++) {
                bad += rows[i] >= t->tokens || t->mask[rows[i]] != 1 || seen[rows[i]] != 0;
                seen[rows[i] % MAX_ROWS]++;
            }
            CHECK(bad == 0);
            sd_order_destroy(&order);
            CHECK(order == NULL);
        }
}

/* Fraction of places where two orders agree. */
static double agreement(const uint64_t *a, const uint64_t *b, uint64_t n)
{
    uint64_t i, same = 0;

    for (i = 0; i < n; i++)
        same += a[i] == b[i];
    return (double)same / (double)n;
}

static void test_seed_and_epoch_decide(void)
{
    const sd_tokens *t = stream;
    uint64_t one[MAX_ROWS], two[MAX_ROWS], n;
    sd_order *a = NULL, *b = NULL;

    CHECK_OK(sd_order_create(&a, t, 1, 8, 128));
    CHECK_OK(sd_order_create(&b, t, 2, 8, 128));
    n = rows_of_epoch(a, 0, one);
    rows_of_epoch(a, 1, two);
    CHECK(agreement(one, two, n) < 0.05);
    rows_of_epoch(b, 0, two);
    CHECK(agreement(one, two, n) < 0.05);
    rows_of_epoch(a, 0, two);
    CHECK(agreement(one, two, n) == 1);
    sd_order_destroy(&b);
    CHECK_OK(sd_order_create(&b, t, 1, 8, 128));
    rows_of_epoch(b, 0, two);
    CHECK(agreement(one, two, n) == 1);
    sd_order_destroy(&a);
    sd_order_destroy(&b);
}

/* A window is a slice of the stream of documents: all its documents but the first and the last are in it whole. */
static void test_windows_hold_whole_documents(void)
{
    const sd_tokens *t = stream;
    uint64_t rows[320], count = 0, w, doc, i, last;
    sd_order *order = NULL;

    CHECK_OK(sd_order_create(&order, t, 9, 64, 320));
    last = (sd_order_rows(order) - 1) / 320;
    CHECK(last >= 2);
    for (w = 0; w < last; w++) {
        uint64_t partial = 0, moved = 0;

        CHECK_OK(sd_order_fill(order, 5, w, rows, &count));
        CHECK(count == 320);
        for (doc = 0; doc < t->docs; doc++) {
            uint64_t here = 0, all = 0;

            for (i = t->doc_start[doc]; i < t->doc_start[doc + 1]; i++)
                all += t->mask[i];
            for (i = 0; i < count; i++)
                here += rows[i] >= t->doc_start[doc] && rows[i] < t->doc_start[doc + 1];
            partial += here > 0 && here < all;
        }
        CHECK(partial <= 2);
        for (i = 1; i < count; i++)
            moved += rows[i] != rows[i - 1] + 1;
        CHECK(moved > count * 9 / 10);
    }
    sd_order_destroy(&order);
}

/* Windows may be asked for in any order. */
static void test_any_window_directly(void)
{
    const sd_tokens *t = stream;
    uint64_t straight[MAX_ROWS], rows[96], count = 0, w, windows;
    sd_order *order = NULL;

    CHECK_OK(sd_order_create(&order, t, 3, 32, 96));
    windows = sd_order_rows(order) / 96;
    rows_of_epoch(order, 4, straight);
    sd_order_destroy(&order);
    CHECK_OK(sd_order_create(&order, t, 3, 32, 96));
    for (w = windows; w-- > 0;) {
        CHECK_OK(sd_order_fill(order, w % 2, w, rows, &count));
        CHECK_OK(sd_order_fill(order, 4, w, rows, &count));
        CHECK(count == 96 && memcmp(rows, straight + w * 96, sizeof rows) == 0);
    }
    CHECK_FAILS(sd_order_fill(order, 0, windows + 1, rows, &count), SD_E_INTERNAL, "window");
    sd_order_destroy(&order);
}

static void test_too_few_rows(void)
{
    sd_tokens *t = stream_make(5), *none = stream_make(0);
    sd_order *order = NULL;
    char words[64];

    snprintf(words, sizeof words, "has %llu tokens to train on", (unsigned long long)stream_counted(t));
    CHECK_FAILS(sd_order_create(&order, t, 1, stream_counted(t) + 1, 100), SD_E_DATA, words);
    CHECK(order == NULL);
    CHECK_FAILS(sd_order_create(&order, none, 1, 1, 100), SD_E_DATA, "has 0 tokens");
    CHECK_OK(sd_order_create(&order, t, 1, stream_counted(t), 1));
    CHECK(order != NULL && sd_order_steps_per_epoch(order) == 1);
    sd_order_destroy(&order);
    sd_tokens_destroy(&t);
    sd_tokens_destroy(&none);
}

static void begin(void)
{
    stream = stream_make(DOCS);
    CHECK(stream->tokens < MAX_ROWS);
    CHECK(stream_counted(stream) > 1500);
}

static void end(void)
{
    sd_tokens_destroy(&stream);
}

static const test_case tests[] = {
    TEST(test_every_counted_row_once),
    TEST(test_seed_and_epoch_decide),
    TEST(test_windows_hold_whole_documents),
    TEST(test_any_window_directly),
    TEST(test_too_few_rows),
};

TEST_MAIN(tests, begin, end)
